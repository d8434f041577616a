"""Which files are DICOM, and which of them belong together."""

import logging
import warnings
import zlib

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medseg.errors import UnreadableFileError
from medseg.formats.dicom import HEAD, group, read_file
from tests import dicom_series
from tests.dicom_series import GRID, STORED, example


def one(**tags: object) -> Dataset:
    return dicom_series.slices(GRID, STORED, "CT", **tags)[0]


@pytest.mark.parametrize("name", ["IM0001", "a.txt", "ü ü.jpeg", ".hidden", "x.nii.gz"])
def test_a_file_is_told_by_its_content(tmp_path, name):
    dicom_series.write(tmp_path, [one()], lambda _: name)
    found = read_file(tmp_path / name)
    assert found is not None
    assert (found.modality, found.columns, found.rows) == ("CT", *GRID.shape[:2])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, None])
def test_preamble_and_meta_information_may_be_missing(tmp_path, syntax):
    dataset = one()
    path = tmp_path / "bare"
    if syntax is None:
        dicom_series.write(tmp_path, [dataset], lambda _: "whole")
        path.write_bytes((tmp_path / "whole").read_bytes()[132:])
    else:
        little = syntax is ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=little, little_endian=little)
    found = read_file(path)
    assert found is not None
    assert found.has_pixels
    assert found.frames[0].position == pytest.approx(tuple(dataset.ImagePositionPatient))


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x08\x00\x05\x00", b"\x89PNG\r\n" * 90, b"\x02\x00junk" * 99],
)
def test_junk_is_no_dicom(tmp_path, content):
    (tmp_path / "junk").write_bytes(content)
    assert read_file(tmp_path / "junk") is None


def test_a_file_cut_in_its_header_is_damaged_and_not_junk(tmp_path):
    dicom_series.write(tmp_path, [one()])
    whole = (tmp_path / "file0").read_bytes()
    for size in (140, 180, 300):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(UnreadableFileError):
            read_file(tmp_path / "cut")


def test_a_damaged_mark_makes_no_slice_vanish(tmp_path):
    dicom_series.write(tmp_path, [one()])
    content = bytearray((tmp_path / "file0").read_bytes())
    content[130] = 0
    (tmp_path / "file0").write_bytes(bytes(content))
    with pytest.raises(UnreadableFileError):
        read_file(tmp_path / "file0")


def test_a_file_cut_after_its_series_uid_is_a_damaged_slice_of_it(tmp_path):
    dicom_series.write(tmp_path, example())
    content = (tmp_path / "file4").read_bytes()
    (tmp_path / "file4").write_bytes(content[: content.index(b"MONOCHROME2")])
    (series,) = group(read_file(path) for path in tmp_path.iterdir())
    assert [file.has_pixels for file in series].count(False) == 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("beyond", [-14, -12, -10, -8, -6, -2, 0, 2, 3000])
def test_pixels_are_found_wherever_they_begin(tmp_path, syntax, beyond):
    """A header is read in one piece first; the pixels may begin at its end, or behind it."""

    dataset = one()

    def written(padding: int) -> int:
        dataset.add_new(0x00420011, "OB", bytes(padding))
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
        dataset.save_as(tmp_path / "slice", enforce_file_format=True)
        return (tmp_path / "slice").read_bytes().index(b"\xe0\x7f\x10\0")

    place = HEAD + beyond
    assert written(place - written(0)) == place
    found = read_file(tmp_path / "slice")
    assert found.encoding.place.begin == place + (8 if syntax == ImplicitVRLittleEndian else 12)
    assert found.encoding.place.length == len(dataset.PixelData)


def test_what_holds_no_pixels_says_what_it_is(tmp_path):
    report = one(SOPClassUID=BasicTextSRStorage, Modality="SR")
    del report.PixelData
    dicom_series.write(tmp_path, [report])
    found = read_file(tmp_path / "file0")
    assert found is not None
    assert not found.has_pixels
    assert found.kind == "Basic Text SR Storage"


def test_a_private_kind_and_an_odd_modality_are_not_quoted(tmp_path):
    dicom_series.write(tmp_path, [one(SOPClassUID="1.2.3.4.5", Modality="DOE JANE")])
    found = read_file(tmp_path / "file0")
    assert found is not None
    assert found.modality == ""
    assert found.kind == "unknown object"


def test_an_empty_series_uid_does_not_join_what_the_rest_tells_apart(tmp_path):
    blank = {"SeriesInstanceUID": "", "SOPClassUID": ""}
    first = dicom_series.slices(GRID, STORED, "CT", **blank)
    other = dicom_series.slices(GRID, STORED, "CT", **blank, SeriesNumber=9)
    for dataset in (*first, *other):
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    for place, dataset in enumerate((*first, *other)):
        dataset.save_as(tmp_path / f"{place}", enforce_file_format=False)
    parts = group(read_file(path) for path in tmp_path.iterdir())
    assert [len(part) for part in parts] == [GRID.shape[2]] * 2
    assert all(file.is_volume for part in parts for file in part)


def test_a_deflated_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    dataset = one()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dicom_series.write(tmp_path / "good", [one()])
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(tmp_path / "deflated", enforce_file_format=True)
    assert read_file(tmp_path / "deflated") is not None
    content = (tmp_path / "deflated").read_bytes()
    head = content[: 144 + int.from_bytes(content[140:144], "little")]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(bytes(2**24)) + packer.flush()
    (tmp_path / "bomb").write_bytes(head + packed)
    monkeypatch.setattr("medseg.formats.dicom.INFLATED_FREE", 2**22)
    with pytest.raises(UnreadableFileError):
        read_file(tmp_path / "bomb")
    assert read_file(tmp_path / "deflated") is not None


def test_no_warning_and_no_log_line_leaves_the_door(tmp_path, caplog):
    dataset = one()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.Modality = "canary^test"
        dataset.PhotometricInterpretation = "CANARY-" + "X" * 80
        dicom_series.write(tmp_path, [dataset])
    caplog.clear()
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_file(tmp_path / "file0") is not None
    assert not caught
    assert "canary" not in caplog.text.lower()
