"""SUVpeak: the hottest ball of 1 cm3 that is centred in a region."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from medseg.core.geometry import Geometry
from medseg.measure.region import Region

SAMPLES_PER_RADIUS = 20
"""How finely voxels that the ball cuts are sampled: the volume of the kernel is right to 1 %."""

MAX_SAMPLES = 31
"""Samples of a voxel along one axis, where the voxel is much larger than the ball."""


def ball_kernel(geometry: Geometry, volume_mm3: float) -> NDArray[np.float64]:
    """The share of each voxel that lies in a ball around the centre of the middle one.

    Args:
        geometry: The grid; anisotropic, oblique and sheared ones are allowed.
        volume_mm3: Volume of the ball; 1000 has a radius of 6.2035 mm.

    Returns:
        (P, Q, R) float64 in 0..1, all sizes odd, symmetric about its middle. The sum times the
        volume of a voxel is the volume of the ball, or of one voxel if the ball is smaller.
    """
    radius_mm = (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3)
    linear = geometry.affine[:3, :3]
    reach = radius_mm * np.linalg.norm(np.linalg.inv(linear), axis=1)
    halves = np.floor(reach + 0.5).astype(int)
    per_voxel = np.ceil(np.array(geometry.spacing_mm) * SAMPLES_PER_RADIUS / radius_mm).astype(int)
    per_voxel = np.minimum(per_voxel // 2 * 2 + 1, MAX_SAMPLES)
    sizes = 2 * halves + 1
    samples = [
        (np.arange(size * n) - (size * n - 1) / 2) / n
        for size, n in zip(sizes, per_voxel, strict=True)
    ]
    positions = [samples[axis][:, None] * linear[:, axis] for axis in range(3)]
    squares = np.zeros([len(s) for s in samples])
    for world in range(3):
        x, y, z = (position[:, world] for position in positions)
        squares += (x[:, None, None] + y[:, None] + z) ** 2
    inside = squares <= radius_mm**2
    blocks = [n for pair in zip(sizes, per_voxel, strict=True) for n in pair]
    kernel: NDArray[np.float64] = inside.reshape(blocks).mean(axis=(1, 3, 5))
    return kernel


def suv_peak(region: Region, data: NDArray[np.float32], kernel: NDArray[np.float64]) -> float:
    """The highest mean SUV of a ball that is centred on a voxel of the region.

    PERCIST 1.0 (Wahl et al., J Nucl Med 50 Suppl 1:122S, 2009): a sphere of about 1.2 cm diameter,
    1 cm3, placed where its mean is highest, not necessarily on the hottest voxel. The ball may
    reach beyond the region. At the edge of the volume its mean is of the part inside.

    Args:
        region: Where the centre may lie.
        data: The whole volume in SUV, on the region's turned grid.
        kernel: `ball_kernel` of that grid.

    Returns:
        SUVpeak in g/mL.
    """
    around: list[slice] = []
    inner: list[slice] = []
    for s, size, n in zip(region.box, kernel.shape, data.shape, strict=True):
        start, stop = max(s.start - size // 2, 0), min(s.stop + size // 2, n)
        around.append(slice(start, stop))
        inner.append(slice(s.start - start, s.stop - start))
    crop = data[tuple(around)].astype(np.float64)
    sums = oaconvolve(crop, kernel, mode="same")[tuple(inner)]
    shares = oaconvolve(np.ones_like(crop), kernel, mode="same")[tuple(inner)]
    means = sums[region.mask] / shares[region.mask]
    return float(means.max())
