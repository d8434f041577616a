"""The image as the page's own viewer shows it: coarse enough for one file, along the world's axes.

The key images are as fine as the image; the viewer is for looking around them.
"""

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.core.measurements import Point
from medseg.core.report import SliceStack
from medseg.core.volume import IntensityUnit
from medseg.report.planes import DIRECTIONS
from medseg.report.sampling import sample
from medseg.report.scene import Scene

MOST_VOXELS = 6_000_000
"""A whole-body PET is kept as fine as it is; a CT of 512 x 512 x 300 becomes some 2 mm."""

INNER_LEVELS = 192
"""Of the 256 levels, those within the window; the others share what lies beyond it."""


def slice_stack(shown: Scene, organs: InstanceMap) -> SliceStack:
    """Image, lesions and organs for the viewer.

    Args:
        shown: Image and lesions.
        organs: On the same grid.
    """
    data, geometry = shown.volume.data, shown.volume.geometry
    steps = _steps(geometry)
    coarse = _every(geometry, steps)
    grid = _upright(coarse)
    levels = _levels(float(data.min()), float(data.max()), (shown.scale.low, shown.scale.high))
    means = _block_means(data, steps)
    values = sample(means, coarse, grid, interpolation="linear", outside=float(levels[0]))
    places = {
        row.instance: _point(reach.inside_mm)
        for row, reach in zip(shown.rows, shown.extents, strict=True)
    }
    lesions = _labels(shown.lesions, steps, coarse, grid)
    for label, place in places.items():
        # A lesion between the samples is not lost.
        nearest = np.rint(grid.to_index(np.array(place))).astype(int)
        lesions[tuple(np.clip(nearest, 0, np.array(grid.shape) - 1))] = label
    left, back, feet = (float(step) for step in grid.spacing_mm)
    unit = shown.volume.unit
    return SliceStack(
        voxels=np.rint(np.interp(values, levels, np.arange(256))).astype(np.uint8),
        lesions=lesions,
        organs=_labels(organs, steps, coarse, grid),
        levels=levels,
        origin_mm=_point(grid.affine[:3, 3]),
        spacing_mm=(left, back, feet),
        places_mm=places,
        window=(shown.scale.low, shown.scale.high),
        unit="" if unit is IntensityUnit.ARBITRARY else unit.value,
        inverted=shown.scale.inverted,
    )


def _steps(geometry: Geometry) -> tuple[int, int, int]:
    """Voxels that become one along each axis: the finest axis is thinned first."""
    steps = np.ones(3, int)
    while np.prod(np.ceil(np.array(geometry.shape) / steps)) > MOST_VOXELS:
        steps[np.argmin(steps * geometry.spacing_mm)] += 1
    i, j, k = (int(step) for step in steps)
    return i, j, k


def _every(geometry: Geometry, steps: tuple[int, int, int]) -> Geometry:
    """The grid of the blocks' centres."""
    first = (np.array(steps) - 1) / 2
    affine = geometry.affine.copy()
    affine[:3, :3] *= steps
    affine[:3, 3] = geometry.to_world(first)
    i, j, k = (-(-n // step) for n, step in zip(geometry.shape, steps, strict=True))
    return Geometry((i, j, k), affine, geometry.frame_of_reference)


def _upright(geometry: Geometry) -> Geometry:
    """A grid along left, back and feet around another, as fine as that."""
    along = geometry.corners_mm @ DIRECTIONS.T
    half_voxel = np.abs(DIRECTIONS @ geometry.affine[:3, :3]).sum(axis=1) / 2
    low, high = along.min(axis=0) - half_voxel, along.max(axis=0) + half_voxel
    spacing = np.empty(3)
    spacing[list(geometry.world_axes)] = geometry.spacing_mm
    shape = np.maximum(np.rint((high - low) / spacing), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS.T * spacing
    affine[:3, 3] = ((low + high) / 2 - (shape - 1) / 2 * spacing) @ DIRECTIONS
    left, back, feet = (int(n) for n in shape)
    return Geometry((left, back, feet), affine, geometry.frame_of_reference)


def _block_means(data: NDArray[np.float32], steps: tuple[int, int, int]) -> NDArray[np.float32]:
    """The mean of each block; the last ones may be smaller."""
    means = data
    for axis, step in enumerate(steps):
        starts = np.arange(0, data.shape[axis], step)
        counts = np.diff(np.append(starts, data.shape[axis])).astype(np.float32)
        sums = np.add.reduceat(means, starts, axis=axis)
        sums /= np.expand_dims(counts, tuple(n for n in range(3) if n != axis))
        means = sums
    return means


def _labels(
    instances: InstanceMap, steps: tuple[int, int, int], coarse: Geometry, grid: Geometry
) -> NDArray[np.uint16]:
    """The labels at the middles of the blocks, on the viewer's grid."""
    i, j, k = (
        np.minimum(np.arange(n) * step + step // 2, size - 1)
        for n, step, size in zip(coarse.shape, steps, instances.labels.shape, strict=True)
    )
    middles = np.ascontiguousarray(instances.labels[np.ix_(i, j, k)])
    sampled = sample(middles, coarse, grid, interpolation="nearest", outside=0)
    return sampled.astype(np.uint16)


def _levels(least: float, most: float, window: tuple[float, float]) -> NDArray[np.float64]:
    """256 ascending intensities from the least to the greatest, most of them in the window."""
    low, high = window
    beyond = (256 - INNER_LEVELS) // 2
    below = np.linspace(min(least, low - 1e-3), low, beyond, endpoint=False)
    above = np.linspace(high, max(most, high + 1e-3), beyond + 1)[1:]
    return np.concatenate([below, np.linspace(low, high, INNER_LEVELS), above])


def _point(values: NDArray[np.float64]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
