"""Enhanced objects: what may differ from frame to frame, and what makes several volumes of one."""

from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
    generate_uid,
)

from medseg.formats import dicom
from medseg.ingest.inspect import inspect
from tests import dicom_series
from tests.dicom_series import GRID, STORED

COUNT = GRID.shape[2]


def sequence(**values: object) -> Items:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Items([item])


def made(order: list[int] | None = None, **tags: object) -> Dataset:
    """An object whose frames have one slope; shared attributes are shared."""
    one = dicom_series.enhanced(GRID, STORED, list(range(COUNT)) if order is None else order)
    one.NumberOfFrames = len(one.PerFrameFunctionalGroupsSequence)
    for group in one.PerFrameFunctionalGroupsSequence:
        group.PixelValueTransformationSequence[0].RescaleSlope = "1"
    del one.RescaleSlope, one.RescaleIntercept
    for name, value in tags.items():
        setattr(one, name, value)
    return one


def frames(change: Callable[[Dataset, int], None], one: Dataset) -> Dataset:
    for f, group in enumerate(one.PerFrameFunctionalGroupsSequence):
        change(group, f)
    return one


def row(folder, *objects: Dataset):
    (found,) = inspect(dicom_series.write(folder, objects)).series
    return found


def is_whole(found) -> bool:
    assert found.outcome == "ok", found
    same_place = np.allclose(found.affine_ras, GRID.affine, atol=1e-3)
    same_values = found.mean == pytest.approx(STORED.mean(), rel=1e-6)
    return found.shape == GRID.shape and same_place and same_values


def all_per_frame() -> Dataset:
    """What is shared, in every frame; no shared groups at all."""
    one = made()
    shared = one.SharedFunctionalGroupsSequence[0]
    del one.SharedFunctionalGroupsSequence
    return frames(lambda group, _f: group.update(shared), one)


def all_shared() -> Dataset:
    """The rescaling once for all frames."""
    one = made()
    values = one.PerFrameFunctionalGroupsSequence[0].PixelValueTransformationSequence
    one.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = values
    return frames(lambda group, _f: group.pop("PixelValueTransformationSequence"), one)


def at_the_root() -> Dataset:
    """Attributes of a classic slice beside the groups, which hold."""
    return made(ImagePositionPatient=["0", "0", "0"], PixelSpacing=["9", "9"], RescaleSlope="3")


def packed() -> Dataset:
    one = with_syntax(made(), ExplicitVRLittleEndian)
    one.compress(RLELossless)
    return one


def with_syntax(one: Dataset, syntax: str) -> Dataset:
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = syntax
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    return one


@pytest.mark.parametrize(
    "build",
    [
        made,
        lambda: made([8, 7, 6, 5, 4, 3, 2, 1, 0]),
        lambda: made([3, 1, 8, 0, 2, 7, 5, 4, 6]),
        lambda: made(SOPClassUID=LegacyConvertedEnhancedCTImageStorage, Modality="CT"),
        all_per_frame,
        all_shared,
        at_the_root,
        packed,
        lambda: with_syntax(made(), ImplicitVRLittleEndian),
        lambda: with_syntax(made(), DeflatedExplicitVRLittleEndian),
    ],
)
def test_the_order_of_frames_and_the_place_of_attributes_change_nothing(tmp_path, build):
    assert is_whole(row(tmp_path, build()))


def test_an_object_of_one_frame_for_every_slice_is_a_series(tmp_path):
    objects = []
    for k in range(COUNT):
        one = made([k], SeriesInstanceUID="1.2.3", FrameOfReferenceUID="1.2.4")
        one.SOPInstanceUID = generate_uid()
        objects.append(one)
    assert is_whole(row(tmp_path, *objects))


def test_a_ct_without_a_rescaling_has_no_hounsfield_units(tmp_path):
    one = frames(
        lambda group, _f: group.pop("PixelValueTransformationSequence"),
        made(SOPClassUID=EnhancedCTImageStorage, Modality="CT"),
    )
    found = row(tmp_path, one)
    assert is_whole(found)
    assert (found.unit, [flag.code for flag in found.flags]) == ("arbitrary", ["not-hounsfield"])


TWICE = [*range(COUNT), *range(COUNT)]


def macro(name: str, tag: str, value: Callable[[int], object]) -> Callable[[Dataset, int], None]:
    """A functional group of every frame with one tag."""
    return lambda group, f: setattr(group, name, sequence(**{tag: value(f)}))


def kind(f: int) -> list[str]:
    return ["ORIGINAL", "PRIMARY", "M" if f % 2 else "PHASE MAP"]


def mirrored(f: int) -> list[str]:
    return ["1", "0", "0", "0", str(1 - 2 * (f % 2)), "0"]


@pytest.mark.parametrize(
    ("order", "change"),
    [
        (TWICE, lambda _group, _f: None),
        (TWICE, macro("MREchoSequence", "EffectiveEchoTime", lambda f: 12.0 + f)),
        (TWICE, macro("MRTimingAndRelatedParametersSequence", "FlipAngle", lambda f: 5.0 + f)),
        (None, macro("MREchoSequence", "EffectiveEchoTime", lambda f: 12.0 + f % 2)),
        (None, macro("MRDiffusionSequence", "DiffusionBValue", lambda f: 500.0 * (f % 2))),
        (None, macro("FrameContentSequence", "TemporalPositionIndex", lambda f: f + 1)),
        (None, macro("MRImageFrameTypeSequence", "FrameType", kind)),
        (None, macro("PixelMeasuresSequence", "PixelSpacing", lambda f: ["1", str(1 + f % 2)])),
        (None, macro("PlaneOrientationSequence", "ImageOrientationPatient", mirrored)),
        ([0, 1, 2, 3, 5, 6, 7, 8], lambda _group, _f: None),
    ],
)
def test_several_volumes_in_one_object_are_refused(tmp_path, order, change):
    assert row(tmp_path, frames(change, made(order))).error == "InconsistentSeriesError"


def test_one_object_for_every_time_point_is_no_single_volume(tmp_path):
    objects = [made(SeriesInstanceUID="1.2.3", FrameOfReferenceUID="1.2.4") for _ in range(2)]
    assert row(tmp_path, *objects).error == "InconsistentSeriesError"


@pytest.mark.parametrize("is_implicit", [False, True])
def test_sequences_of_any_length_may_cross_the_first_piece_of_a_header(
    tmp_path, monkeypatch, is_implicit
):
    """What dcmtk and the scanners write: sequences that end at a delimiter, longer than the piece
    that is read first; each part of one lies once at its end."""
    one = made()
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        _end_at_delimiters(one[name])
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    one.file_meta.TransferSyntaxUID = syntax
    one.save_as(tmp_path / "object", enforce_file_format=True)
    begin = (tmp_path / "object").read_bytes().index(b"\xe0\x7f\x10\0")
    for piece in range(1024, begin, 11):
        monkeypatch.setattr(dicom, "HEAD", piece)
        found = dicom.read_file(tmp_path / "object")
        assert found is not None
        assert len(found.frames) == COUNT


def _end_at_delimiters(element: DataElement) -> None:
    element.is_undefined_length = True
    for item in element.value:
        item.is_undefined_length_sequence_item = True
        for inner in item:
            if inner.VR == "SQ":
                _end_at_delimiters(inner)


def cut(one: Dataset) -> None:
    one.PixelData = one.PixelData[:-60]


def no_place(one: Dataset) -> None:
    one.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence = Items([])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (cut, "UnreadableFileError"),
        (no_place, "MissingGeometryError"),
        (lambda one: setattr(one, "NumberOfFrames", COUNT - 1), "UnreadableFileError"),
        (lambda one: setattr(one, "NumberOfFrames", COUNT + 1), "UnreadableFileError"),
        (lambda one: delattr(one, "NumberOfFrames"), "UnreadableFileError"),
        (lambda one: delattr(one, "PerFrameFunctionalGroupsSequence"), "MissingGeometryError"),
        (lambda one: setattr(one, "PhotometricInterpretation", "RGB"), "UnsupportedImageError"),
        (lambda one: setattr(one, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), "NotAnImage"),
    ],
)
def test_an_object_that_lacks_or_contradicts_a_frame_is_refused(tmp_path, change, error):
    one = made(SOPClassUID=EnhancedMRImageStorage)
    change(one)
    assert (row(tmp_path, one).error or "").startswith(error)
