"""Which series are one volume, and which are refused and why."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit
from medseg.errors import (
    InconsistentSeriesError,
    InputError,
    MissingGeometryError,
    NotAnImageError,
    UnreadableFileError,
    UnsupportedImageError,
)
from medseg.formats.dicom import group, read_file
from medseg.formats.dicom_stack import Stack, stack
from tests import dicom_series
from tests.dicom_series import GRID, STORED, example


def stacked(tmp_path, datasets: list[Dataset]) -> Stack:
    dicom_series.write(tmp_path, datasets)
    files = [read_file(path) for path in sorted(tmp_path.iterdir())]
    (series,) = group([file for file in files if file is not None])
    return stack(series)


def moved(dataset: Dataset, along_mm: float = 0.0, sideways_mm: float = 0.0) -> None:
    """Shift a slice along its normal and along its rows."""
    row = np.array(dataset.ImageOrientationPatient[:3], float)
    column = np.array(dataset.ImageOrientationPatient[3:], float)
    position = np.array(dataset.ImagePositionPatient, float)
    position += np.cross(row, column) * along_mm + row * sideways_mm
    dataset.ImagePositionPatient = [f"{x:.9g}" for x in position]


def test_a_whole_series_is_accepted_without_a_doubt(tmp_path):
    found = stacked(tmp_path, example())
    assert found.flags == ()
    assert found.scale.unit is IntensityUnit.HU
    assert found.geometry.matches(GRID)
    assert len(found.references) == GRID.shape[2]
    assert [reference.instance_number for reference in found.references] == list(range(1, 10))


def test_a_missing_slice_is_a_gap_wherever_it_is(tmp_path):
    for k in range(1, GRID.shape[2] - 1):
        datasets = example()
        del datasets[k]
        with pytest.raises(InconsistentSeriesError, match=r"gap of 6\.50 mm"):
            stacked(tmp_path / str(k), datasets)


@pytest.mark.parametrize(("jitter", "codes"), [(0.01, []), (0.07, ["uneven-spacing"])])
def test_small_unevenness_passes_and_is_flagged(tmp_path, jitter, codes):
    datasets = example()
    moved(datasets[4], along_mm=jitter)
    assert [flag.code for flag in stacked(tmp_path, datasets).flags] == codes


def test_unevenness_above_five_percent_is_refused(tmp_path):
    datasets = example()
    moved(datasets[4], along_mm=0.18)
    with pytest.raises(InconsistentSeriesError, match="gap"):
        stacked(tmp_path, datasets)


def test_gaps_that_grow_are_refused_even_where_each_is_small(tmp_path):
    geometry = Geometry((6, 5, 60), GRID.affine)
    datasets = dicom_series.slices(geometry, np.zeros(geometry.shape, np.int16))
    for k, dataset in enumerate(datasets):
        moved(dataset, along_mm=0.04 * 3.25 * min(k, 60 - k))
    with pytest.raises(InconsistentSeriesError, match="gap"):
        stacked(tmp_path, datasets)


@pytest.mark.parametrize(
    ("degrees", "modality", "axis", "is_taken"),
    [
        (0.3, "CT", 0, True),
        (0.3, "MR", 1, True),
        (0.7, "CT", 1, True),
        (-14.0, "CT", 1, True),
        (30.0, "CT", 1, True),
        (33.0, "CT", 1, False),
        (14.0, "CT", 0, False),
        (14.0, "MR", 1, False),
    ],
)
def test_a_gantry_tilt_is_kept_exactly_and_another_lean_refused(
    tmp_path, degrees, modality, axis, is_taken
):
    datasets = example(modality)
    direction = np.diag([-1.0, -1.0, 1.0]) @ GRID.affine[:3, axis] / GRID.spacing_mm[axis]
    for k, dataset in enumerate(datasets):
        place = np.array(dataset.ImagePositionPatient, float)
        place = place + 3.25 * k * np.tan(np.radians(degrees)) * direction
        dataset.ImagePositionPatient = [f"{x:.9g}" for x in place]
    if not is_taken:
        with pytest.raises(UnsupportedImageError, match="tilt"):
            stacked(tmp_path, datasets)
        return
    sheared = GRID.affine.copy()
    lean = 3.25 * np.tan(np.radians(degrees))
    sheared[:3, 2] += lean * sheared[:3, axis] / GRID.spacing_mm[axis]
    found = stacked(tmp_path, datasets)
    assert np.allclose(found.geometry.affine, sheared, atol=1e-5)
    assert found.geometry.voxel_volume_mm3 == pytest.approx(GRID.voxel_volume_mm3)
    codes = [flag.code for flag in found.flags if flag.code == "gantry-tilt"]
    assert codes == ["gantry-tilt"] * (abs(degrees) > 0.5)


@pytest.mark.parametrize("lost", [None, 0, 1, 2])
def test_an_object_sent_in_parts_must_be_whole(tmp_path, lost):
    parts = []
    for number, ks in enumerate(([0, 1, 2], [5, 4, 3], [6, 7, 8]), 1):
        part = dicom_series.enhanced(GRID, STORED, range(9))
        part.SOPInstanceUID = f"2.25.{number}"
        part.SeriesInstanceUID, part.FrameOfReferenceUID = "2.25.9", "2.25.8"
        part.ConcatenationUID, part.InConcatenationNumber = "2.25.7", number
        part.InConcatenationTotalNumber = 3
        part.NumberOfFrames = 3
        groups = part.PerFrameFunctionalGroupsSequence
        part.PerFrameFunctionalGroupsSequence = [groups[k] for k in ks]
        size = len(part.PixelData) // 9
        part.PixelData = b"".join(part.PixelData[k * size : (k + 1) * size] for k in ks)
        parts.append(part)
    kept = [part for n, part in enumerate(parts) if n != lost]
    if lost is None:
        assert stacked(tmp_path, kept).geometry.matches(Geometry(GRID.shape, GRID.affine))
    else:
        with pytest.raises(InconsistentSeriesError, match="3 parts"):
            stacked(tmp_path, kept)


def test_a_slice_that_is_shifted_sideways_is_refused(tmp_path):
    datasets = example()
    moved(datasets[3], sideways_mm=0.6)
    with pytest.raises(InconsistentSeriesError, match="sideways"):
        stacked(tmp_path, datasets)


def test_byte_identical_copies_are_left_out_and_flagged(tmp_path):
    datasets = example()
    found = stacked(tmp_path, [*datasets, datasets[2], datasets[2]])
    assert [flag.code for flag in found.flags] == ["duplicate-files"]
    assert found.geometry.matches(stacked(tmp_path / "b", datasets).geometry)


def test_copies_are_told_without_instance_uids_too(tmp_path):
    datasets = example(SOPInstanceUID="")
    for dataset in datasets:
        dataset.file_meta = dicom_series.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = dicom_series.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
        del dataset.file_meta.MediaStorageSOPInstanceUID
    folder = tmp_path
    for place, dataset in enumerate([*datasets, datasets[2]]):
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=False)
    (series,) = group(read_file(path) for path in folder.iterdir())
    found = stack(series)
    assert {flag.code for flag in found.flags} == {"duplicate-files", "no-instance-uids"}
    assert found.references == ()


def test_two_different_files_for_one_slice_are_refused(tmp_path):
    datasets = example()
    again = example()[2]
    again.SOPInstanceUID = datasets[2].SOPInstanceUID
    again.SeriesInstanceUID = datasets[2].SeriesInstanceUID
    again.FrameOfReferenceUID = datasets[2].FrameOfReferenceUID
    again.WindowCenter = "40"
    with pytest.raises(InconsistentSeriesError, match="two different files"):
        stacked(tmp_path, [*datasets, again])


def test_several_time_points_are_refused(tmp_path):
    datasets = example("MR")
    for dataset in example("MR"):
        dataset.SeriesInstanceUID = datasets[0].SeriesInstanceUID
        dataset.FrameOfReferenceUID = datasets[0].FrameOfReferenceUID
        datasets.append(dataset)
    with pytest.raises(InconsistentSeriesError, match="same place"):
        stacked(tmp_path, datasets)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("ImageOrientationPatient", ["0", "1", "0", "0", "0", "1"], "orientation"),
        ("PixelSpacing", ["1.9", "1.6"], "pixel spacing"),
        ("ImageType", ["DERIVED", "SECONDARY"], "image type"),
        ("FrameOfReferenceUID", "2.25.7", "frame of reference"),
        ("RescaleType", "US", "unit"),
        ("EchoTime", "90", "echo time"),
        ("TemporalPositionIdentifier", 2, "time point"),
        ("Modality", "MR", "modality"),
    ],
)
def test_slices_of_two_kinds_are_refused(tmp_path, name, value, word):
    datasets = example()
    setattr(datasets[5], name, value)
    with pytest.raises(InconsistentSeriesError, match=word):
        stacked(tmp_path, datasets)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("ImagePositionPatient", None, MissingGeometryError),
        ("ImageOrientationPatient", None, MissingGeometryError),
        ("PixelSpacing", None, MissingGeometryError),
        ("PixelSpacing", ["0", "1.5"], UnreadableFileError),
        ("ImagePositionPatient", ["1", "2"], UnreadableFileError),
        ("RescaleSlope", "0", UnreadableFileError),
        ("PixelData", None, UnreadableFileError),
        ("Rows", 0, UnreadableFileError),
        ("PhotometricInterpretation", "RGB", UnsupportedImageError),
        ("PhotometricInterpretation", "PALETTE COLOR", UnsupportedImageError),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], UnsupportedImageError),
        ("ModalityLUTSequence", Items([Dataset()]), UnsupportedImageError),
        ("SOPClassUID", SecondaryCaptureImageStorage, NotAnImageError),
        ("SOPClassUID", SegmentationStorage, NotAnImageError),
        ("NumberOfFrames", 4, MissingGeometryError),
    ],
)
def test_one_slice_that_cannot_be_used_refuses_the_series(tmp_path, name, value, error):
    datasets = example()
    if value is None:
        delattr(datasets[5], name)
    else:
        setattr(datasets[5], name, value)
    with pytest.raises(error) as caught:
        stacked(tmp_path, datasets)
    told = f"{caught.value.problem} {caught.value.remedy}"
    assert "CANARY" not in told
    assert str(datasets[0].SeriesInstanceUID) not in told
    assert str(tmp_path) not in told


def test_directions_that_are_not_perpendicular_are_no_orientation(tmp_path):
    cosines = ["1", "0", "0", "0.2", "0.979796", "0"]
    with pytest.raises(MissingGeometryError, match="perpendicular"):
        stacked(tmp_path, example(ImageOrientationPatient=cosines))


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_slices_are_no_volume(tmp_path, count):
    with pytest.raises(UnsupportedImageError, match="fewer than 3"):
        stacked(tmp_path, example()[:count])


def test_more_voxels_than_a_scanner_makes_are_refused_unread(tmp_path):
    with pytest.raises(UnsupportedImageError, match="claims"):
        stacked(tmp_path, example(Rows=60000, Columns=60000))


def test_a_localizer_is_refused_and_does_not_spoil_the_slices_beside_it(tmp_path):
    datasets = example()
    datasets[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dicom_series.write(tmp_path, datasets)
    parts = group(read_file(path) for path in tmp_path.iterdir())
    assert sorted(len(part) for part in parts) == [1, 8]
    with pytest.raises(NotAnImageError, match="localizer"):
        stack(min(parts, key=len))
    assert stack(max(parts, key=len)).geometry.shape == (6, 5, 8)


@pytest.mark.parametrize(
    ("modality", "tags", "unit"),
    [
        ("CT", {"RescaleType": "HU"}, IntensityUnit.HU),
        ("CT", {"RescaleType": "Z_EFF"}, IntensityUnit.ARBITRARY),
        ("CT", {"RescaleSlope": "", "RescaleIntercept": ""}, IntensityUnit.ARBITRARY),
        ("MR", {}, IntensityUnit.ARBITRARY),
        ("PT", {"Units": "BQML"}, IntensityUnit.BQML),
        ("PT", {"Units": "GML"}, IntensityUnit.SUV),
    ],
)
def test_a_unit_is_what_the_tags_prove(tmp_path, modality, tags, unit):
    assert stacked(tmp_path, example(modality, **tags)).scale.unit is unit


def test_a_pet_that_lost_its_ends_is_flagged(tmp_path):
    datasets = example("PT", Units="GML", NumberOfSlices=GRID.shape[2])
    assert stacked(tmp_path / "whole", datasets).flags == ()
    flags = stacked(tmp_path / "cut", datasets[:-2]).flags
    assert [flag.code for flag in flags] == ["fewer-slices"]


def test_burned_in_text_is_flagged(tmp_path):
    flags = stacked(tmp_path, example(BurnedInAnnotation="YES")).flags
    assert [flag.code for flag in flags] == ["burned-in-annotation"]


def test_every_refusal_is_the_fault_of_the_input():
    for error in (InconsistentSeriesError, MissingGeometryError, UnsupportedImageError):
        assert issubclass(error, InputError)
