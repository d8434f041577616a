"""A structure set, held against the label maps slice by slice."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.instances import Instance, InstanceMap
from medseg.core.measurements import Measurement
from medseg.formats.dicom_objects import ObjectRun, ascii_only
from medseg.formats.dicom_read_back import ReadContour, ReadRoi, ReadStructures, Reference
from medseg.verify.objects import check_about, slices_of
from medseg.verify.truth import expect, near, same_place

AREA = 1e-3
"""Relative: coordinates are written to 0.1 µm. What may be lost of a volume is five times that."""

PLACE_MM = 0.01


def check_structures(
    read: ReadStructures,
    maps: Sequence[InstanceMap],
    rows: Sequence[Measurement],
    run: ObjectRun,
) -> None:
    """Hold a structure set against its maps.

    Args:
        read: What it says.
        maps: Lesions and organs.
        rows: The table, in the same order.
        run: Whose object.

    Raises:
        MismatchError: It shows something else.
    """
    check_about(read.about, run)
    frame = run.source.value("FrameOfReferenceUID")
    expect(read.about.frames_of_reference == {frame}, "it names no frame of reference")
    source = run.source.value("SeriesInstanceUID")
    expect(read.about.series_references == {source}, "it names another series as its source")
    whole = {Reference(one.sop_class, one.uid) for one in slices_of(run)}
    expect(whole <= read.about.listed, "it lacks the reference to a slice")
    instances = [(labelled, one) for labelled in maps for one in labelled.instances]
    numbers = [roi.number for roi in read.rois]
    expect(numbers == list(range(1, len(instances) + 1)), "its regions are others")
    pixel_mm2 = float(np.prod(run.source.spacing_mm))
    boxes = {id(labelled): ndimage.find_objects(labelled.labels) for labelled in maps}
    for roi, (labelled, instance), row in zip(read.rois, instances, rows, strict=True):
        _check_name(roi, instance, run)
        box = boxes[id(labelled)][instance.label - 1]
        pixels = np.argwhere(labelled.labels[box] == instance.label)
        area = _check_slices(roi, pixels + [part.start for part in box], run)
        volume = area * labelled.geometry.voxel_volume_mm3 / pixel_mm2
        expect(near(volume, row.volume_mm3, AREA), f"the volume of {roi.name} differs")


def _check_name(roi: ReadRoi, instance: Instance, run: ObjectRun) -> None:
    """Hold name, side, code and tracking UID of a region against its instance."""
    structure = run.structure(instance.structure)
    wanted = ascii_only(structure.title, 64)
    if instance.kind == "lesion":
        wanted = f"{wanted} {instance.label}"
    expect(roi.name == wanted, f"{instance.kind} {instance.label} has another name or side")
    expect(roi.kind == structure.code.value, f"{roi.name} has another code")
    expect(
        roi.description.split()[-1] == instance.tracking_uid,
        f"{roi.name} has another tracking UID",
    )


def _check_slices(roi: ReadRoi, voxels: NDArray[np.intp], run: ObjectRun) -> float:
    """Hold area and middle of the contours on each slice against the pixels there.

    Args:
        roi: The contours.
        voxels: (N, 3) indices of the instance's voxels.
        run: Whose object.

    Returns:
        The area inside the contours, summed over the slices, mm2.
    """
    slices = slices_of(run)
    drawn: dict[int, list[ReadContour]] = {}
    for contour in roi.contours:
        expect(contour.image in slices, f"a contour of {roi.name} is on a slice that is not there")
        drawn.setdefault(slices[contour.image], []).append(contour)
    expect(sorted(drawn) == np.unique(voxels[:, 2]).tolist(), f"{roi.name} lies on other slices")
    plane = np.array(run.source.orientation).reshape(2, 3).T
    between_rows, between_columns = run.source.spacing_mm
    total = 0.0
    for k, contours in drawn.items():
        area, middle = _moments(contours, np.array(run.source.slices[k].position), plane)
        pixels = voxels[voxels[:, 2] == k, :2]
        pixels_mm2 = len(pixels) * between_rows * between_columns
        expect(near(area, pixels_mm2, AREA), f"the area of {roi.name} differs")
        wanted = pixels.mean(axis=0) * (between_columns, between_rows)
        expect(same_place(middle, wanted, PLACE_MM), f"{roi.name} lies elsewhere")
        total += area
    return total


def _moments(
    contours: Sequence[ReadContour], position: NDArray[np.float64], plane: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Area and middle of the contours on one slice, in mm along its rows and columns."""
    area, moment = 0.0, np.zeros(2)
    for contour in contours:
        offsets = contour.points - position
        flat = offsets @ plane
        expect(same_place(flat @ plane.T, offsets, PLACE_MM), "a contour leaves its slice")
        ahead = np.roll(flat, -1, axis=0)
        doubled = flat[:, 0] * ahead[:, 1] - flat[:, 1] * ahead[:, 0]
        area += float(doubled.sum()) / 2
        moment += (doubled[:, None] * (flat + ahead)).sum(axis=0) / 6
    expect(area != 0, "a contour has no area")
    return abs(area), moment / area
