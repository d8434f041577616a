"""The whole volume projected to the front and to the side."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.report import planes, sampling
from medseg.report.scene import Scene

MOST_SAMPLES = 12_000_000
"""Samples of the volume: a whole-body PET is projected as fine as it is, a CT at some 2 mm."""

AIR_SHARE = 0.04
"""Share of the grey scale below which a projection shows the air around the patient."""

MARGIN_MM = 20.0
"""Air that is left around the patient."""

BRIGHTEST_PERCENTILE = 99.5
"""White of a projection by the mean, which the window of the slices does not fit."""

PET_WORDS = ("maximum intensity projection", "MIP")
OTHER_WORDS = ("mean intensity projection", "mean")


@dataclass(frozen=True, eq=False)
class Projection:
    """A projected image.

    Attributes:
        plane: Its rectangle, in the middle of what was projected.
        values: (columns, rows) of square pixels that fill it.
        method, short: How it was projected, in full and as a reader says it.
        scale: How its values become greys.
    """

    plane: planes.Plane
    values: NDArray[np.float32]
    method: str
    short: str
    scale: sampling.GreyScale


def projections(shown: Scene) -> tuple[Projection, Projection]:
    """Coronal and sagittal, without the air beside the patient.

    PET is projected by its maximum, everything else by its mean, as in a radiograph.

    Args:
        shown: Image and lesions; a lesion is never taken for air.
    """
    geometry = shown.volume.geometry
    along = geometry.corners_mm @ planes.DIRECTIONS.T
    half_voxel = np.abs(planes.DIRECTIONS @ geometry.affine[:3, :3]).sum(axis=1) / 2
    low, high = along.min(axis=0) - half_voxel, along.max(axis=0) + half_voxel
    coarsest = float(np.prod(high - low) / MOST_SAMPLES) ** (1 / 3)
    pixel_mm = max(min(geometry.spacing_mm), coarsest)
    size = np.ceil((high - low) / pixel_mm) * pixel_mm
    middle = low + size / 2
    whole = planes.plane("coronal", middle @ planes.DIRECTIONS, (size[0], size[2]))
    samples = sampling.sample(
        shown.volume.data,
        geometry,
        whole.grid(pixel_mm, size[1]),
        interpolation="linear",
        outside=float(shown.volume.data.min()),
    )
    front, side = _project(samples, shown.scale)
    words = PET_WORDS if shown.scale.inverted else OTHER_WORDS
    made = []
    names: tuple[planes.PlaneName, ...] = ("coronal", "sagittal")
    for name, values, axis in zip(names, (front, side), (0, 1), strict=True):
        scale = _scale(values, shown.scale)
        first, last = _patient(values, scale, MARGIN_MM / pixel_mm)
        for reach in shown.extents:
            edges = reach.centre_mm @ planes.DIRECTIONS[axis] + reach.size_mm[axis] * np.array(
                (-0.6, 0.6)
            )
            lesion_first, lesion_last = (edges - low[axis]) / pixel_mm
            first, last = min(first, int(lesion_first)), max(last, int(lesion_last) + 1)
        first, last = max(first, 0), min(last, len(values))
        centre = middle.copy()
        centre[axis] = low[axis] + (first + last) / 2 * pixel_mm
        plane_size = ((last - first) * pixel_mm, float(size[2]))
        plane = planes.plane(name, centre @ planes.DIRECTIONS, plane_size)
        made.append(Projection(plane, values[first:last], *words, scale))
    return made[0], made[1]


def _project(
    samples: NDArray[np.float32], scale: sampling.GreyScale
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Front and side of (left, feet, back) samples, each (columns, rows)."""
    if scale.inverted:
        return samples.max(axis=2), samples.max(axis=0).T
    return samples.mean(axis=2), samples.mean(axis=0).T


def _scale(values: NDArray[np.float32], scale: sampling.GreyScale) -> sampling.GreyScale:
    """The window of the slices for a maximum; what fills the greys for a mean."""
    if scale.inverted:
        return scale
    black = float(values.min())
    white = max(float(np.percentile(values, BRIGHTEST_PERCENTILE)), black + 1e-6)
    return sampling.GreyScale(black, white, scale.unit)


def _patient(
    values: NDArray[np.float32], scale: sampling.GreyScale, margin: float
) -> tuple[int, int]:
    """First and past-the-last column that shows more than air, with a margin."""
    shares = (values - scale.low) / (scale.high - scale.low)
    columns = np.flatnonzero((shares > AIR_SHARE).any(axis=1))
    if not len(columns):
        return 0, len(values)
    return int(columns[0] - margin), int(columns[-1] + 1 + margin)
