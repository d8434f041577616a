"""What the network is to say of a crop."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.config import Spacing

SIGMA_RADII = 0.5
"""Width of a large instance's Gaussian in radii of the ball of its volume: at that ball's surface
the target is exp(-2) = 0.14, so two that touch have a deep saddle between their peaks."""


def centre_heatmap(
    shape: tuple[int, int, int],
    spacing_mm: Spacing,
    centres_mm: Sequence[NDArray[np.float64]],
    sigmas_mm: Sequence[float],
) -> NDArray[np.float32]:
    """The highest of the Gaussians at the centres, each with peak 1.

    Args:
        shape: Voxels of the crop.
        spacing_mm: Between its voxels.
        centres_mm: (3,) positions relative to the centre of the first voxel; may lie outside.
        sigmas_mm: Standard deviation of each.

    Returns:
        Array of the shape, float32, 0..1.
    """
    heatmap = np.zeros(shape, np.float32)
    for centre, sigma in zip(centres_mm, sigmas_mm, strict=True):
        profiles = [
            np.exp(-0.5 * ((np.arange(n) * step - c) / sigma) ** 2)
            for n, step, c in zip(shape, spacing_mm, centre, strict=True)
        ]
        gaussian = profiles[0][:, None, None] * profiles[1][:, None] * profiles[2]
        np.maximum(heatmap, gaussian.astype(np.float32), out=heatmap)
    return heatmap


def sigma_mm(radius_mm: float, least_mm: float) -> float:
    """Width of the Gaussian of an instance whose volume is that of a ball of this radius."""
    return max(least_mm, SIGMA_RADII * radius_mm)
