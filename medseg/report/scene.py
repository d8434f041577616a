"""What all pictures of a report show: the image, its lesions, and where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medseg.core.instances import InstanceMap
from medseg.core.measurements import Measurement
from medseg.core.volume import Volume
from medseg.report.planes import DIRECTIONS
from medseg.report.sampling import GreyScale

BRIGHTEST = 0.2
"""Percent of the voxels above 0 that are white where the image sets the window: with fewer than
lesions fill of a brain, most of them keep a grey of their own."""


@dataclass(frozen=True, eq=False)
class Extent:
    """How far a lesion reaches.

    Attributes:
        centre_mm: (3,) RAS+ middle of the box along the world's axes around it.
        size_mm: (3,) sides of that box, towards left, back and feet.
        inside_mm: (3,) RAS+ centre of its voxel nearest to its centroid, so that a plane through
            it shows the lesion even where the centroid lies outside.
    """

    centre_mm: NDArray[np.float64]
    size_mm: NDArray[np.float64]
    inside_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """What all pictures of a report show.

    Attributes:
        volume: The image.
        lesions: On the same grid.
        rows: The measurement of each lesion.
        extents: How far each lesion reaches.
        scale: How intensities become greys.
    """

    volume: Volume
    lesions: InstanceMap
    rows: tuple[Measurement, ...]
    extents: tuple[Extent, ...]
    scale: GreyScale


def scene(
    volume: Volume,
    lesions: InstanceMap,
    rows: Sequence[Measurement],
    window: tuple[float, float] | None,
) -> Scene:
    """What the pictures of a volume and its lesions show.

    Args:
        volume: The image.
        lesions: On the same grid.
        rows: One for each lesion.
        window: Intensities at the two ends of the grey scale; None takes them from the image.

    Raises:
        ValueError: The grids differ.
    """
    if not volume.geometry.matches(lesions.geometry):
        raise ValueError("the lesions lie on another grid than the image")
    boxes = find_objects(lesions.labels)
    extents = tuple(_extent(lesions, row, boxes[row.instance - 1]) for row in rows)
    low, high = window or _own_window(volume)
    scale = GreyScale(low, high, volume.unit)
    return Scene(volume, lesions, tuple(rows), extents, scale)


def _own_window(volume: Volume) -> tuple[float, float]:
    """From 0 to what `BRIGHTEST` % of the voxels above 0 exceed; 0 to 1 where none is."""
    above = volume.data[volume.data > 0]
    return 0.0, float(np.percentile(above, 100 - BRIGHTEST)) if above.size else 1.0


def _extent(lesions: InstanceMap, row: Measurement, box: tuple[slice, slice, slice]) -> Extent:
    """How far one lesion reaches; the box holds all of it."""
    start = np.array([s.start for s in box])
    voxels = np.argwhere(lesions.labels[box] == row.instance) + start
    centres_mm = lesions.geometry.to_world(voxels)
    along = centres_mm @ DIRECTIONS.T
    half_voxel = np.abs(DIRECTIONS @ lesions.geometry.affine[:3, :3]).sum(axis=1) / 2
    low, high = along.min(axis=0) - half_voxel, along.max(axis=0) + half_voxel
    centroid = np.array([row.centroid_r_mm, row.centroid_a_mm, row.centroid_s_mm])
    nearest = np.argmin(np.linalg.norm(centres_mm - centroid, axis=1))
    return Extent((low + high) / 2 @ DIRECTIONS, high - low, centres_mm[nearest])
