"""The door to RT Structure Sets (PS3.3 A.19): every instance as contours on the source's slices.

A contour follows the edges of the pixels (`outlines`), in the plane of the slice that it names, so
that areas, and with the distance of the slices volumes, are those of the mask.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from scipy import ndimage

from medseg.core.instances import Instance, InstanceMap
from medseg.formats.dicom_objects import (
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
from medseg.formats.dicom_seg import tracking_id
from medseg.formats.outlines import outlines

STRUCTURES = ObjectKind(
    "structures", RTStructureSetStorage, "RTSTRUCT", 9004, "medseg lesions and organs"
)

STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: what an RT structure set calls a study by."""

CONTOUR_DATA = 0x3006_0050

COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
           (213, 94, 0), (204, 121, 167))  # fmt: skip
"""Told apart by colour-blind readers too (Okabe and Ito, 2008)."""


def write_structures(path: Path, maps: Sequence[InstanceMap], run: ObjectRun) -> None:
    """Write the instances of some maps as one structure set, numbered in their order.

    Args:
        path: The file to write.
        maps: On one grid; at least one instance in all.
        run: Its source has one slice for each k of the grid.
    """
    made = new_object(run, STRUCTURES)
    made.OperatorsName = ""
    made.FrameOfReferenceUID = run.source.value("FrameOfReferenceUID")
    made.PositionReferenceIndicator = run.source.value("PositionReferenceIndicator")
    made.StructureSetLabel = "medseg"
    made.StructureSetName = STRUCTURES.description
    made.StructureSetDate, made.StructureSetTime = source_moment(run.source)
    made.ApprovalStatus = "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(run)]
    rois, contours, observations = [], [], []
    instances = [(labelled, one) for labelled in maps for one in labelled.instances]
    boxes = {id(labelled): ndimage.find_objects(labelled.labels) for labelled in maps}
    for number, (labelled, instance) in enumerate(instances, start=1):
        rois.append(_roi(number, instance, run))
        box = boxes[id(labelled)][instance.label - 1]
        drawn = Dataset()
        drawn.ROIDisplayColor = list(COLOURS[(number - 1) % len(COLOURS)])
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = list(_contours(labelled.labels, box, instance.label, run))
        contours.append(drawn)
        observations.append(_observation(number, instance, run))
    made.StructureSetROISequence = rois
    made.ROIContourSequence = contours
    made.RTROIObservationsSequence = observations
    write_object(path, made)


def _frame_of_reference(run: ObjectRun) -> Dataset:
    """The frame, and the study, series and slices that define it."""
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = run.source.value("SeriesInstanceUID")
    series.ContourImageSequence = referenced_slices(run, set(range(len(run.source.slices))))
    study.update(reference(STUDY_CLASS, run.source.value("StudyInstanceUID")))
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = run.source.value("FrameOfReferenceUID")
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(number: int, instance: Instance, run: ObjectRun) -> Dataset:
    """Name of an instance; its tracking UID stands in the description, which viewers show."""
    structure = run.structure(instance.structure)
    is_lesion = instance.kind == "lesion"
    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = run.source.value("FrameOfReferenceUID")
    name = f"{structure.title} {instance.label}" if is_lesion else structure.title
    roi.ROIName = ascii_only(name, 64)
    roi.ROIDescription = f"{tracking_id(instance)} {instance.tracking_uid}"
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    return roi


def _observation(number: int, instance: Instance, run: ObjectRun) -> Dataset:
    """What an instance is; whether a lesion is a target is for the oncologist to say."""
    structure = run.structure(instance.structure)
    code = code_item(structure.code)
    seen = Dataset()
    seen.ObservationNumber = seen.ReferencedROINumber = number
    seen.RTROIInterpretedType = "" if instance.kind == "lesion" else "ORGAN"
    seen.ROIInterpreter = ""
    seen.RTROIIdentificationCodeSequence = [code]
    return seen


def _contours(
    labels: NDArray[np.uint16], box: tuple[slice, slice, slice], label: int, run: ObjectRun
) -> Iterator[Dataset]:
    """The contours of one instance, slice by slice."""
    i, j, k = box
    towards = np.array(run.source.orientation).reshape(2, 3)
    between_rows, between_columns = run.source.spacing_mm
    steps = towards * np.array([[between_columns], [between_rows]])
    mask = labels[box] == label
    for plane in np.flatnonzero(mask.any(axis=(0, 1))):
        place = run.source.slices[k.start + int(plane)]
        image = reference(run.source.value("SOPClassUID"), place.sop_instance_uid)
        if place.frame is not None:
            image.ReferencedFrameNumber = place.frame
        for corners in outlines(mask[:, :, plane]):
            points = (corners + np.array((i.start, j.start))) @ steps + place.position
            contour = Dataset()
            contour.ContourImageSequence = [image]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            # Taken as text: to check each coordinate takes pydicom longer than all else.
            values = "\\".join(f"{coordinate:.4f}" for coordinate in points.ravel())
            contour.add(DataElement(CONTOUR_DATA, "DS", values, already_converted=True))
            yield contour
