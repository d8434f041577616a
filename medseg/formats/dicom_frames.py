"""The frames of a DICOM file: one of a classic slice, many of an enhanced object.

Both become the same thing, so that everything behind this file knows frames only. An enhanced
object states what holds for a frame in functional groups, per frame or shared (PS3.3 C.7.6.16).
"""

from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from medseg.formats.dicom_values import (
    MalformedValueError,
    integer,
    items,
    number,
    numbers,
    text,
    texts,
)

PER_FRAME = "PerFrameFunctionalGroupsSequence"
SHARED = "SharedFunctionalGroupsSequence"

MAX_FRAMES = 100_000
"""Bound for untrusted headers; a whole-body CT has a few thousand slices."""


@dataclass(frozen=True)
class Frame:
    """What a header says of one slice.

    Attributes:
        index: Its place in the file's pixel data, from 0.
        position: LPS mm of the centre of its first pixel; None where not stated.
        orientation: Direction of a row, then of a column, in LPS; None where not stated.
        spacing_mm: Distance between rows, then between columns; None where not stated.
        slope, intercept: Value = stored x slope + intercept; 1 and 0 where not stated.
        rescale_type: The unit after rescaling: HU, US (unspecified), ...; `none` where there is no
            rescaling, empty where its type is not stated.
        image_type: Such as ORIGINAL, PRIMARY, AXIAL.
        contrast: What makes one MR image differ from another of the same place: echo time in ms,
            diffusion b-value in s/mm2; empty where not stated.
        time_point: Number of the time point, or None.
    """

    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    slope: float
    intercept: float
    rescale_type: str
    image_type: tuple[str, ...]
    contrast: tuple[float, ...]
    time_point: int | None


def frames_of(dataset: Dataset) -> tuple[Frame, ...]:
    """Every frame that the header describes, in the order of the pixel data.

    Raises:
        MalformedValueError: A value that the geometry or the intensities rest on is damaged.
    """
    count = integer(dataset, "NumberOfFrames") or 1
    per_frame = items(dataset, PER_FRAME)
    if not 1 <= count <= MAX_FRAMES or len(per_frame) not in (0, count):
        raise MalformedValueError
    if count == 1 and not per_frame and not items(dataset, SHARED):
        return (_frame(0, dataset, dataset, dataset, dataset),)
    shared = next(iter(items(dataset, SHARED)), Dataset())
    groups = per_frame or tuple(Dataset() for _ in range(count))
    return tuple(_enhanced(k, group, shared, dataset) for k, group in enumerate(groups))


def _enhanced(index: int, group: Dataset, shared: Dataset, root: Dataset) -> Frame:
    """One frame of an enhanced object."""

    def macro(name: str) -> Dataset:
        found = items(group, name) or items(shared, name)
        return found[0] if found else Dataset()

    values = macro("PixelValueTransformationSequence")
    frame = _frame(
        index,
        macro("PlanePositionSequence"),
        macro("PlaneOrientationSequence"),
        macro("PixelMeasuresSequence"),
        values if len(values) else root,
    )
    kinds = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")
    frame_type = next((texts(macro(kind), "FrameType") for kind in kinds if len(macro(kind))), ())
    contrast = (
        number(macro("MREchoSequence"), "EffectiveEchoTime"),
        number(macro("MRDiffusionSequence"), "DiffusionBValue"),
    )
    return replace(
        frame,
        image_type=frame_type or texts(root, "ImageType"),
        contrast=tuple(part for part in contrast if part is not None),
        time_point=integer(macro("FrameContentSequence"), "TemporalPositionIndex"),
    )


def _frame(
    index: int, position: Dataset, orientation: Dataset, measures: Dataset, values: Dataset
) -> Frame:
    """One frame, from the datasets that hold its parts; of a classic slice they are all one."""
    spacing = numbers(measures, "PixelSpacing", 2)
    if spacing is not None and min(spacing) <= 0:
        raise MalformedValueError
    slope, intercept = number(values, "RescaleSlope"), number(values, "RescaleIntercept")
    if slope == 0:
        raise MalformedValueError
    is_rescaled = slope is not None or intercept is not None
    contrast = (number(position, "EchoTime"), number(position, "DiffusionBValue"))
    return Frame(
        index,
        numbers(position, "ImagePositionPatient", 3),
        numbers(orientation, "ImageOrientationPatient", 6),
        spacing,
        1.0 if slope is None else slope,
        intercept or 0.0,
        text(values, "RescaleType").upper() if is_rescaled else "none",
        texts(values, "ImageType"),
        tuple(part for part in contrast if part is not None),
        integer(position, "TemporalPositionIdentifier"),
    )
