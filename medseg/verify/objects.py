"""DICOM objects, held against the table, the label maps and the source's slices."""

from collections.abc import Mapping, Set

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.core.measurements import Measurement
from medseg.formats.dicom_objects import ObjectRun, ascii_only
from medseg.formats.dicom_read_back import (
    About,
    ReadFrame,
    ReadGroup,
    ReadNumber,
    ReadPdf,
    ReadReport,
    ReadSegment,
    ReadSegmentation,
    Reference,
    patient_and_study,
)
from medseg.verify.truth import ROUNDING_MM, expect, near, same_place

TO_LPS = np.array([-1.0, -1.0, 1.0])

DRAWN_MM = 0.01
"""Coordinates in a report are 32-bit floats."""

VOLUME, LONG_AXIS, SHORT_AXIS = "118565006", "103339001", "103340004"
MEAN, MINIMUM, MAXIMUM = "373098007", "255605001", "56851009"
DEVIATION, PEAK = "386136009", "126031"
COLUMNS = {
    MEAN: "intensity_mean",
    MINIMUM: "intensity_min",
    MAXIMUM: "intensity_max",
    DEVIATION: "intensity_std",
    PEAK: "suv_peak",
}
"""Code of a derivation to its column."""

MM3 = {"mm3": 1.0, "ml": 1000.0, "mL": 1000.0, "cm3": 1000.0}
"""Unit of a volume in UCUM to mm3."""

INTENSITY_UNITS = {"SUV": "g/ml{SUVbw}", "HU": "[hnsf'U]"}


def slices_of(run: ObjectRun) -> Mapping[Reference, int]:
    """Each slice of the source to its place in the volume."""
    sop_class = run.source.value("SOPClassUID")
    return {
        Reference(sop_class, one.sop_instance_uid, one.frame): k
        for k, one in enumerate(run.source.slices)
    }


def drift_mm(run: ObjectRun, geometry: Geometry) -> float:
    """How far an uneven series' slices lie off the regular grid that was measured on."""
    stated = np.array([one.position for one in run.source.slices])
    k = np.arange(len(stated))
    regular = geometry.to_world(np.column_stack([0 * k, 0 * k, k])) * TO_LPS
    return float(np.abs(stated - regular).max())


def check_about(about: About, run: ObjectRun, others: Set[Reference] = frozenset()) -> None:
    """Hold what an object says of itself against its source.

    Args:
        about: What it says.
        run: Whose object.
        others: Other objects that it may point to.

    Raises:
        MismatchError: They do not belong together.
    """
    stated = patient_and_study(run.source.header)
    expect(about.patient == stated, "it names another patient or study")
    expect(about.series != run.source.value("SeriesInstanceUID"), "it lies in its source's series")
    expect(
        about.study_references <= {run.source.value("StudyInstanceUID")},
        "it points to another study",
    )
    frame = run.source.value("FrameOfReferenceUID")
    expect(about.frames_of_reference <= {frame}, "it lies in another frame of reference")
    whole = {Reference(one.sop_class, one.uid) for one in slices_of(run)}
    study = Reference("1.2.840.10008.3.1.2.3.1", run.source.value("StudyInstanceUID"))
    known = {*slices_of(run), *whole, *others, study}
    expect(about.references <= known, "it points to a slice or an object that does not exist")


def check_segmentation(
    read: ReadSegmentation, labelled: InstanceMap, rows: Mapping[int, Measurement], run: ObjectRun
) -> None:
    """Hold a segmentation against its map.

    Raises:
        MismatchError: It shows something else.
    """
    check_about(read.about, run)
    source = run.source.value("SeriesInstanceUID")
    expect(read.about.series_references == {source}, "it names another series as its source")
    frame = run.source.value("FrameOfReferenceUID")
    expect(read.about.frames_of_reference == {frame}, "it names no frame of reference")
    _check_grid(read, labelled.geometry, run)
    numbers = [segment.number for segment in read.segments]
    expect(numbers == list(range(1, len(labelled.instances) + 1)), "its segments are others")
    for segment, instance in zip(read.segments, labelled.instances, strict=True):
        _check_segment(segment, rows[instance.label], run)
    slices = slices_of(run)
    found = np.zeros(labelled.labels.shape, np.uint16)
    for one in read.frames:
        k = _slice_of(one, slices, run)
        expect(1 <= one.segment <= len(labelled.instances), "a frame shows no segment")
        expect(not found[one.columns, one.rows, k].any(), "two of its frames overlap")
        found[one.columns, one.rows, k] = labelled.instances[one.segment - 1].label
    expect(np.array_equal(found, labelled.labels), "its voxels are not those of the label map")
    used = {Reference(one.sop_class, one.uid) for frame in read.frames for one in frame.sources}
    expect(used <= read.about.listed, "it lacks the reference to a slice that it rests on")
    within = ROUNDING_MM + drift_mm(run, labelled.geometry)
    for segment, instance in zip(read.segments, labelled.instances, strict=True):
        _check_size(segment.number, read, rows[instance.label], within)


def check_report(
    read: ReadReport,
    segmentation: ReadSegmentation,
    rows: Mapping[int, Measurement],
    geometry: Geometry,
    run: ObjectRun,
) -> None:
    """Hold a report against the table, and against the segmentation that it points to.

    Raises:
        MismatchError: It says something else.
    """
    target = Reference(segmentation.about.sop_class, segmentation.about.uid)
    check_about(read.about, run, {target})
    series = {run.source.value("SeriesInstanceUID"), segmentation.about.series}
    expect(read.about.series_references == series, "it names other series as its sources")
    expect(read.template == "1500", "it follows another template")
    expect(read.verification == "UNVERIFIED", "it claims to be verified")
    groups = [group for group in read.groups if group.segment is not None]
    drawn = {group.tracking_uid: group for group in read.groups if group.segment is None}
    expect(len(groups) == len(rows), "it does not hold one group for each lesion")
    expect(len(read.groups) == 2 * len(rows), "it does not draw the axes of each lesion")
    pointed = {Reference(one.sop_class, one.uid) for one in read.about.references}
    expect(pointed <= read.about.listed, "it does not list what it points to")
    for segment, group, row in zip(segmentation.segments, groups, rows.values(), strict=True):
        name = f"lesion {row.instance}"
        expect(group.segment == (target.uid, segment.number), f"{name} is another segment")
        expect(
            group.tracking_uid == segment.tracking_uid == row.tracking_uid,
            f"{name} has another tracking UID",
        )
        expect(row.tracking_uid in drawn, f"the axes of {name} are not drawn")
        for one in (group, drawn[row.tracking_uid]):
            expect(one.tracking_id == _tracking_id(row), f"{name} has another tracking ID")
            _check_finding(one, row, run)
        _check_numbers(group, row)
        _check_lines(drawn[row.tracking_uid], row, geometry, run)


def check_pdf(read: ReadPdf, pdf: bytes, run: ObjectRun) -> None:
    """Hold an encapsulated PDF against the file.

    Raises:
        MismatchError: It is another one.
    """
    check_about(read.about, run)
    expect(read.mime_type == "application/pdf", "it is no PDF")
    expect(read.verification == "UNVERIFIED", "it claims to be verified")
    expect(read.pdf == pdf, "it holds another PDF")


def _check_grid(read: ReadSegmentation, geometry: Geometry, run: ObjectRun) -> None:
    """Hold spacing and orientation against the source's, and the distance against the volume."""
    columns, rows, _ = geometry.shape
    expect(read.shape == (rows, columns), "its frames have another size")
    expect(same_place(read.orientation, run.source.orientation, 1e-6), "it is oriented otherwise")
    expect(
        same_place(read.spacing_mm[:2], run.source.spacing_mm, 1e-6),
        "its pixels are spaced otherwise",
    )
    volume = float(np.prod(read.spacing_mm))
    expect(near(volume, geometry.voxel_volume_mm3, 1e-5), "its slices are spaced otherwise")


def _check_segment(segment: ReadSegment, row: Measurement, run: ObjectRun) -> None:
    """Hold tracking UID, codes and sides of a segment against its row."""
    name = f"{row.kind} {row.instance}"
    structure = run.structure(row.structure)
    kind = (structure.code.value, structure.laterality)
    expect(segment.tracking_uid == row.tracking_uid, f"{name} has another tracking UID")
    expect(segment.tracking_id == _tracking_id(row), f"{name} has another tracking ID")
    number = f" {row.instance}" if row.kind == "lesion" else ""
    label = ascii_only(structure.title + number, 64)
    expect(segment.label == label, f"{name} has another label")
    category = "49755003" if row.kind == "lesion" else "123037004"
    expect(segment.category == category, f"{name} is of another category")
    expect((segment.kind, segment.kind_side) == kind, f"{name} has another code or side")
    if row.kind == "lesion":
        code, side = run.region(row.organ)
        place = (code.value, side)
    else:
        place = kind
    expect((segment.region, segment.region_side) == place, f"{name} lies in another region or side")


def _tracking_id(row: Measurement) -> str:
    """The name that a reader knows a lesion by, in every object."""
    return ascii_only(f"{row.structure}-{row.instance}", 64)


def _slice_of(frame: ReadFrame, slices: Mapping[Reference, int], run: ObjectRun) -> int:
    """The slice that a frame rests on, where it also lies."""
    expect(len(frame.sources) == 1, "a frame does not name the one slice that it rests on")
    (source,) = frame.sources
    expect(source in slices, "a frame rests on a slice that does not exist")
    k = slices[source]
    expect(
        same_place(frame.position, run.source.slices[k].position),
        "a frame lies elsewhere than the slice that it rests on",
    )
    return k


def _check_size(number: int, read: ReadSegmentation, row: Measurement, within_mm: float) -> None:
    """Hold volume and centroid of a segment, by the object's own numbers, against its row."""
    name = f"{row.kind} {row.instance}"
    row_step, column_step, _ = read.spacing_mm
    along_row = np.array(read.orientation[:3]) * column_step
    along_column = np.array(read.orientation[3:]) * row_step
    places = np.concatenate(
        [
            np.array(one.position)
            + one.columns[:, None] * along_row
            + one.rows[:, None] * along_column
            for one in read.frames
            if one.segment == number
        ]
    )
    volume = len(places) * float(np.prod(read.spacing_mm))
    expect(near(volume, row.volume_mm3, 1e-5), f"the volume of {name} differs")
    expect(same_place(places.mean(axis=0), _centroid(row), within_mm), f"{name} lies elsewhere")


def _centroid(row: Measurement) -> NDArray[np.float64]:
    """LPS mm."""
    lps: NDArray[np.float64] = TO_LPS * (row.centroid_r_mm, row.centroid_a_mm, row.centroid_s_mm)
    return lps


def _check_finding(group: ReadGroup, row: Measurement, run: ObjectRun) -> None:
    """Hold what and where a group says a lesion is against its row."""
    name = f"lesion {row.instance}"
    code, side = run.region(row.organ)
    expect((group.site, group.side) == (code.value, side), f"{name} lies in another region or side")
    expect(group.finding == run.structure(row.structure).code.value, f"{name} is something else")


def _only(numbers: tuple[ReadNumber, ...], quantity: str, name: str) -> ReadNumber:
    found = [one for one in numbers if one.quantity == quantity]
    expect(len(found) == 1, f"a quantity of {name} is missing or given twice")
    return found[0]


def _check_numbers(group: ReadGroup, row: Measurement) -> None:
    """Hold the numbers of a lesion, units included, against its row."""
    name = f"lesion {row.instance}"
    volume = _only(group.numbers, VOLUME, name)
    expect(volume.unit in MM3, f"the volume of {name} has no unit of volume")
    expect(near(volume.value * MM3[volume.unit], row.volume_mm3), f"the volume of {name} differs")
    _check_axes(group, row)
    unit = INTENSITY_UNITS.get(row.intensity_unit)
    intensities = [one for one in group.numbers if one.derivation]
    if unit is None:
        expect(not intensities, f"the intensities of {name} have no unit that a report knows")
        return
    wanted = {code: getattr(row, column) for code, column in COLUMNS.items()}
    wanted = {code: value for code, value in wanted.items() if value is not None}
    expect({one.derivation for one in intensities} == set(wanted), f"{name} lacks an intensity")
    for one in intensities:
        expect(one.unit == unit, f"an intensity of {name} is in another unit")
        expect(near(one.value, wanted[one.derivation]), f"an intensity of {name} differs")


def _check_axes(group: ReadGroup, row: Measurement) -> None:
    """Hold the lengths of both axes against their row."""
    name = f"lesion {row.instance}"
    for quantity, length in (
        (LONG_AXIS, row.longest_axial_diameter_mm),
        (SHORT_AXIS, row.short_axis_mm),
    ):
        one = _only(group.numbers, quantity, name)
        expect(one.unit == "mm", f"an axis of {name} is not in mm")
        expect(near(one.value, length), f"an axis of {name} has another length")


def _check_lines(group: ReadGroup, row: Measurement, geometry: Geometry, run: ObjectRun) -> None:
    """Hold the ends of both axes, and the slice that they are drawn on, against their row."""
    name = f"lesion {row.instance}"
    _check_axes(group, row)
    slices = slices_of(run)
    within = DRAWN_MM + drift_mm(run, geometry)
    for quantity, ends in (
        (LONG_AXIS, row.longest_axial_diameter_ends_mm),
        (SHORT_AXIS, row.short_axis_ends_mm),
    ):
        one = _only(group.numbers, quantity, name)
        points = one.points
        expect(points is not None, f"an axis of {name} is not drawn")
        assert points is not None  # noqa: S101  as just said
        if one.image is not None:
            expect(one.image in slices, f"an axis of {name} is drawn on a slice that is not there")
            expect(one.image.uid == row.slice_sop_instance_uid, f"{name} is drawn on another slice")
            points = _on_slice(points, slices[one.image], run)
        expect(
            same_place(points, np.array(ends) * TO_LPS, within), f"an axis of {name} lies elsewhere"
        )


def _on_slice(points: NDArray[np.float64], k: int, run: ObjectRun) -> NDArray[np.float64]:
    """(N, 2) columns and rows of an image, 0.5 at a pixel's centre, in LPS mm."""
    row_step, column_step = run.source.spacing_mm
    along_row = np.array(run.source.orientation[:3]) * column_step
    along_column = np.array(run.source.orientation[3:]) * row_step
    columns, rows = (points - 0.5).T
    origin = np.array(run.source.slices[k].position)
    placed: NDArray[np.float64] = (
        origin + columns[:, None] * along_row + rows[:, None] * along_column
    )
    return placed
