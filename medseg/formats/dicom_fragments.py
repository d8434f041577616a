"""Slices that were torn off a series: they lie where it would go on, under another name.

A slice whose Series Instance UID, frame of reference or image type was damaged leaves no gap if it
was the first or the last, and the volume would be shorter unseen.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.formats.dicom import DicomFile
from medseg.formats.dicom_frames import Frame

MOST_SLICES = 2
"""A fragment has no more; three are a volume of their own."""

TOLERANCE = 0.05
"""Share of the spacing by which the place of a slice may differ from where the series goes on; what
`dicom_stack` accepts as even."""


def is_fragment(files: Sequence[DicomFile]) -> bool:
    """Whether a series is too short to be a volume."""
    return 0 < sum(len(file.frames) for file in files) <= MOST_SLICES


def continues(files: Sequence[DicomFile], fragment: Sequence[DicomFile]) -> bool:
    """Whether the slices of a fragment lie right before or right behind those of a series."""
    frames = [frame for file in files for frame in file.frames]
    rest = [frame for file in fragment for frame in file.frames]
    alike = {_kind(file, frame) for file in (*files, *fragment) for frame in file.frames}
    if len(frames) < MOST_SLICES or len(alike) != 1 or None in alike:
        return False
    places = _along(frames)
    step = (places[-1] - places[0]) / (len(places) - 1)
    spacing = float(np.linalg.norm(step))
    if spacing == 0:
        return False
    expected = (places[0] - step, places[-1] + step)
    found = np.array([frame.position for frame in rest])
    apart = min(np.linalg.norm(found - place, axis=1).min() for place in expected)
    return bool(apart < TOLERANCE * spacing)


def _kind(file: DicomFile, frame: Frame) -> tuple[object, ...] | None:
    """Where slices of one volume agree; None where it is not stated.

    Modality and image type are left out: a slice that is called another's is of another series.
    """
    if frame.position is None or frame.orientation is None or frame.spacing_mm is None:
        return None
    rounded = tuple(round(part, 3) for part in (*frame.orientation, *frame.spacing_mm))
    return (file.rows, file.columns, *rounded)


def _along(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """(N, 3) LPS mm, in the order along the normal."""
    row, column = np.array(frames[0].orientation, np.float64).reshape(2, 3)
    places = np.array([frame.position for frame in frames], np.float64)
    ordered: NDArray[np.float64] = places[np.argsort(places @ np.cross(row, column))]
    return ordered
