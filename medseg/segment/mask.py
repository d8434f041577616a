"""A peer's mask in place of a model: its lesions as instances."""

import numpy as np
from numpy.typing import NDArray

from medseg.config import MaskSettings, SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Delineation, Instance, InstanceMap, tracking_uid
from medseg.core.prediction import VoxelPrediction
from medseg.core.study import QualityFlag
from medseg.errors import GeometryMismatchError
from medseg.formats.itk import resample
from medseg.segment.restore import restore
from medseg.segment.separate import separate

LABELS_RULE, NECKS_RULE = "peer-labels", "cc26-necks"
"""Names of `core.report.COUNTING_RULES`: the peer's labels are lesions, or parts of its mask."""


def adopt_mask(
    labels: NDArray[np.uint16],
    geometry: Geometry,
    *,
    chosen: MaskSettings,
    settings: SegmentSettings,
    identity: str,
) -> tuple[Delineation, str]:
    """Turn a label map on the acquired grid into lesions.

    Where the map has one value, or the user says so, it is a mask: its 26-connected components are
    lesions, split where they have a neck (`separate` without a heatmap), largest first. Otherwise
    each value is a lesion and keeps its number.

    Args:
        labels: (I, J, K); 0 is background.
        geometry: The acquired grid.
        chosen: What the user said of the mask.
        settings: How instances are separated.
        identity: Digest of what determines the labels, for tracking UIDs.

    Returns:
        The lesions with a flag that says what was assumed, and the name of the counting rule.
    """
    values = np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1
    is_mask = chosen.instances == "components" or (chosen.instances == "auto" and len(values) == 1)
    flags: tuple[QualityFlag, ...] = ()
    if is_mask:
        found = VoxelPrediction((labels > 0).astype(np.float32)[None], ("lesion",), geometry)
        labels, sources, flags = restore(separate(found, settings), geometry)
        values = np.arange(1, len(sources) + 1)
    rows = tuple(
        Instance(int(n), "lesion", "lesion", tracking_uid(identity, "lesion", int(n)))
        for n in values
    )
    nothing = InstanceMap(np.zeros(geometry.shape, np.uint16), geometry, ())
    lesions = InstanceMap(labels, geometry, rows)
    told = _told(is_mask=is_mask, asked=chosen.instances != "auto")
    return Delineation(nothing, lesions, (told, *flags)), NECKS_RULE if is_mask else LABELS_RULE


def onto(
    labels: NDArray[np.uint16], source: Geometry, acquired: Geometry
) -> tuple[NDArray[np.uint16], QualityFlag | None]:
    """A label map on the acquired grid: as it is where it lies on it, else by the nearest voxel.

    Returns:
        The labels, and a flag where they were resampled.

    Raises:
        GeometryMismatchError: They have no place in common, or none of the labels is left.
    """
    if source.matches(acquired):
        return labels, None
    values = labels.astype(np.float32)  # whole numbers up to 65535 are exact in single precision
    moved = resample(values, source, acquired, interpolation="nearest", outside=0)
    found = moved.astype(np.uint16)
    if labels.any() and not found.any():
        raise GeometryMismatchError(
            "The mask and the series have no place in common, so nothing was measured.",
            "Give the mask that was drawn on this series, with its geometry.",
        )
    lost = len(np.setdiff1d(np.unique(labels), np.unique(found)))
    message = (
        "The mask lies on another grid than the series and was put onto it by the nearest voxel, "
        "so volumes differ from those of the mask by rounding at the outline."
    )
    if lost:
        message += f" {lost} of its labels fell between voxels or beyond the series and are lost."
    return found, QualityFlag("mask-resampled", message)


def _told(*, is_mask: bool, asked: bool) -> QualityFlag:
    """What the reader has to know of where the lesions come from."""
    if asked:
        why = "As the user asked"
    else:
        why = "As it has one value alone" if is_mask else "As it has several values"
    how = (
        "its connected parts are lesions, split where they have a neck"
        if is_mask
        else "each of its values is a lesion and keeps its number"
    )
    return QualityFlag(
        "peer-mask",
        "The outlines are those of a mask that was given, and were not found by a model of "
        f"medseg. {why}, {how}.",
    )
