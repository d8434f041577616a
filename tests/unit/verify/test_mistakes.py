"""Deliberate mistakes in every export: the gate stops each, and names the export."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg import run_folder
from medseg.errors import ExportMismatchError
from medseg.formats import tables
from medseg.formats.dicom_pixels import read_voxels
from medseg.verify.truth import Truth
from medseg.verify.verify import verify
from tests import pacs

SEG, ORGANS = run_folder.DICOM_LESIONS, run_folder.DICOM_ORGANS
SR, RT, PDF = run_folder.DICOM_MEASUREMENTS, run_folder.DICOM_STRUCTURES, run_folder.DICOM_REPORT


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> pacs.Exported:
    return pacs.run_folder_with_all(tmp_path_factory.mktemp("run"), pacs.series(pacs.oblique()))


@pytest.fixture(scope="module")
def truth(exported) -> Truth:
    volume, _ = read_voxels(exported.stack)
    slices = exported.stack.references
    return Truth(exported.lesions, exported.organs, volume, slices, exported.rows)


@pytest.fixture
def run(exported, tmp_path) -> Path:
    """A copy to make a mistake in."""
    return shutil.copytree(exported.objects.parent, tmp_path / "run")


@contextmanager
def edited(path: Path) -> Iterator[Dataset]:
    """A DICOM file, opened, to be changed and written again."""
    dataset = pydicom.dcmread(path)
    yield dataset
    dataset.save_as(path)


def named(items: list[Dataset], code: str) -> list[Dataset]:
    """Content items of that concept, at any depth."""
    found = []
    for item in items:
        if item.ConceptNameCodeSequence[0].CodeValue == code:
            found.append(item)
        found += named(item.get("ContentSequence", []), code)
    return found


def numbers(dataset: Dataset, code: str) -> list[Dataset]:
    return [item for item in named(dataset.ContentSequence, code) if item.ValueType == "NUM"]


# Segmentations


def flipped_z(run: Path) -> None:
    with edited(run / SEG) as seg:
        frames = seg.PerFrameFunctionalGroupsSequence
        places = [frame.PlanePositionSequence for frame in frames]
        for frame, place in zip(frames, places[::-1], strict=True):
            frame.PlanePositionSequence = place


def flipped_z_with_its_sources(run: Path) -> None:
    with edited(run / SEG) as seg:
        mine = [f for f in seg.PerFrameFunctionalGroupsSequence
                if f.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1]  # fmt: skip
        kept = [(f.PlanePositionSequence, f.DerivationImageSequence) for f in mine]
        for frame, (place, source) in zip(mine, kept[::-1], strict=True):
            frame.PlanePositionSequence, frame.DerivationImageSequence = place, source


def other_frame_of_reference(run: Path) -> None:
    with edited(run / SEG) as seg:
        seg.FrameOfReferenceUID = "2.25.1"


def missing_slice_reference(run: Path) -> None:
    with edited(run / SEG) as seg:
        del seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[2]


def frames_without_a_slice(run: Path) -> None:
    with edited(run / SEG) as seg:
        for frame in seg.PerFrameFunctionalGroupsSequence:
            frame.DerivationImageSequence[0].SourceImageSequence = []


def slice_that_does_not_exist(run: Path) -> None:
    with edited(run / SEG) as seg:
        listed = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        listed[1].ReferencedSOPInstanceUID = "2.25.99"


def other_series(run: Path) -> None:
    with edited(run / SEG) as seg:
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.98"


def duplicated_tracking_uid(run: Path) -> None:
    with edited(run / SEG) as seg:
        seg.SegmentSequence[1].TrackingUID = seg.SegmentSequence[0].TrackingUID


def swapped_tracking_uids(run: Path) -> None:
    with edited(run / SEG) as seg:
        one, other = seg.SegmentSequence[0], seg.SegmentSequence[1]
        one.TrackingUID, other.TrackingUID = other.TrackingUID, one.TrackingUID


def shifted_by_one_pixel(run: Path) -> None:
    with edited(run / SEG) as seg:
        bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
        seg.PixelData = np.packbits(np.roll(bits, 1), bitorder="little").tobytes()


def transposed_orientation(run: Path) -> None:
    with edited(run / SEG) as seg:
        plane = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        cosines = list(plane.ImageOrientationPatient)
        plane.ImageOrientationPatient = cosines[3:] + cosines[:3]


def swapped_pixel_spacing(run: Path) -> None:
    with edited(run / SEG) as seg:
        measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.PixelSpacing = list(measures.PixelSpacing)[::-1]


def slices_twice_as_far_apart(run: Path) -> None:
    with edited(run / SEG) as seg:
        measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SpacingBetweenSlices = float(measures.SpacingBetweenSlices) * 2


def lost_segment(run: Path) -> None:
    with edited(run / SEG) as seg:
        del seg.SegmentSequence[2]


def lost_laterality_of_a_region(run: Path) -> None:
    with edited(run / SEG) as seg:
        del seg.SegmentSequence[0].AnatomicRegionSequence[0].AnatomicRegionModifierSequence


def exchanged_labels(run: Path) -> None:
    with edited(run / SEG) as seg:
        one, other = seg.SegmentSequence[:2]
        one.SegmentLabel, other.SegmentLabel = other.SegmentLabel, one.SegmentLabel


def exchanged_tracking_ids(run: Path) -> None:
    with edited(run / ORGANS) as seg:
        one, other = seg.SegmentSequence[:2]
        one.TrackingID, other.TrackingID = other.TrackingID, one.TrackingID


def exchanged_sides(run: Path) -> None:
    with edited(run / ORGANS) as seg:
        one, other = (
            item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]
            for item in seg.SegmentSequence[:2]
        )
        one.CodeValue, other.CodeValue = other.CodeValue, one.CodeValue


def lost_laterality_of_an_organ(run: Path) -> None:
    with edited(run / ORGANS) as seg:
        kind = seg.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
        del kind.SegmentedPropertyTypeModifierCodeSequence


def other_organ(run: Path) -> None:
    with edited(run / ORGANS) as seg:
        seg.SegmentSequence[2].SegmentedPropertyTypeCodeSequence[0].CodeValue = "12738006"


def frames_of_another_segment(run: Path) -> None:
    with edited(run / ORGANS) as seg:
        for frame in seg.PerFrameFunctionalGroupsSequence:
            identified = frame.SegmentIdentificationSequence[0]
            identified.ReferencedSegmentNumber = 4 - identified.ReferencedSegmentNumber


def other_patient(run: Path) -> None:
    with edited(run / SEG) as seg:
        seg.PatientID = "another"


# Structured report


def wrong_unit(run: Path) -> None:
    with edited(run / SR) as sr:
        item = numbers(sr, "118565006")[0]
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "ml"


def length_in_cm(run: Path) -> None:
    with edited(run / SR) as sr:
        item = numbers(sr, "103339001")[0]
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "cm"


def wrong_volume(run: Path) -> None:
    with edited(run / SR) as sr:
        measured = numbers(sr, "118565006")[1].MeasuredValueSequence[0]
        measured.NumericValue = float(measured.NumericValue) * 1.01


def swapped_axes(run: Path) -> None:
    with edited(run / SR) as sr:
        for one, other in zip(numbers(sr, "103339001"), numbers(sr, "103340004"), strict=True):
            one.MeasuredValueSequence, other.MeasuredValueSequence = (
                other.MeasuredValueSequence, one.MeasuredValueSequence
            )  # fmt: skip


def swapped_coordinates(run: Path) -> None:
    with edited(run / SR) as sr:
        line = next(x for x in numbers(sr, "103339001") if "ContentSequence" in x)
        drawn = line.ContentSequence[0]
        x1, y1, x2, y2 = drawn.GraphicData
        drawn.GraphicData = [y1, x1, y2, x2]


def drawn_on_the_next_slice(run: Path) -> None:
    with edited(run / SR) as sr:
        lines = [x for x in numbers(sr, "103339001") if "ContentSequence" in x]
        images = [x.ContentSequence[0].ContentSequence[0].ReferencedSOPSequence for x in lines[:2]]
        images[0][0].ReferencedSOPInstanceUID = images[1][0].ReferencedSOPInstanceUID


def other_segment(run: Path) -> None:
    with edited(run / SR) as sr:
        items = named(sr.ContentSequence, "121191")
        items[0].ReferencedSOPSequence[0].ReferencedSegmentNumber = 2


def other_segmentation(run: Path) -> None:
    with edited(run / SR) as sr:
        items = named(sr.ContentSequence, "121191")
        items[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.97"


def other_tracking_uid_in_the_report(run: Path) -> None:
    with edited(run / SR) as sr:
        uids = named(sr.ContentSequence, "112040")
        uids[0].UID, uids[2].UID = uids[2].UID, uids[0].UID


def lost_laterality_of_a_finding(run: Path) -> None:
    with edited(run / SR) as sr:
        site = next(x for x in named(sr.ContentSequence, "363698007") if "ContentSequence" in x)
        del site.ContentSequence


def verified_by_no_one(run: Path) -> None:
    with edited(run / SR) as sr:
        sr.VerificationFlag = "VERIFIED"


def lost_group(run: Path) -> None:
    with edited(run / SR) as sr:
        measurements = named(sr.ContentSequence, "126010")[0]
        del measurements.ContentSequence[-2:]


def segmentation_not_in_evidence(run: Path) -> None:
    with edited(run / SR) as sr:
        del sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[-1]


def other_hounsfield_unit(run: Path) -> None:
    with edited(run / SR) as sr:
        item = numbers(sr, "112031")[0]
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "g/ml{SUVbw}"


def other_tracking_id_in_the_report(run: Path) -> None:
    with edited(run / SR) as sr:
        named(sr.ContentSequence, "112039")[1].TextValue = "lesion-9"


def unit_of_no_scheme(run: Path) -> None:
    with edited(run / SR) as sr:
        measured = numbers(sr, "118565006")[0].MeasuredValueSequence[0]
        measured.MeasurementUnitsCodeSequence[0].CodingSchemeDesignator = "99LOCAL"


def two_values_of_one_number(run: Path) -> None:
    with edited(run / SR) as sr:
        numbers(sr, "118565006")[0].MeasuredValueSequence[0].FloatingPointValue = 12.5


def evidence_of_another_study(run: Path) -> None:
    with edited(run / SR) as sr:
        sr.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = "2.25.95"


def evidence_of_another_series(run: Path) -> None:
    with edited(run / SR) as sr:
        evidence = sr.CurrentRequestedProcedureEvidenceSequence[0]
        evidence.ReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.94"


def another_object_than_its_file_says(run: Path) -> None:
    with edited(run / SR) as sr:
        sr.SOPInstanceUID = "2.25.93"


# Structure set


def contours_of_the_next_slice(run: Path) -> None:
    with edited(run / RT) as rt:
        contours = rt.ROIContourSequence[0].ContourSequence
        contours[0].ContourData, contours[1].ContourData = (
            contours[1].ContourData, contours[0].ContourData
        )  # fmt: skip
        for contour in contours[:2]:
            contour.NumberOfContourPoints = len(contour.ContourData) // 3


def contours_moved_with_their_slices(run: Path) -> None:
    with edited(run / RT) as rt:
        first, last = (rt.ROIContourSequence[0].ContourSequence[n] for n in (0, -1))
        first.ContourImageSequence, last.ContourImageSequence = (
            last.ContourImageSequence, first.ContourImageSequence
        )  # fmt: skip


def filled_hole(run: Path) -> None:
    with edited(run / RT) as rt:
        for contour in rt.ROIContourSequence[0].ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3).tolist()
            if len({tuple(point) for point in points}) < len(points):
                # The channel to a hole is walked twice: leave out what lies between.
                first = next(n for n, point in enumerate(points) if point in points[n + 1 :])
                last = len(points) - 1 - points[::-1].index(points[first])
                kept = points[: first + 1] + points[last + 1 :]
                contour.ContourData = [f"{x:.4f}" for point in kept for x in point]
                contour.NumberOfContourPoints = len(kept)


def contour_a_pixel_off(run: Path) -> None:
    shared = pydicom.dcmread(run / SEG).SharedFunctionalGroupsSequence[0]
    along_row = shared.PlaneOrientationSequence[0].ImageOrientationPatient[:3]
    with edited(run / RT) as rt:
        for contour in rt.ROIContourSequence[1].ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            points += np.array(along_row, float) * pacs.SPACING[0]
            contour.ContourData = [f"{x:.4f}" for x in points.ravel()]


def slice_that_the_structures_do_not_list(run: Path) -> None:
    with edited(run / RT) as rt:
        study = rt.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        del study.RTReferencedSeriesSequence[0].ContourImageSequence[3]


def lost_contour(run: Path) -> None:
    with edited(run / RT) as rt:
        del rt.ROIContourSequence[0].ContourSequence[0]


def exchanged_sides_of_contours(run: Path) -> None:
    with edited(run / RT) as rt:
        left, right = rt.StructureSetROISequence[3], rt.StructureSetROISequence[4]
        left.ROIName, right.ROIName = right.ROIName, left.ROIName


def structures_in_another_frame(run: Path) -> None:
    with edited(run / RT) as rt:
        rt.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "2.25.96"


# Report, tables and maps


def other_pdf(run: Path) -> None:
    (run / run_folder.REPORT_PDF).write_bytes(pacs.PDF.replace(b"Size 1", b"Size 2"))


def changed_cell(column: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def change_cell(run: Path) -> None:
        path = run / run_folder.TABLE_CSV
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        rows[0][column] = change(rows[0][column])
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return change_cell


def lost_row(run: Path) -> None:
    path = run / run_folder.TABLE_CSV
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def parquet_in_ml(run: Path) -> None:
    path = run / run_folder.TABLE_PARQUET
    table = pq.read_table(path)
    place = table.schema.get_field_index("volume_mm3")
    field = table.schema.field(place).with_metadata({"unit": "mL"})
    pq.write_table(table.cast(table.schema.set(place, field)), path)


def table_of_another_instance(run: Path) -> None:
    path = run / run_folder.TABLE_JSON
    path.write_text(path.read_text().replace('"instance": 7,', '"instance": 8,'))


def page_of_another_volume(run: Path) -> None:
    path = run / run_folder.REPORT_HTML
    path.write_text(path.read_text().replace('"voxel_count": ', '"voxel_count": 1'))


def page_that_shows_another_volume(run: Path) -> None:
    path = run / run_folder.REPORT_HTML
    path.write_text(path.read_text().replace("<td>", "<td>1", 1))


def page_that_shows_no_row(run: Path) -> None:
    path = run / run_folder.REPORT_HTML
    path.write_text(path.read_text().replace('id="row-7"', "", 1))


def map_flipped(run: Path) -> None:
    path = run / run_folder.LESIONS
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., ::-1], image.affine), path)


def edited_text(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def bundle_in_millilitres(run: Path) -> None:
    edited_text(run / run_folder.FHIR, '"code": "mm3"', '"code": "mL"')


def bundle_with_axes_exchanged(run: Path) -> None:
    text = (run / run_folder.FHIR).read_text(encoding="utf-8")
    swapped = text.replace("103339001", "x").replace("103340004", "103339001")
    (run / run_folder.FHIR).write_text(swapped.replace('"x"', '"103340004"'), encoding="utf-8")


def bundle_without_a_result(run: Path) -> None:
    bundle = json.loads((run / run_folder.FHIR).read_bytes())
    bundle["entry"][0]["resource"]["result"].pop()
    (run / run_folder.FHIR).write_text(json.dumps(bundle), encoding="utf-8")


def bundle_that_lost_a_side(run: Path) -> None:
    bundle = json.loads((run / run_folder.FHIR).read_bytes())
    sites = [one["resource"].get("bodySite", {"coding": []}) for one in bundle["entry"]]
    next(site["coding"] for site in sites if len(site["coding"]) == 2).pop()
    (run / run_folder.FHIR).write_text(json.dumps(bundle), encoding="utf-8")


def bundle_of_another_unit_system(run: Path) -> None:
    edited_text(run / run_folder.FHIR, "http://unitsofmeasure.org", "http://example.org")


def bundle_built_otherwise(run: Path) -> None:
    (run / run_folder.FHIR).write_text('{"entry": [{"resource": []}]}', encoding="utf-8")


def page_built_otherwise(run: Path) -> None:
    page = '<script type="application/json" id="data">[]</script>'
    (run / run_folder.REPORT_HTML).write_text(page, encoding="utf-8")


def map_moved(run: Path) -> None:
    path = run / run_folder.ORGANS
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 0.4
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)


def map_of_labels_exchanged(run: Path) -> None:
    path = run / run_folder.LESIONS
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[labels == 7] = 3
    nib.save(nib.Nifti1Image(labels, image.affine), path)


def file_cut_short(run: Path) -> None:
    path = run / SR
    path.write_bytes(path.read_bytes()[:-400])


def file_missing(run: Path) -> None:
    (run / RT).unlink()


MISTAKES: dict[str, tuple[Callable[[Path], None], ...]] = {
    SEG: (
        flipped_z, flipped_z_with_its_sources, other_frame_of_reference, missing_slice_reference,
        frames_without_a_slice, slice_that_does_not_exist, other_series, duplicated_tracking_uid,
        swapped_tracking_uids, shifted_by_one_pixel, transposed_orientation, swapped_pixel_spacing,
        slices_twice_as_far_apart, lost_segment, lost_laterality_of_a_region, other_patient,
        exchanged_labels,
    ),
    ORGANS: (
        exchanged_sides, lost_laterality_of_an_organ, other_organ, frames_of_another_segment,
        exchanged_tracking_ids,
    ),
    SR: (
        wrong_unit, length_in_cm, wrong_volume, swapped_axes, swapped_coordinates,
        drawn_on_the_next_slice, other_segment, other_segmentation,
        other_tracking_uid_in_the_report, lost_laterality_of_a_finding, verified_by_no_one,
        lost_group, other_hounsfield_unit, segmentation_not_in_evidence, file_cut_short,
        other_tracking_id_in_the_report, unit_of_no_scheme, two_values_of_one_number,
        evidence_of_another_study, evidence_of_another_series, another_object_than_its_file_says,
    ),
    RT: (
        contours_of_the_next_slice, contours_moved_with_their_slices, filled_hole,
        contour_a_pixel_off, slice_that_the_structures_do_not_list, lost_contour,
        exchanged_sides_of_contours, file_missing, structures_in_another_frame,
    ),
    PDF: (other_pdf,),
    run_folder.TABLE_CSV: (
        changed_cell("volume_mm3", lambda cell: str(float(cell) / 1000)),
        changed_cell("centroid_r_mm", lambda cell: str(-float(cell))),
        changed_cell("touches_edge", str.upper),
        lost_row,
    ),
    run_folder.TABLE_PARQUET: (parquet_in_ml,),
    run_folder.TABLE_JSON: (table_of_another_instance,),
    run_folder.REPORT_HTML: (
        page_of_another_volume, page_that_shows_another_volume, page_that_shows_no_row,
        page_built_otherwise,
    ),
    run_folder.FHIR: (
        bundle_in_millilitres, bundle_with_axes_exchanged, bundle_without_a_result,
        bundle_that_lost_a_side, bundle_of_another_unit_system, bundle_built_otherwise,
    ),
    run_folder.LESIONS: (map_flipped, map_of_labels_exchanged),
    run_folder.ORGANS: (map_moved,),
}  # fmt: skip
CASES = [(name, mistake) for name, mistakes in MISTAKES.items() for mistake in mistakes]


def test_a_run_without_a_mistake_passes(exported, truth, run):
    verify(run, truth, exported.run)


@pytest.mark.parametrize(
    ("name", "mistake"), CASES, ids=[f"{n}-{mistake.__name__}" for n, mistake in CASES]
)
def test_a_mistake_is_stopped_and_the_export_named(exported, truth, run, name, mistake):
    mistake(run)
    with pytest.raises(ExportMismatchError) as caught:
        verify(run, truth, exported.run)
    assert name in caught.value.problem
    assert "CANARY" not in str(caught.value)


WRONG_ROWS = {
    "volume_mm3": 1.0,
    "voxel_count": 3,
    "centroid_s_mm": 0.0,
    "intensity_mean": 7.0,
    "intensity_unit": "SUV",
    "tracking_uid": "2.25.3",
    "organ": "brain",
    "longest_axial_diameter_mm": 1.0,
    "slice_instance_number": 99,
}


@pytest.mark.parametrize("column", WRONG_ROWS)
def test_a_table_that_does_not_fit_the_voxels_is_stopped(exported, truth, run, column):
    """Even where every export repeats the mistake: the label map is counted again."""
    wrong = replace(truth.rows[0], **{column: WRONG_ROWS[column]})
    rows = (wrong, *truth.rows[1:])
    tables.write_json(run / run_folder.TABLE_JSON, rows)
    with pytest.raises(ExportMismatchError, match=run_folder.TABLE_JSON.replace(".", r"\.")):
        verify(run, replace(truth, rows=rows), exported.run)
