"""The neighbours of the DICOM series in `shared/acceptance`: what else archives do to a series."""

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    generate_uid,
)

from medseg.ingest.inspect import inspect
from tests import dicom_series
from tests.dicom_series import FDG, GRID, STORED, drug, example

Change = Callable[[Dataset, int], None]


def tags(**values: object) -> Change:
    """Set tags; a function is called with the number of the slice, None takes the tag away."""

    def change(one: Dataset, k: int) -> None:
        for name, given in values.items():
            value = given(k) if callable(given) else given
            if value is None:
                one.pop(name, None)
            else:
                setattr(one, name, value)

    return change


def written(folder: Path, change: Change, modality: str = "CT", which: int | None = None) -> Path:
    """The example with changed slices: all, or one."""
    made = example(modality)
    for k, one in enumerate(made):
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        if which in (None, k):
            change(one, k)
    return dicom_series.write(folder, made)


def row(folder: Path):
    (found,) = inspect(folder).series
    return found


def is_whole(found) -> bool:
    """Whether the series came as it was made, or scaled by its own rescaling alone."""
    assert found.outcome == "ok", found
    return found.shape == GRID.shape and np.allclose(found.affine_ras, GRID.affine, atol=2e-3)


def no_uids(one: Dataset, _k: int) -> None:
    tags(
        SOPClassUID="", SOPInstanceUID="", SeriesInstanceUID="", StudyInstanceUID="",
        FrameOfReferenceUID="",
    )(one, 0)  # fmt: skip


def unsigned(one: Dataset, k: int) -> None:
    """The same values as unsigned ones with another intercept."""
    one.PixelRepresentation, one.RescaleIntercept = 0, "-1000"
    one.PixelData = np.ascontiguousarray((STORED[:, :, k] + 1000).T, "<u2").tobytes()


def icon(one: Dataset, _k: int) -> None:
    """A picture of the picture, with tags that the picture has too."""
    small = Dataset()
    small.Rows = small.Columns = 2
    small.BitsAllocated, small.SamplesPerPixel, small.PhotometricInterpretation = 8, 1, "RGB"
    small.PixelData = b"\1\2\3\4"
    one.IconImageSequence = Items([small])


def private(one: Dataset, _k: int) -> None:
    one.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", bytes(300))
    one.private_block(0x7FE1, "SIEMENS MED", create=True).add_new(0x10, "OB", bytes(500))
    inner = Dataset()
    inner.RescaleSlope = "7"
    one.ReferencedStudySequence = Items([inner])
    one["ReferencedStudySequence"].is_undefined_length = True


@pytest.mark.parametrize(
    "change",
    [
        no_uids,
        tags(FrameOfReferenceUID=None),
        tags(InstanceNumber=1, SliceLocation=lambda k: str(-3 * k)),
        tags(InstanceNumber=None, ImageType=None),
        tags(SliceThickness="99", SpacingBetweenSlices="77"),
        tags(Modality=None),
        tags(ModalityLUTSequence=Items([])),
        tags(PhotometricInterpretation="MONOCHROME1"),
        tags(HighBit=None),
        tags(NumberOfFrames="1", SharedFunctionalGroupsSequence=Items([])),
        tags(AcquisitionNumber=lambda k: k, AcquisitionTime=lambda k: f"1200{k:02d}"),
        tags(SpecificCharacterSet="GB18030", PatientName="Müller^張"),
        tags(RescaleSlope=" 1 ", RescaleIntercept="0 "),
        unsigned,
        icon,
        private,
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_does_not_bear_on_the_volume_does_not_matter(tmp_path, change, syntax):
    def both(one: Dataset, k: int) -> None:
        change(one, k)
        one.file_meta.TransferSyntaxUID = syntax

    found = row(written(tmp_path, both))
    assert is_whole(found)
    assert (found.modality, found.unit) == ("CT", "HU")
    assert (found.minimum, found.maximum) == (STORED.min(), STORED.max())


@pytest.mark.parametrize(
    ("change", "unit", "scaling"),
    [
        (tags(RescaleSlope=None, RescaleIntercept=None), "arbitrary", (1, 0)),
        (tags(RescaleSlope="", RescaleIntercept=""), "arbitrary", (1, 0)),
        (tags(RescaleType="US"), "arbitrary", (1, 0)),
        (tags(RescaleSlope=None, RescaleIntercept="-1024"), "HU", (1, -1024)),
        (tags(RescaleSlope="0.5", RescaleIntercept=None), "HU", (0.5, 0)),
    ],
)
def test_a_rescaling_is_taken_as_far_as_it_is_stated(tmp_path, change, unit, scaling):
    found = row(written(tmp_path, change))
    assert is_whole(found)
    assert found.unit == unit
    assert found.maximum == STORED.max() * scaling[0] + scaling[1]
    assert ("not-hounsfield" in [flag.code for flag in found.flags]) == (unit != "HU")


def test_a_pet_is_told_by_its_storage_class_where_it_states_no_modality(tmp_path):
    pet = {**FDG, "RadiopharmaceuticalInformationSequence": drug(), "Modality": None}
    found = row(written(tmp_path, tags(**pet), "PT"))
    assert (found.modality, found.unit) == ("PT", "SUV")


@pytest.mark.parametrize(
    ("change", "which", "error"),
    [
        (tags(RescaleSlope="0"), 3, "UnreadableFileError"),
        (tags(RescaleSlope=None, RescaleIntercept=None), 4, "InconsistentSeriesError"),
        (tags(RescaleType="HU"), 2, "InconsistentSeriesError"),
        (tags(PixelSpacing=None, ImagerPixelSpacing=["1.9", "1.5"]), None, "MissingGeometryError"),
        (tags(ImagePositionPatient=["1", "0"]), 4, "UnreadableFileError"),
        (tags(ImageOrientationPatient=["2", "0", "0", "0", "2", "0"]), None, "MissingGeometry"),
        (tags(Rows=0), 5, "UnreadableFileError"),
        (tags(NumberOfFrames="2"), 5, "MissingGeometryError"),
        (tags(PhotometricInterpretation=None), 5, "UnreadableFileError"),
        (tags(BitsStored=None), 5, "UnreadableFileError"),
        (tags(PixelRepresentation=None), 5, "UnreadableFileError"),
        (tags(SamplesPerPixel=3, PhotometricInterpretation="RGB"), 1, "UnsupportedImageError"),
        (tags(TemporalPositionIdentifier=lambda k: k % 2), None, "InconsistentSeriesError"),
        (tags(ImageType=["DERIVED", "SECONDARY", "AXIAL"]), 0, "InconsistentSeriesError"),
        (tags(FrameOfReferenceUID="1.2.3"), 5, "InconsistentSeriesError"),
    ],
)
def test_what_may_make_a_wrong_volume_is_refused(tmp_path, change, which, error):
    found = row(written(tmp_path, change, which=which))
    assert (found.error or "").startswith(error)
    assert found.problem
    assert found.remedy


@pytest.mark.parametrize(
    "kind",
    [
        "SecondaryCaptureImageStorage",
        "MultiFrameGrayscaleWordSecondaryCaptureImageStorage",
        "SegmentationStorage",
        "RTDoseStorage",
        "NuclearMedicineImageStorage",
        "UltrasoundImageStorage",
        "ComputedRadiographyImageStorage",
        "XRay3DAngiographicImageStorage",
        "ParametricMapStorage",
        "RawDataStorage",
    ],
)
def test_other_kinds_of_pictures_are_no_volume_whatever_modality_they_claim(tmp_path, kind):
    found = row(written(tmp_path, tags(SOPClassUID=getattr(uid, kind))))
    assert found.error == "NotAnImageError"


@pytest.mark.parametrize(
    "kind",
    ["ComprehensiveSRStorage", "RTStructureSetStorage", "RTPlanStorage", "BasicTextSRStorage"],
)
def test_an_object_without_pictures_is_left_aside_and_alone_refused(tmp_path, kind):
    object_ = tags(SOPClassUID=getattr(uid, kind), PixelData=None, Modality=None)
    written(tmp_path, object_)
    found = inspect(tmp_path)
    assert (found.series, sum(one.files for one in found.ignored)) == ((), GRID.shape[2])
    assert row(tmp_path / "file0").error == "NotAnImageError"


@pytest.mark.parametrize(("step", "outcome"), [(0.0001, "ok"), (2.0, "refused")])
def test_echo_times_may_differ_by_rounding_alone(tmp_path, step, outcome):
    found = row(written(tmp_path, tags(EchoTime=lambda k: str(12 + step * (k % 2))), "MR"))
    assert found.outcome == outcome


@pytest.mark.parametrize(
    "tail", [bytes(100), b"junk" * 9, b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0" + bytes(8)]
)
def test_what_stands_behind_the_pixels_does_not_matter(tmp_path, tail):
    dicom_series.write(tmp_path, example())
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes() + tail)
    assert is_whole(row(tmp_path))


def claimed(path: Path, syntax: str, actual: str) -> None:
    """Write a file anew in another syntax than its meta information says, of the same length."""
    one = dcmread(path)
    one.file_meta.TransferSyntaxUID = actual
    one.save_as(path, enforce_file_format=True)
    size = max(len(syntax), len(actual)) + 1 & ~1
    content = path.read_bytes()
    place = content.index(b"\x02\0\x10\0UI")
    stated = struct.unpack("<H", content[place + 6 : place + 8])[0]
    group = content.index(b"\x02\0\0\0UL") + 8
    length = struct.unpack("<I", content[group : group + 4])[0] + size - stated
    path.write_bytes(
        content[:group]
        + struct.pack("<I", length)
        + content[group + 4 : place + 6]
        + struct.pack("<H", size)
        + syntax.encode().ljust(size, b"\0")
        + content[place + 8 + stated :]
    )


@pytest.mark.parametrize(
    ("syntax", "actual", "outcome"),
    [
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian, "ok"),
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian, "ok"),
        (JPEGLSLossless, ExplicitVRLittleEndian, "refused"),
        ("1.2.840.113619.5.2", ImplicitVRLittleEndian, "refused"),
        ("1.2.3.4.5", ExplicitVRLittleEndian, "refused"),
    ],
)
def test_a_syntax_that_is_claimed_and_not_used_changes_no_value(tmp_path, syntax, actual, outcome):
    dicom_series.write(tmp_path, example())
    for path in tmp_path.iterdir():
        claimed(path, str(syntax), str(actual))
    found = row(tmp_path)
    assert found.outcome == outcome
    assert outcome == "refused" or (found.minimum, found.maximum) == (STORED.min(), STORED.max())


@pytest.mark.parametrize("has_delimiter", [True, False])
@pytest.mark.parametrize("is_odd", [False, True])
def test_a_fragment_may_be_odd_and_the_last_delimiter_missing(tmp_path, is_odd, has_delimiter):
    made = example()
    for k, one in enumerate(made):
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = JPEGLSLossless
        one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        plane = np.ascontiguousarray(STORED[:, :, k].T).view(np.uint16)
        one.PixelData = encapsulate([bytes(imagecodecs.jpegls_encode(plane))], has_bot=False)
        one["PixelData"].VR = "OB"
        one["PixelData"].is_undefined_length = True
    dicom_series.write(tmp_path, made)
    for path in tmp_path.iterdir():
        content, delimiter = path.read_bytes()[:-8], path.read_bytes()[-8:]
        if is_odd and content.endswith(b"\xff\xd9\0"):
            place = content.rindex(b"\xfe\xff\0\xe0") + 4
            length = struct.unpack("<I", content[place : place + 4])[0] - 1
            content = content[:place] + struct.pack("<I", length) + content[place + 4 : -1]
        path.write_bytes(content + (delimiter if has_delimiter else b""))
    assert is_whole(row(tmp_path))


@pytest.mark.parametrize("size", [1, 50, 131, 132, 140, 200, 400, 700, -1])
def test_a_last_slice_that_was_cut_anywhere_shortens_no_volume(tmp_path, size):
    dicom_series.write(tmp_path, example())
    path = tmp_path / "file8"
    path.write_bytes(path.read_bytes()[:size])
    assert [one.outcome for one in inspect(tmp_path).series] == ["refused"]


def test_a_slice_of_zeros_or_in_gzip_shortens_no_volume(tmp_path):
    for name in ("zeros", "packed"):
        dicom_series.write(tmp_path / name, example())
    zeros, packed = tmp_path / "zeros" / "file8", tmp_path / "packed" / "file8"
    zeros.write_bytes(bytes(zeros.stat().st_size))
    packed.with_suffix(".gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    assert [row(path.parent).error for path in (zeros, packed)] == ["UnreadableFileError"] * 2


def test_an_empty_file_beside_a_series_is_a_doubt(tmp_path):
    dicom_series.write(tmp_path / "a", example())
    dicom_series.write(tmp_path / "b", example("MR", SeriesNumber=9))
    (tmp_path / "a" / "file9").touch()
    flags = [[flag.code for flag in one.flags] for one in inspect(tmp_path).series]
    assert flags == [["empty-files"], []]


def test_what_systems_leave_in_folders_is_no_slice(tmp_path):
    dicom_series.write(tmp_path, example())
    left = {
        ".DS_Store": b"\0\0\0\1Bud1" + bytes(99),
        "Thumbs.db": b"\xd0\xcf\x11\xe0" * 50,
        "._file1": b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(99),
        "a.zip": b"PK\3\4" + b"x" * 999,
        "notes.gz": gzip.compress(b"hello DICM 1.2.840.10008."),
        "VERSION": b"\n",
    }
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "broken").symlink_to("/nonexistent")
    assert is_whole(row(tmp_path))


def test_slices_may_lie_in_many_folders_and_twice(tmp_path):
    made = example()
    dicom_series.write(tmp_path / "a", made[::2])
    dicom_series.write(tmp_path / "b" / "c", made[1::2])
    assert is_whole(row(tmp_path))
    shutil.copytree(tmp_path / "a", tmp_path / "d")
    found = row(tmp_path)
    assert is_whole(found)
    assert [flag.code for flag in found.flags] == ["duplicate-files"]
    changed = dcmread(tmp_path / "d" / "file2")
    changed.RescaleIntercept = "5"
    changed.save_as(tmp_path / "d" / "file2")
    assert row(tmp_path).error == "InconsistentSeriesError"


@pytest.mark.parametrize("lost", ["uid", "number"])
def test_two_series_that_share_a_name_are_never_merged(tmp_path, lost):
    """Without UIDs, or with one Series Instance UID for two acquisitions."""
    first, second = example(), example()
    for one in (*first, *second):
        one.SeriesInstanceUID = "" if lost == "uid" else "1.2.3"
        one.FrameOfReferenceUID, one.StudyInstanceUID = "1.2.4", "1.2.5"
    for one in second:
        one.SOPInstanceUID = generate_uid()
    dicom_series.write(tmp_path / "a", first)
    dicom_series.write(tmp_path / "b", second)
    assert row(tmp_path).error == "InconsistentSeriesError"
