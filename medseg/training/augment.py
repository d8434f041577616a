"""A crop as another patient, another posture or another scanner might have shown it.

Everything is said in mm and in the unit of the image, so it means the same on every grid. Place and
shape change in one resampling, image and masks together; what a scanner does to the values comes
after it. All chance is drawn from one generator of numpy, so a seed makes the same crop again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medseg.config import Spacing
from medseg.core.geometry import Geometry
from medseg.training.settings import AugmentSettings

Shape = tuple[int, int, int]

CORRELATION_VOXELS = 0.7
"""Width of the noise's grain: reconstruction leaves no scanner with independent voxels."""


@dataclass(frozen=True, eq=False)
class Pose:
    """How a crop looks at its source.

    Attributes:
        to_source: (4, 4) from mm in the crop, along R, A and S from its first voxel's centre, to
            RAS+ mm of the source.
        mirrored: Whether left and right are exchanged, so that what is named by its side must be
            renamed.
        bend_mm: (3, I, J, K) float32 added to where a voxel of the crop looks, RAS+ mm of the
            source; None where nothing is bent.
    """

    to_source: NDArray[np.float64]
    mirrored: bool = False
    bend_mm: NDArray[np.float32] | None = None


def draw_pose(
    centre_mm: NDArray[np.float64],
    shape: Shape,
    spacing_mm: Spacing,
    settings: AugmentSettings,
    rng: np.random.Generator,
) -> Pose:
    """A crop that is shifted, turned, scaled, bent and mirrored by chance.

    It is turned about R, A and S, scaled as a whole and along each of the three, and mirrored left
    to right alone, because no patient is upside down.

    Args:
        centre_mm: (3,) RAS+ position in the source that comes to lie near the crop's middle.
        shape: Voxels of the crop.
        spacing_mm: Between them.
        settings: How far each of these goes.
        rng: Chance.
    """
    size_mm = np.array(shape) * spacing_mm
    here_mm = size_mm * (0.5 + rng.uniform(-1, 1, size=3) * settings.shift)
    mirrored = bool(rng.random() < settings.mirrored_share)
    to_source = np.eye(4)
    if rng.random() < settings.moved_share:
        angles = rng.uniform(-1, 1, size=3) * settings.turn_degrees
        scale = np.exp(rng.uniform(-1, 1) * np.log(settings.scale))
        stretch = np.exp(rng.uniform(-1, 1, size=3) * np.log(settings.stretch))
        turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        to_source[:3, :3] = turned @ np.diag(scale * stretch)
        bend_mm = bend(shape, spacing_mm, settings, rng)
    else:
        bend_mm = None
    if mirrored:
        to_source[:3, 0] *= -1
    to_source[:3, 3] = centre_mm - to_source[:3, :3] @ here_mm
    return Pose(to_source, mirrored, bend_mm)


def bend(
    shape: Shape, spacing_mm: Spacing, settings: AugmentSettings, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    """A smooth displacement in mm: cubic B-splines over random knots; None without any.

    No place is folded onto another as long as every knot moves by less than 0.403 of the distance
    between knots (Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline
    functions, Graphical Models 62, 2000); the settings keep to it.

    Returns:
        (3, *shape) float32, each component within `bend_mm` of 0.
    """
    if settings.bend_mm == 0:
        return None
    bases = [
        _spline_basis(n, step / settings.bend_knots_mm)
        for n, step in zip(shape, spacing_mm, strict=True)
    ]
    knots = rng.uniform(-1, 1, size=(3, *(basis.shape[1] for basis in bases))) * settings.bend_mm
    field = np.einsum("cxyz,ix,jy,kz->cijk", knots, *bases, optimize=True)
    smooth: NDArray[np.float32] = field.astype(np.float32)
    return smooth


def smooth_field(
    shape: tuple[int, ...], spacing_mm: Spacing, settings: AugmentSettings, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A field within -1 to 1 that changes over `bias_knots_mm`: cubic B-splines as in `bend`."""
    i, j, k = (
        _spline_basis(n, step / settings.bias_knots_mm)
        for n, step in zip(shape, spacing_mm, strict=True)
    )
    knots = rng.uniform(-1, 1, size=(i.shape[1], j.shape[1], k.shape[1]))
    field: NDArray[np.float64] = np.einsum("xyz,ix,jy,kz->ijk", knots, i, j, k, optimize=True)
    return field


def _spline_basis(length: int, step: float) -> NDArray[np.float64]:
    """(length, knots): what each knot of a uniform cubic B-spline says at places `step` apart."""
    at = np.arange(length) * step
    knots = np.arange(-1, int(np.floor(at[-1])) + 3)
    off = np.abs(at[:, None] - knots)
    near = 2 / 3 - off**2 + off**3 / 2
    far = (2 - np.minimum(off, 2)) ** 3 / 6
    basis: NDArray[np.float64] = np.where(off < 1, near, far)
    return basis


def look(
    channels: Sequence[NDArray[np.float32]],
    outside: Sequence[float],
    source: Geometry,
    pose: Pose,
    target: tuple[Shape, Spacing],
) -> NDArray[np.float32]:
    """What a crop sees of images and masks, interpolated linearly and once.

    A mask of 0 and 1 comes back as the share of the voxel that it fills, so that its surface is not
    rounded to voxels; 0.5 is where it lies.

    Args:
        channels: (I, J, K) float32 arrays on the source's grid.
        outside: For each channel its value beyond the grid.
        source: Where they lie; any affine.
        pose: How they are looked at.
        target: Shape and spacing of the crop.

    Returns:
        (C, *shape) float32.
    """
    shape, spacing_mm = target
    to_index = np.linalg.inv(source.affine) @ pose.to_source @ np.diag([*spacing_mm, 1.0])
    axes = [np.arange(n, dtype=np.float32) for n in shape]
    at = [
        (row[0] * axes[0])[:, None, None]
        + (row[1] * axes[1])[:, None]
        + (row[2] * axes[2] + row[3])
        for row in to_index[:3].astype(np.float32)
    ]
    if pose.bend_mm is not None:
        shift = np.linalg.inv(source.affine[:3, :3]).astype(np.float32)
        at = [
            place + np.einsum("c,cijk->ijk", row, pose.bend_mm)
            for place, row in zip(at, shift, strict=True)
        ]
    box = tuple(
        slice(max(0, min(n - 1, int(np.floor(p.min())))), max(1, min(n, int(np.ceil(p.max())) + 1)))
        for p, n in zip(at, source.shape, strict=True)
    )
    # grid_sample is given what differs from outside, because beyond its input it knows 0 alone.
    inside = [c[box] - np.float32(o) for c, o in zip(channels, outside, strict=True)]
    given = torch.from_numpy(np.stack(inside))[None]
    places = [
        (2 * (p - s.start) + 1) / (s.stop - s.start) - 1 for p, s in zip(at, box, strict=True)
    ]
    # It counts a place's coordinates from the last axis, in units of half the input.
    grid = torch.from_numpy(np.stack(places[::-1], axis=-1))[None]
    seen = torch.nn.functional.grid_sample(given, grid, align_corners=False)[0].numpy()
    seen += np.array(outside, np.float32)[:, None, None, None]
    crop: NDArray[np.float32] = seen
    return crop


def draw_scanner(
    image: NDArray[np.float32],
    spacing_mm: Spacing,
    settings: AugmentSettings,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """An image as another scanner might have made it: calibration, resolution, slices, noise.

    Args:
        image: (I, J, K), in its unit; its axes run along R, A and S.
        spacing_mm: Between its voxels.
        settings: How far each of these goes, and how often.
        rng: Chance.

    Returns:
        The same shape, float32.
    """
    changed = image
    if settings.gamma > 0:
        changed = np.clip(changed, 0, None) ** np.exp(rng.normal(0, settings.gamma))
    if settings.bias > 0:
        field = smooth_field(image.shape, spacing_mm, settings, rng)
        changed = changed * np.exp(settings.bias * field)
    if rng.random() < settings.blur_share:
        width_mm = rng.uniform(0, settings.blur_mm)
        changed = ndimage.gaussian_filter(changed, [width_mm / step for step in spacing_mm])
    if rng.random() < settings.thick_share:
        thick_mm = rng.uniform(spacing_mm[2], max(spacing_mm[2], settings.thick_mm))
        changed = thick_slices(changed, spacing_mm[2], thick_mm, rng.random())
    if rng.random() < settings.noise_share:
        grain = ndimage.gaussian_filter(
            rng.standard_normal(changed.shape, np.float32), CORRELATION_VOXELS
        )
        changed = changed + grain * (rng.uniform(0, settings.noise) / grain.std())
    gain = np.exp(rng.normal(0, settings.gain))
    offset = rng.normal(0, settings.offset)
    scanned: NDArray[np.float32] = (changed * gain + offset).astype(np.float32)
    return scanned


def thick_slices(
    image: NDArray[np.float32], spacing_mm: float, thick_mm: float, phase: float
) -> NDArray[np.float32]:
    """An image as slices `thick_mm` apart and as thick show it, interpolated back linearly.

    Args:
        image: (I, J, K); slices lie along the last axis.
        spacing_mm: Between its slices.
        thick_mm: Of the slices that are simulated; thinner than the spacing changes nothing.
        phase: Where the first slice begins, as a share of its thickness, 0 to 1.

    Returns:
        The same shape, float32.
    """
    step = thick_mm / spacing_mm
    if step <= 1:
        return image
    length = image.shape[2]
    edges = np.arange(-phase * step, length + step, step) - 0.5
    overlap = np.minimum(edges[1:, None], np.arange(length) + 0.5)
    overlap = np.maximum(overlap - np.maximum(edges[:-1, None], np.arange(length) - 0.5), 0)
    overlap = overlap[overlap.sum(axis=1) > 0]
    average = overlap / overlap.sum(axis=1, keepdims=True)
    middles = average @ np.arange(length)
    back = np.stack(
        [np.interp(np.arange(length), middles, row) for row in np.eye(len(middles))], axis=1
    )
    simulated: NDArray[np.float32] = (image @ (back @ average).T.astype(np.float32)).astype(
        np.float32
    )
    return simulated


def draw_view(
    shape: Shape, spacing_mm: Spacing, settings: AugmentSettings, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which voxels another scan might have covered: it begins later, ends earlier, or is narrower.

    Returns:
        Boolean of the shape; all true unless chance says otherwise.
    """
    seen = np.ones(shape, np.bool_)
    if rng.random() >= settings.cut_share:
        return seen
    axis = int(rng.choice(3, p=(0.15, 0.15, 0.7)))
    most = int(settings.cut_mm / spacing_mm[axis])
    cut = min(int(rng.integers(0, most + 1)), shape[axis] - 1)
    where: list[slice] = [slice(None)] * 3
    where[axis] = slice(0, cut) if rng.random() < 0.5 else slice(shape[axis] - cut, None)
    seen[tuple(where)] = False
    return seen
