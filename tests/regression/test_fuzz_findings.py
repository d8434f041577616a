"""What `benchmarks/fuzz_ingest.py` found, each in its smallest form."""

import struct

import nibabel as nib
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from medseg.ingest.inspect import inspect
from tests import dicom_series
from tests.dicom_series import GRID, STORED, example


def outcomes(source) -> list[tuple[str, str | None]]:
    return [(one.outcome, one.error) for one in inspect(source).series]


def test_a_run_length_segment_that_is_too_long_is_refused_and_no_panic(tmp_path):
    datasets = example("CT")
    dicom_series.write(tmp_path, datasets)
    segment = b"\x81\0" * 40
    frame = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    datasets[4].PixelData = encapsulate([frame])
    datasets[4]["PixelData"].VR = "OB"
    datasets[4].file_meta.TransferSyntaxUID = RLELossless
    dicom_series.write(tmp_path, datasets)
    assert outcomes(tmp_path) == [("refused", "UnreadableFileError")]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_size_that_is_too_small_leaves_voxels_over_and_is_refused(tmp_path, ending, axis):
    image = nib.Nifti1Image(STORED, GRID.affine)
    path = tmp_path / f"a{ending}"
    nib.save(image, path)
    assert outcomes(path) == [("ok", None)]
    content = bytearray(image.to_bytes())
    shape = list(STORED.shape)
    shape[axis] -= 1
    content[42:48] = np.array(shape, "<i2").tobytes()
    (tmp_path / "b.nii").write_bytes(content)
    assert outcomes(tmp_path / "b.nii") == [("refused", "UnreadableFileError")]


def test_a_few_bytes_behind_the_voxels_hide_no_plane(tmp_path):
    content = nib.Nifti1Image(STORED, GRID.affine).to_bytes()
    (tmp_path / "a.nii").write_bytes(content + bytes(7))
    assert outcomes(tmp_path / "a.nii") == [("ok", None)]


@pytest.mark.parametrize("name", ["SeriesInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("place", [0, -1])
def test_an_end_that_was_torn_off_refuses_the_rest(tmp_path, name, place):
    datasets = example("CT")
    datasets[place].SeriesInstanceUID = "1.2.3"
    setattr(datasets[place], name, "1.2.4")
    dicom_series.write(tmp_path, datasets)
    assert {outcome for outcome, _ in outcomes(tmp_path)} == {"refused"}
    assert ("refused", "InconsistentSeriesError") in outcomes(tmp_path)


@pytest.mark.parametrize("place", [0, -1])
def test_an_end_that_is_called_a_localizer_refuses_the_rest(tmp_path, place):
    datasets = example("CT")
    datasets[place].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    datasets[place].Modality = "MR"
    dicom_series.write(tmp_path, datasets)
    assert {outcome for outcome, _ in outcomes(tmp_path)} == {"refused"}


def test_a_single_slice_elsewhere_or_of_another_kind_tears_nothing(tmp_path):
    other = example("CT", SeriesNumber=9)[-1]
    other.ImagePositionPatient = [x + 40 for x in other.ImagePositionPatient]
    beyond = example("CT", SeriesNumber=10, PixelSpacing=["0.7", "0.7"])[-1]
    dicom_series.write(tmp_path / "a", example("CT")[:-1])
    dicom_series.write(tmp_path / "b", [other])
    dicom_series.write(tmp_path / "c", [beyond])
    assert [outcome for outcome, _ in outcomes(tmp_path)] == ["ok", "refused", "refused"]


def test_a_slice_whose_kind_and_pixels_are_lost_refuses_its_series(tmp_path):
    datasets = example("MR")
    dicom_series.write(tmp_path / "good", datasets)
    assert outcomes(tmp_path) == [("ok", None)]
    lost = datasets[-1]
    lost.SOPClassUID = "1.2.840.10008.51.4.1.1.4"
    del lost.PixelData
    dicom_series.write(tmp_path / "good", datasets[:-1])
    dicom_series.write(tmp_path / "elsewhere", [lost])
    (tmp_path / "good" / "file8").unlink()
    assert outcomes(tmp_path) == [("refused", "UnreadableFileError")]


def test_a_slice_that_lost_its_series_and_its_pixels_refuses_what_it_lies_beside(tmp_path):
    datasets = example("MR")
    datasets[-1].SeriesInstanceUID = "1.2.3"
    del datasets[-1].PixelData
    dicom_series.write(tmp_path / "a", datasets)
    dicom_series.write(tmp_path / "b", example("CT", SeriesNumber=9))
    assert [outcome for outcome, _ in outcomes(tmp_path)] == ["refused", "refused", "ok"]


def test_a_slice_whose_beginning_was_wiped_is_damaged_and_not_junk(tmp_path):
    dicom_series.write(tmp_path, example("MR"))
    content = (tmp_path / "file8").read_bytes()
    (tmp_path / "file8").write_bytes(content[:90] + bytes(120) + content[210:])
    assert outcomes(tmp_path) == [("refused", "UnreadableFileError")]


def test_a_text_that_speaks_of_dicom_is_no_slice(tmp_path):
    dicom_series.write(tmp_path, example("MR"))
    (tmp_path / "notes.txt").write_text("SOP Class 1.2.840.10008.5.1.4.1.1.4 " * 20)
    assert outcomes(tmp_path) == [("ok", None)]
