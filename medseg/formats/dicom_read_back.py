"""DICOM objects parsed again, for the gate before a run is published: what they say, in LPS mm.

Nothing here is shared with what writes the objects, highdicom included: two mistakes that agree
would find each other right.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from medseg.formats.dicom_source import PATIENT, STUDY
from medseg.formats.dicom_values import READING_FAULTS, items, quiet, text

LEFT, RIGHT = "7771000", "24028007"
SIDES = {LEFT: "left", RIGHT: "right"}

LISTS = (
    "ReferencedSeriesSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "ReferencedFrameOfReferenceSequence",
)
"""Where a segmentation, a report and a structure set list the objects that they point to."""

Points = NDArray[np.float64]


class UnreadableObjectError(Exception):
    """A DICOM object of ours cannot be parsed."""


@dataclass(frozen=True)
class Reference:
    """A slice, or another object, that an object points to.

    Attributes:
        sop_class, uid: Of its file.
        frame: Its place in a multi-frame file, from 1; None for the whole file.
    """

    sop_class: str
    uid: str
    frame: int | None = None


@dataclass(frozen=True)
class About:
    """What an object says of itself.

    Attributes:
        sop_class, uid: Its own.
        series: Its series.
        patient: Every attribute of patient and study that is not empty.
        frames_of_reference: All that it names anywhere.
        references: The slices and objects that it points to anywhere.
        listed: Those that it lists as a whole, so that a PACS can find them.
        series_references: The series that it names as sources.
        study_references: The studies that it names within its lists.
    """

    sop_class: str
    uid: str
    series: str
    patient: Mapping[str, str]
    frames_of_reference: frozenset[str]
    references: frozenset[Reference]
    listed: frozenset[Reference]
    series_references: frozenset[str]
    study_references: frozenset[str]


@dataclass(frozen=True)
class ReadSegment:
    """A segment: its number, names, codes, and side of its type and of its region."""

    number: int
    label: str
    tracking_id: str
    tracking_uid: str
    category: str
    kind: str
    kind_side: str
    region: str
    region_side: str


@dataclass(frozen=True, eq=False)
class ReadFrame:
    """Pixels of a segment in a frame, the frame's place, and the slices that it rests on.

    Attributes:
        segment: Its number.
        position: LPS mm of the centre of the first pixel.
        sources: What it was derived from.
        rows, columns: Of each pixel that is set.
    """

    segment: int
    position: tuple[float, ...]
    sources: frozenset[Reference]
    rows: NDArray[np.uint16]
    columns: NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class ReadSegmentation:
    """A segmentation; spacing is between rows, columns and slices."""

    about: About
    shape: tuple[int, int]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float, float]
    segments: tuple[ReadSegment, ...]
    frames: tuple[ReadFrame, ...]


@dataclass(frozen=True, eq=False)
class ReadNumber:
    """A number of a report: codes of quantity, unit and derivation, and the line it was drawn on.

    Attributes:
        unit: In UCUM; empty where it is of another scheme.
        points: (N, 2) column and row on `image`, or (N, 3) LPS mm where that is None.
    """

    quantity: str
    value: float
    unit: str
    derivation: str
    image: Reference | None
    points: Points | None


@dataclass(frozen=True, eq=False)
class ReadGroup:
    """A measurement group; `segment` is None where it points to none."""

    tracking_id: str
    tracking_uid: str
    segment: tuple[str, int] | None
    finding: str
    site: str
    side: str
    numbers: tuple[ReadNumber, ...]


@dataclass(frozen=True, eq=False)
class ReadReport:
    """A structured report."""

    about: About
    template: str
    verification: str
    groups: tuple[ReadGroup, ...]


@dataclass(frozen=True, eq=False)
class ReadContour:
    """A closed contour: (N, 3) LPS mm on a slice."""

    image: Reference
    points: Points


@dataclass(frozen=True, eq=False)
class ReadRoi:
    """A region of a structure set."""

    number: int
    name: str
    description: str
    kind: str
    contours: tuple[ReadContour, ...]


@dataclass(frozen=True, eq=False)
class ReadStructures:
    """A structure set."""

    about: About
    rois: tuple[ReadRoi, ...]


@dataclass(frozen=True, eq=False)
class ReadPdf:
    """An encapsulated PDF."""

    about: About
    mime_type: str
    verification: str
    pdf: bytes


def patient_and_study(header: Dataset) -> Mapping[str, str]:
    """Every attribute of patient and study that is not empty, as text."""
    names = [name for name in (*PATIENT, *STUDY) if name in header]
    return {name: str(header[name].value) for name in names if text(header, name)}


def read_segmentation(path: Path) -> ReadSegmentation:
    """Parse a BINARY or LABELMAP segmentation.

    Raises:
        UnreadableObjectError: It is none.
    """
    with _parsed(path) as dataset:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        measures = shared.PixelMeasuresSequence[0]
        rows, columns = (float(value) for value in measures.PixelSpacing)
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        return ReadSegmentation(
            _about(dataset),
            (int(dataset.Rows), int(dataset.Columns)),
            tuple(float(value) for value in orientation),
            (rows, columns, float(measures.SpacingBetweenSlices)),
            tuple(_segment(item) for item in dataset.SegmentSequence if item.SegmentNumber),
            tuple(_frames(dataset)),
        )


def read_report(path: Path) -> ReadReport:
    """Parse a structured report by TID 1500.

    Raises:
        UnreadableObjectError: It is none.
    """
    with _parsed(path) as dataset:
        groups = [item for item in _tree(dataset) if _name(item) == "125007"]
        return ReadReport(
            _about(dataset),
            str(dataset.ContentTemplateSequence[0].TemplateIdentifier),
            str(dataset.VerificationFlag),
            tuple(_group(item) for item in groups),
        )


def read_structures(path: Path) -> ReadStructures:
    """Parse a structure set.

    Raises:
        UnreadableObjectError: It is none.
    """
    with _parsed(path) as dataset:
        contours = {
            int(item.ReferencedROINumber): tuple(_contour(one) for one in item.ContourSequence)
            for item in dataset.ROIContourSequence
        }
        kinds = {
            int(item.ReferencedROINumber): item.RTROIIdentificationCodeSequence[0].CodeValue
            for item in dataset.RTROIObservationsSequence
        }
        rois = tuple(
            ReadRoi(
                int(item.ROINumber),
                str(item.ROIName),
                str(item.ROIDescription),
                kinds[int(item.ROINumber)],
                contours[int(item.ROINumber)],
            )
            for item in dataset.StructureSetROISequence
        )
        return ReadStructures(_about(dataset), rois)


def read_pdf(path: Path) -> ReadPdf:
    """Parse an encapsulated PDF.

    Raises:
        UnreadableObjectError: It is none.
    """
    with _parsed(path) as dataset:
        return ReadPdf(
            _about(dataset),
            str(dataset.MIMETypeOfEncapsulatedDocument),
            str(dataset.VerificationFlag),
            bytes(dataset.EncapsulatedDocument[: int(dataset.EncapsulatedDocumentLength)]),
        )


@contextmanager
def _parsed(path: Path) -> Iterator[Dataset]:
    """Open an object, and parse it within the block: values are converted where they are used.

    Raises:
        UnreadableObjectError: It is missing, or is not such an object.
    """
    try:
        with quiet():
            dataset = dcmread(path)
            if dataset.SOPInstanceUID != dataset.file_meta.MediaStorageSOPInstanceUID:
                raise ValueError
            yield dataset
    except READING_FAULTS as error:
        raise UnreadableObjectError from error


def _about(dataset: Dataset) -> About:
    nested = [dataset, *_nested(dataset)]
    series = {text(item, "SeriesInstanceUID") for item in nested[1:] if "SeriesInstanceUID" in item}
    studies = {text(item, "StudyInstanceUID") for item in nested[1:] if "StudyInstanceUID" in item}
    frames = {
        text(item, name)
        for item in nested
        for name in ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID")
        if name in item
    }
    lists = [
        item for name in LISTS for top in items(dataset, name) for item in (top, *_nested(top))
    ]
    return About(
        text(dataset, "SOPClassUID"),
        text(dataset, "SOPInstanceUID"),
        text(dataset, "SeriesInstanceUID"),
        patient_and_study(dataset),
        frozenset(frames),
        frozenset(_reference(item) for item in nested if "ReferencedSOPInstanceUID" in item),
        frozenset(_reference(item) for item in lists if "ReferencedSOPInstanceUID" in item),
        frozenset(series),
        frozenset(studies),
    )


def _nested(dataset: Dataset) -> Iterator[Dataset]:
    """All items of all sequences, at any depth."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _nested(item)


def _reference(item: Dataset) -> Reference:
    frame = text(item, "ReferencedFrameNumber")
    return Reference(
        text(item, "ReferencedSOPClassUID"),
        text(item, "ReferencedSOPInstanceUID"),
        int(frame) if frame else None,
    )


def _code(holder: Dataset, name: str) -> tuple[str, Dataset]:
    """The value of the first code of a sequence, and its item."""
    found = items(holder, name)
    return (text(found[0], "CodeValue"), found[0]) if found else ("", Dataset())


def _segment(item: Dataset) -> ReadSegment:
    kind, kind_item = _code(item, "SegmentedPropertyTypeCodeSequence")
    region, region_item = _code(item, "AnatomicRegionSequence")
    kind_side = _code(kind_item, "SegmentedPropertyTypeModifierCodeSequence")[0]
    region_side = _code(region_item, "AnatomicRegionModifierSequence")[0]
    return ReadSegment(
        int(item.SegmentNumber),
        text(item, "SegmentLabel"),
        text(item, "TrackingID"),
        text(item, "TrackingUID"),
        _code(item, "SegmentedPropertyCategoryCodeSequence")[0],
        kind,
        SIDES.get(kind_side, "none"),
        region,
        SIDES.get(region_side, "none"),
    )


def _frames(dataset: Dataset) -> Iterator[ReadFrame]:
    """Each frame's pixels; those of a label map by segment."""
    is_binary = dataset.SegmentationType == "BINARY"
    pixels = _bit_frames(dataset) if is_binary else iter_pixels(dataset, raw=True)
    for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        position = group.PlanePositionSequence[0].ImagePositionPatient
        place = tuple(float(value) for value in position)
        sources = frozenset(
            _reference(image)
            for derivation in group.DerivationImageSequence
            for image in derivation.SourceImageSequence
        )
        if is_binary:
            segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            yield ReadFrame(int(segment), place, sources, *_set_pixels(frame))
            continue
        for number in np.unique(frame[frame > 0]):
            yield ReadFrame(int(number), place, sources, *_set_pixels(frame == number))


def _set_pixels(frame: NDArray[np.generic]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Rows and columns of the pixels that are set."""
    rows, columns = np.nonzero(frame)
    return rows.astype(np.uint16), columns.astype(np.uint16)


def _bit_frames(dataset: Dataset) -> Iterator[NDArray[np.uint8]]:
    """Frames of one bit a pixel, which begin within a byte; pydicom reads whole bytes only."""
    size = int(dataset.Rows) * int(dataset.Columns)
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    for start in range(0, int(dataset.NumberOfFrames) * size, size):
        held = stored[start // 8 : -(-(start + size) // 8)]
        bits = np.unpackbits(held, bitorder="little")[start % 8 :][:size]
        yield bits.reshape(int(dataset.Rows), int(dataset.Columns))


def _tree(item: Dataset) -> Iterator[Dataset]:
    """All content items below one."""
    for child in items(item, "ContentSequence"):
        yield child
        yield from _tree(child)


def _name(item: Dataset) -> str:
    return _code(item, "ConceptNameCodeSequence")[0]


def _group(item: Dataset) -> ReadGroup:
    children = items(item, "ContentSequence")
    by_name = {_name(child): child for child in children if child.ValueType != "NUM"}
    segment = by_name.get("121191")
    site = by_name.get("363698007", Dataset())
    sides = [child for child in _tree(site) if _name(child) == "272741003"]
    reference = None if segment is None else segment.ReferencedSOPSequence[0]
    return ReadGroup(
        text(by_name["112039"], "TextValue"),
        text(by_name["112040"], "UID"),
        None
        if reference is None
        else (text(reference, "ReferencedSOPInstanceUID"), int(reference.ReferencedSegmentNumber)),
        _code(by_name["121071"], "ConceptCodeSequence")[0],
        _code(site, "ConceptCodeSequence")[0],
        SIDES.get(_code(sides[0], "ConceptCodeSequence")[0], "none") if sides else "none",
        tuple(_number(child) for child in children if child.ValueType == "NUM"),
    )


def _number(item: Dataset) -> ReadNumber:
    measured = item.MeasuredValueSequence[0]
    value = float(measured.NumericValue)
    # Readers may take the other form, which has digits more.
    if not np.isclose(measured.get("FloatingPointValue", value), value, rtol=1e-9, atol=0):
        raise ValueError
    unit, unit_item = _code(measured, "MeasurementUnitsCodeSequence")
    below = list(_tree(item))
    derivations = [child for child in below if _name(child) == "121401"]
    lines = [child for child in below if child.ValueType in ("SCOORD", "SCOORD3D")]
    images = [child for child in below if child.ValueType == "IMAGE"]
    points = None
    if lines:
        size = 2 if lines[0].ValueType == "SCOORD" else 3
        points = np.array(lines[0].GraphicData, np.float64).reshape(-1, size)
    return ReadNumber(
        _name(item),
        value,
        unit if text(unit_item, "CodingSchemeDesignator") == "UCUM" else "",
        _code(derivations[0], "ConceptCodeSequence")[0] if derivations else "",
        _reference(images[0].ReferencedSOPSequence[0]) if images else None,
        points,
    )


def _contour(item: Dataset) -> ReadContour:
    points = np.array([float(value) for value in item.ContourData], np.float64).reshape(-1, 3)
    if item.ContourGeometricType != "CLOSED_PLANAR" or len(points) != item.NumberOfContourPoints:
        raise ValueError
    return ReadContour(_reference(item.ContourImageSequence[0]), points)
