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
from tests.dicom_series import GRID, example


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


@pytest.mark.parametrize("degrees", [0.3, 0.7, 14.0])
def test_tilt_is_kept_exactly_where_it_is_small_and_refused_else(tmp_path, degrees):
    datasets = example()
    for k, dataset in enumerate(datasets):
        moved(dataset, sideways_mm=3.25 * k * np.tan(np.radians(degrees)))
    if degrees > 0.5:
        with pytest.raises(UnsupportedImageError, match="tilt"):
            stacked(tmp_path, datasets)
        return
    sheared = GRID.affine.copy()
    sheared[:3, 2] += 3.25 * np.tan(np.radians(degrees)) * sheared[:3, 0] / 1.5
    found = stacked(tmp_path, datasets).geometry
    assert np.allclose(found.affine, sheared, atol=1e-5)
    assert found.voxel_volume_mm3 == pytest.approx(GRID.voxel_volume_mm3)


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
