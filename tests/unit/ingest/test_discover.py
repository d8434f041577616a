"""What is found below a path, whatever the files are called."""

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import BasicTextSRStorage

from medseg.errors import NotAnImageError, SourceNotFoundError, UnreadableFileError
from medseg.ingest.discover import discover
from medseg.ingest.inspection import Ignored
from tests import dicom_series
from tests.dicom_series import GRID, STORED, example


def nifti_file(path) -> None:
    nib.save(nib.Nifti1Image(STORED, GRID.affine), path)


def report():
    made = example("MR", SOPClassUID=BasicTextSRStorage, Modality="SR")[0]
    del made.PixelData
    return made


def test_series_are_found_in_any_layout_and_junk_is_counted(tmp_path):
    first, other = example("CT"), example("PT", SeriesNumber=7, Units="GML")
    mixed = [dataset for pair in zip(first, other, strict=True) for dataset in pair]
    dicom_series.write(tmp_path / "ä b", mixed[:7], "nested{}.txt".format)
    dicom_series.write(tmp_path / "ä b" / "c", mixed[7:], "{}".format)
    dicom_series.write(tmp_path / "reports", [report()])
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf" * 300)
    (tmp_path / "empty.dcm").touch()
    nifti_file(tmp_path / "volume.nii.gz")
    found = discover(tmp_path)
    assert [(one.number, one.modality) for one in found.series] == [(1, "CT"), (2, "PT"), (3, None)]
    assert all(one.fault is None for one in found.series)
    assert set(found.ignored) == {
        Ignored("neither DICOM nor NIfTI", 1),
        Ignored("empty", 1),
        Ignored("Basic Text SR Storage: holds no image", 1),
    }


def test_a_nifti_file_is_found_by_content_and_by_name(tmp_path):
    nifti_file(tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "nameless")
    (tmp_path / "claims.nii.gz").write_text("no image")
    assert len(discover(tmp_path).series) == 2


def test_a_pair_is_one_series(tmp_path):
    nib.save(nib.Nifti1Pair(STORED, GRID.affine), tmp_path / "a.img")
    found = discover(tmp_path)
    assert len(found.series) == 1
    assert [one.files for one in found.ignored] == [1]


def test_a_damaged_file_refuses_the_series_beside_it_and_no_other(tmp_path):
    dicom_series.write(tmp_path / "one", example("CT"))
    dicom_series.write(tmp_path / "other", example("MR", SeriesNumber=9))
    whole = (tmp_path / "one" / "file8").read_bytes()
    (tmp_path / "one" / "file8").write_bytes(whole[:200])
    beside, elsewhere = discover(tmp_path).series
    assert isinstance(beside.fault, UnreadableFileError)
    assert elsewhere.fault is None


@pytest.mark.parametrize("content", [b"", b"some text", np.random.default_rng(0).bytes(900)])
def test_a_file_given_by_itself_is_refused_and_not_left_aside(tmp_path, content):
    path = tmp_path / "CANARY.txt"
    path.write_bytes(content)
    (only,) = discover(path).series
    assert isinstance(only.fault, NotAnImageError)
    assert "CANARY" not in str(only.fault)


def test_a_report_given_by_itself_says_what_it_is(tmp_path):
    dicom_series.write(tmp_path, [report()])
    (only,) = discover(tmp_path / "file0").series
    assert "Basic Text SR" in str(only.fault)


def test_an_empty_folder_holds_nothing_and_a_missing_one_is_an_error(tmp_path):
    assert discover(tmp_path).series == ()
    with pytest.raises(SourceNotFoundError) as caught:
        discover(tmp_path / "CANARY")
    assert "CANARY" not in str(caught.value)


def test_a_link_in_a_circle_does_not_hang(tmp_path):
    dicom_series.write(tmp_path / "a", example("CT"))
    (tmp_path / "a" / "circle").symlink_to(tmp_path, target_is_directory=True)
    assert len(discover(tmp_path).series) == 1


def test_a_linked_slice_is_one_and_what_a_link_promises_is_not(tmp_path):
    dicom_series.write(tmp_path / "store", example("CT"))
    (tmp_path / "study").mkdir()
    for path in (tmp_path / "store").iterdir():
        (tmp_path / "study" / path.name).symlink_to(path)
    (tmp_path / "study" / "lost").symlink_to(tmp_path / "nothing")
    whole, linked = discover(tmp_path / "store"), discover(tmp_path / "study")
    assert [one.stored_bytes for one in linked.series] == [one.stored_bytes for one in whole.series]
    assert linked.ignored == ()
