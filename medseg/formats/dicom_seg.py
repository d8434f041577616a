"""The door to DICOM Segmentations (PS3.3 A.51 and A.88): a label map as an object for a PACS.

Segment n is the n-th instance of the map. Each frame lies on the source slice that it names, at the
position which that slice states, so that uneven and sheared stacks are kept as they are.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    RLELossless,
    SegmentationStorage,
)
from pydicom.valuerep import format_number_as_ds
from scipy import ndimage

from medseg.core.instances import Instance, InstanceMap
from medseg.core.measurements import Measurement
from medseg.core.structures import Code, Laterality
from medseg.formats.dicom_attributes import derived_uid
from medseg.formats.dicom_objects import (
    ANATOMICAL_STRUCTURE,
    SIDES,
    ObjectKind,
    ObjectRun,
    ascii_only,
    code_item,
    new_object,
    reference,
    referenced_slices,
    source_moment,
    write_object,
)
from medseg.formats.dicom_values import quiet

LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, of 2024; pydicom has no name for it."""

LESIONS = ObjectKind("lesions", SegmentationStorage, "SEG", 9001, "medseg lesions")
ORGANS = ObjectKind("organs", SegmentationStorage, "SEG", 9002, "medseg organs")
ORGAN_LABELS = ObjectKind("organs", LABEL_MAP_STORAGE, "SEG", 9002, "medseg organs")

ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
SEGMENTATION = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
BACKGROUND = Code("125040", "DCM", "Background")

SEGMENT_NUMBER = 0x0062_000B
POSITION = 0x0020_0032
SEGMENT_ITEM = 0x0062_000A
PLANE_ITEM = 0x0020_9113
"""Tags of the dimensions of a frame, and of the functional groups that hold them."""

MOST_UINT8 = 255

Frame = tuple[int, int, NDArray[np.uint8]]
"""Segment number (0 in a label map), slice, and (row, column) pixels."""


def write_segmentation(path: Path, instances: InstanceMap, kind: ObjectKind, run: ObjectRun) -> str:
    """Write a map as a BINARY segmentation: a frame for each slice of each instance.

    Args:
        path: The file to write.
        instances: At least one.
        kind: LESIONS or ORGANS.
        run: Its source has one slice for each k of the map.

    Returns:
        The SOP Instance UID.
    """
    made = _begin(instances, kind, run)
    made.SegmentationType = "BINARY"
    made.SegmentsOverlap = "NO"
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = 0
    made.SegmentSequence = [
        _segment(number, instance, run) for number, instance in enumerate(instances.instances, 1)
    ]
    places: list[tuple[int, int]] = []
    made.PixelData = b"".join(_packed(_binary_frames(instances), places))
    _describe_frames(made, places, run)
    write_object(path, made)
    return str(made.SOPInstanceUID)


def write_label_map(path: Path, instances: InstanceMap, kind: ObjectKind, run: ObjectRun) -> str:
    """Write a map as a LABELMAP segmentation with RLE: small, and read by newer viewers only.

    Arguments and result as `write_segmentation`, kind is ORGAN_LABELS.
    """
    made = _begin(instances, kind, run)
    made.SegmentationType = "LABELMAP"
    made.SegmentsOverlap = "NO"
    made.PixelPaddingValue = 0
    small = len(instances.instances) <= MOST_UINT8
    made.BitsAllocated = made.BitsStored = 8 if small else 16
    made.HighBit = made.BitsStored - 1
    segments = [_segment(n, instance, run) for n, instance in enumerate(instances.instances, 1)]
    made.SegmentSequence = [_background(), *segments]
    numbers = np.zeros(int(instances.labels.max()) + 1, np.uint8 if small else np.uint16)
    for number, instance in enumerate(instances.instances, 1):
        numbers[instance.label] = number
    used = np.flatnonzero(instances.labels.any(axis=(0, 1)))
    frames = numbers[instances.labels[:, :, used].T]
    _describe_frames(made, [(0, int(k)) for k in used], run)
    with quiet():
        made.compress(RLELossless, frames, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    write_object(path, made, RLELossless)
    return str(made.SOPInstanceUID)


def _begin(instances: InstanceMap, kind: ObjectKind, run: ObjectRun) -> Dataset:
    """An object with all that does not depend on how pixels are stored."""
    made = new_object(run, kind, kind.sop_class)
    columns, rows, _ = instances.geometry.shape
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.ContentDate, made.ContentTime = source_moment(run.source)
    made.ContentLabel = kind.name.upper()
    made.ContentDescription = kind.description
    made.ContentCreatorName = ""
    made.FrameOfReferenceUID = run.source.value("FrameOfReferenceUID")
    made.PositionReferenceIndicator = run.source.value("PositionReferenceIndicator")
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.Rows, made.Columns = rows, columns
    made.PixelRepresentation = 0
    made.LossyImageCompression = "00"
    made.SharedFunctionalGroupsSequence = [_shared(instances, run)]
    return made


def _shared(instances: InstanceMap, run: ObjectRun) -> Dataset:
    """Spacing and orientation, the same for all frames.

    The distance between slices is along their normal, also where a gantry was tilted: with it the
    area of a pixel gives the volume of a voxel.
    """
    between_rows, between_columns = run.source.spacing_mm
    apart = instances.geometry.voxel_volume_mm3 / (between_rows * between_columns)
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [_ds(between_rows), _ds(between_columns)]
    measures.SliceThickness = measures.SpacingBetweenSlices = _ds(apart)
    plane.ImageOrientationPatient = [_ds(cosine) for cosine in run.source.orientation]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [plane]
    return shared


def _segment(number: int, instance: Instance, run: ObjectRun) -> Dataset:
    """What a segment is, where it lies, and who found it."""
    structure = run.structure(instance.structure)
    is_lesion = instance.kind == "lesion"
    region, side = (
        run.region(instance.organ) if is_lesion else (structure.code, structure.laterality)
    )
    item = Dataset()
    item.SegmentNumber = number
    label = f"{structure.title} {instance.label}" if is_lesion else structure.title
    item.SegmentLabel = ascii_only(label, 64)
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = ascii_only(run.algorithm, 64)
    category = ALTERED_STRUCTURE if is_lesion else ANATOMICAL_STRUCTURE
    item.SegmentedPropertyCategoryCodeSequence = [code_item(category)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(structure.code)]
    if structure.laterality != "none":
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [code_item(SIDES[structure.laterality])]
    item.AnatomicRegionSequence = [anatomic_region(region, side)]
    item.TrackingID = tracking_id(instance)
    item.TrackingUID = instance.tracking_uid
    return item


def anatomic_region(region: Code, side: Laterality) -> Dataset:
    """A region with its side."""
    item = code_item(region)
    if side != "none":
        item.AnatomicRegionModifierSequence = [code_item(SIDES[side])]
    return item


def tracking_id(instance: Instance | Measurement) -> str:
    """The name that goes with an instance's tracking UID, the same in every object."""
    label = instance.label if isinstance(instance, Instance) else instance.instance
    return ascii_only(f"{instance.structure}-{label}", 64)


def _background() -> Dataset:
    """Segment 0 of a label map: what is none of the others."""
    item = Dataset()
    item.SegmentNumber = 0
    item.SegmentLabel = "Background"
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = "medseg"
    item.SegmentedPropertyCategoryCodeSequence = [code_item(BACKGROUND)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(BACKGROUND)]
    return item


def _binary_frames(instances: InstanceMap) -> Iterator[Frame]:
    """The frames of each instance in turn, empty ones left out."""
    boxes = ndimage.find_objects(instances.labels)
    columns, rows, _ = instances.geometry.shape
    for number, instance in enumerate(instances.instances, 1):
        i, j, k = boxes[instance.label - 1]
        mask = instances.labels[i, j, k] == instance.label
        for plane in np.flatnonzero(mask.any(axis=(0, 1))):
            frame = np.zeros((rows, columns), np.uint8)
            frame[j, i] = mask[:, :, plane].T
            yield number, k.start + int(plane), frame


def _packed(frames: Iterator[Frame], places: list[tuple[int, int]]) -> Iterator[bytes]:
    """Frames as one string of bits (PS3.5 8.1.1); notes the segment and the slice of each.

    Eight frames fill whole bytes, whatever their size.
    """
    waiting: list[NDArray[np.uint8]] = []
    size = 0
    for number, k, frame in frames:
        places.append((number, k))
        waiting.append(frame.ravel())
        if len(waiting) == 8:
            yield np.packbits(np.concatenate(waiting), bitorder="little").tobytes()
            size += frame.size
            waiting.clear()
    rest = np.packbits(np.concatenate(waiting), bitorder="little") if waiting else np.zeros(0)
    padding = b"\0" * ((size + len(rest)) % 2)
    yield rest.astype(np.uint8).tobytes() + padding


def _describe_frames(made: Dataset, places: list[tuple[int, int]], run: ObjectRun) -> None:
    """Say of every frame which segment it shows, where it lies, and on which slice it rests."""
    is_label_map = made.SegmentationType == "LABELMAP"
    organization = derived_uid("dimensions", made.SOPInstanceUID)
    made.NumberOfFrames = len(places)
    made.DimensionOrganizationSequence = [Dataset()]
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    segment = _dimension(organization, SEGMENT_NUMBER, SEGMENT_ITEM, "Segment Number")
    position = _dimension(organization, POSITION, PLANE_ITEM, "Image Position")
    made.DimensionIndexSequence = [position] if is_label_map else [segment, position]
    used = sorted({k for _, k in places})
    rank = {k: n for n, k in enumerate(used, 1)}
    groups = []
    for number, k in places:
        group = _frame_group(k, run)
        index = [rank[k]] if is_label_map else [number, rank[k]]
        group.FrameContentSequence[0].DimensionIndexValues = index
        if not is_label_map:
            identification = Dataset()
            identification.ReferencedSegmentNumber = number
            group.SegmentIdentificationSequence = [identification]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    series = Dataset()
    series.SeriesInstanceUID = run.source.value("SeriesInstanceUID")
    series.ReferencedInstanceSequence = referenced_slices(run, set(used))
    made.ReferencedSeriesSequence = [series]


def _frame_group(k: int, run: ObjectRun) -> Dataset:
    """Place and source of a frame on slice k."""
    place = run.source.slices[k]
    content, plane, derivation = Dataset(), Dataset(), Dataset()
    plane.ImagePositionPatient = [_ds(coordinate) for coordinate in place.position]
    image = reference(run.source.value("SOPClassUID"), place.sop_instance_uid)
    if place.frame is not None:
        image.ReferencedFrameNumber = place.frame
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    derivation.SourceImageSequence = [image]
    derivation.DerivationCodeSequence = [code_item(SEGMENTATION)]
    group = Dataset()
    group.FrameContentSequence = [content]
    group.PlanePositionSequence = [plane]
    group.DerivationImageSequence = [derivation]
    return group


def _dimension(organization: str, tag: int, group: int, label: str) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = organization
    item.DimensionIndexPointer = tag
    item.FunctionalGroupPointer = group
    item.DimensionDescriptionLabel = label
    return item


def _ds(number: float) -> str:
    """A number as a decimal string of at most 16 characters."""
    return format_number_as_ds(float(number))
