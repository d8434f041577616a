"""What the NIfTI door lets in, and what it refuses."""

import gzip
import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import (
    ContradictoryGeometryError,
    InvalidVoxelsError,
    MissingGeometryError,
    NotAnImageError,
    SourceNotFoundError,
    UnreadableFileError,
    UnsupportedImageError,
)
from medseg.formats import nifti

SHAPE = (5, 7, 4)
AFFINE = np.array(
    [[-1.4, 0.3, 0.2, 12.0], [0.25, 1.9, -0.4, -31.0], [0.1, 0.5, 3.1, 7.0], [0, 0, 0, 1]]
)


def orthogonal() -> np.ndarray:
    """An oblique affine without shear, from the one above."""
    axes, _ = np.linalg.qr(AFFINE[:3, :3])
    affine = AFFINE.copy()
    affine[:3, :3] = axes * (1.5, 2.0, 3.2)
    return affine


def image(**header: object) -> nib.Nifti1Image:
    """A plain image, with some fields of its header set."""
    data = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    made = nib.Nifti1Image(data, orthogonal())
    made.set_sform(orthogonal(), 1)
    made.set_qform(orthogonal(), 1)
    for name, value in header.items():
        made.header[name] = value
    return made


def stored(path: Path, made: nib.Nifti1Image) -> Path:
    """The image in a file, its header as it is, however wrong."""
    header = made.header.copy()
    if not header["vox_offset"]:
        header["vox_offset"] = 352
    content = header.binaryblock + b"\0\0\0\0" + np.asarray(made.dataobj).tobytes("F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_two_statements_that_agree_are_read_without_a_doubt(tmp_path):
    header = nifti.read_header(stored(tmp_path / "a.nii.gz", image()))
    assert header.flags == ()
    assert np.allclose(header.geometry.affine, orthogonal(), atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("dim", [3, 5, 0, 4, 1, 1, 1, 1], UnreadableFileError),
        ("dim", [3, 5, -7, 4, 1, 1, 1, 1], UnreadableFileError),
        ("dim", [9, 5, 7, 4, 1, 1, 1, 1], UnreadableFileError),
        ("dim", [3, 5, 7, 5, 1, 1, 1, 1], UnreadableFileError),
        ("dim", [3, 32000, 32000, 32000, 1, 1, 1, 1], UnsupportedImageError),
        ("dim", [4, 5, 7, 2, 2, 1, 1, 1], UnsupportedImageError),
        ("dim", [2, 5, 28, 1, 1, 1, 1, 1], UnsupportedImageError),
        ("datatype", 32, UnsupportedImageError),
        ("datatype", 3, UnsupportedImageError),
        ("bitpix", 32, UnreadableFileError),
        ("vox_offset", 100, UnreadableFileError),
        ("vox_offset", np.nan, UnreadableFileError),
        ("vox_offset", 1e6, UnreadableFileError),
        ("scl_slope", np.inf, UnreadableFileError),
        ("xyzt_units", 5, UnreadableFileError),
        ("sform_code", 77, UnreadableFileError),
        ("pixdim", [1, 1.5, 0, 3.2, 0, 0, 0, 0], MissingGeometryError),
        ("pixdim", [1, 1.5, 2.1, 3.2, 0, 0, 0, 0], ContradictoryGeometryError),
        ("srow_x", [np.nan, 0, 0, 0], MissingGeometryError),
        ("qoffset_x", 500, ContradictoryGeometryError),
        ("quatern_b", 4, UnreadableFileError),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, field, value, error):
    with pytest.raises(error) as caught:
        nifti.read(stored(tmp_path / "secret-name.nii.gz", image(**{field: value})))
    assert caught.value.problem
    assert caught.value.remedy
    assert "secret" not in str(caught.value)


def test_no_code_is_no_orientation(tmp_path):
    with pytest.raises(MissingGeometryError):
        nifti.read(stored(tmp_path / "a.nii", image(sform_code=0, qform_code=0)))


def test_another_space_is_a_doubt_and_a_mirrored_one_a_refusal(tmp_path):
    moved = image(sform_code=4, qoffset_x=500)
    header = nifti.read_header(stored(tmp_path / "a.nii", moved))
    assert [flag.code for flag in header.flags] == ["two-spaces"]
    assert np.allclose(header.geometry.affine, orthogonal(), atol=1e-5)
    mirrored = image(sform_code=4, pixdim=[-moved.header["pixdim"][0], 1.5, 2, 3.2, 0, 0, 0, 0])
    with pytest.raises(ContradictoryGeometryError):
        nifti.read_header(stored(tmp_path / "b.nii", mirrored))


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
def test_lengths_are_converted_to_millimetres(tmp_path, code, factor):
    header = nifti.read_header(stored(tmp_path / "a.nii", image(xyzt_units=code)))
    assert header.geometry.spacing_mm == pytest.approx(np.array((1.5, 2.0, 3.2)) * factor)


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [(0.5, -3, 66.5), (0, 9, 139), (np.nan, np.nan, 139)],
)
def test_scaling_is_applied_where_the_standard_says_so(tmp_path, slope, intercept, expected):
    path = stored(tmp_path / "a.nii", image(scl_slope=slope, scl_inter=intercept))
    assert nifti.read(path).data.max() == expected


def test_a_file_is_told_by_its_content(tmp_path):
    path = stored(tmp_path / "a.nii.gz", image())
    path.rename(tmp_path / "b.nii")
    assert nifti.read(tmp_path / "b.nii").geometry.shape == SHAPE


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.98])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_that_was_cut_is_refused(tmp_path, name, share):
    whole = stored(tmp_path / name, image())
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * share)])
    with pytest.raises((UnreadableFileError, NotAnImageError)):
        nifti.read(whole)


def test_a_wrong_checksum_is_refused(tmp_path):
    path = stored(tmp_path / "a.nii.gz", image())
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UnreadableFileError):
        nifti.read(path)


def test_what_is_no_nifti_is_called_so(tmp_path):
    for name, content in (("a.nii", b"some text"), ("b.nii.gz", gzip.compress(b"x" * 999))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NotAnImageError):
            nifti.read(tmp_path / name)
    with pytest.raises(SourceNotFoundError):
        nifti.read(tmp_path / "missing.nii")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_no_finite_numbers_are_refused(tmp_path, value):
    data = np.zeros(SHAPE)
    data[1, 2, 3] = value
    path = stored(tmp_path / "a.nii.gz", nib.Nifti1Image(data, orthogonal()))
    with pytest.raises(InvalidVoxelsError):
        nifti.read(path)


def test_a_pair_is_read_from_both_files_and_refused_from_one(tmp_path):
    data = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    nib.save(nib.Nifti1Pair(data, orthogonal()), tmp_path / "a.img")
    assert np.array_equal(nifti.read(tmp_path / "a.hdr").data, data)
    header = nifti.read_header(tmp_path / "a.hdr")
    _, before = nifti.read_voxels(tmp_path / "a.hdr", header)
    files = [(tmp_path / f"a.{ending}").read_bytes() for ending in ("hdr", "img")]
    assert before == hashlib.sha256(b"".join(files)).hexdigest()
    content = bytearray((tmp_path / "a.img").read_bytes())
    content[7] ^= 1
    (tmp_path / "a.img").write_bytes(bytes(content))
    assert nifti.read_voxels(tmp_path / "a.hdr", header)[1] != before
    (tmp_path / "a.img").unlink()
    with pytest.raises(UnreadableFileError):
        nifti.read(tmp_path / "a.hdr")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    made = image(dim=[3, 8000, 8000, 8, 1, 1, 1, 1])
    with pytest.raises(UnreadableFileError, match="shorter"):
        nifti.read_header(stored(tmp_path / "a.nii.gz", made))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_labels_are_read_from_any_stored_type(tmp_path, dtype):
    labels = np.zeros(SHAPE, dtype)
    labels[1, 2, 3] = 200
    path = stored(tmp_path / "a.nii.gz", nib.Nifti1Image(labels, AFFINE))
    found, geometry = nifti.read_labels(path)
    assert found.dtype == np.uint16
    assert np.array_equal(found, labels)
    assert np.allclose(geometry.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("value", [0.5, -1.0, 65536.0, np.nan])
def test_what_cannot_be_a_label_is_refused(tmp_path, value):
    labels = np.zeros(SHAPE)
    labels[1, 2, 3] = value
    path = stored(tmp_path / "a.nii.gz", nib.Nifti1Image(labels, AFFINE))
    with pytest.raises(InvalidVoxelsError):
        nifti.read_labels(path)


def test_the_same_labels_make_the_same_bytes_and_name_no_file(tmp_path):
    labels = np.zeros(SHAPE, np.uint16)
    labels[1, 2, 3] = 65535
    geometry = Geometry(SHAPE, AFFINE)
    nifti.write_labels(tmp_path / "one.nii.gz", labels, geometry)
    nifti.write_labels(tmp_path / "another.nii.gz", labels, geometry)
    content = (tmp_path / "one.nii.gz").read_bytes()
    assert content == (tmp_path / "another.nii.gz").read_bytes()
    assert b"one" not in content
    assert np.array_equal(nib.load(tmp_path / "one.nii.gz").get_fdata(), labels)


def test_a_sheared_grid_is_written_as_it_is(tmp_path):
    volume = Volume(np.ones(SHAPE, np.float32), Geometry(SHAPE, AFFINE), IntensityUnit.HU)
    nifti.write_volume(tmp_path / "a.nii.gz", volume)
    assert np.allclose(nib.load(tmp_path / "a.nii.gz").affine, AFFINE, atol=1e-5)
    assert nifti.read(tmp_path / "a.nii.gz").geometry.matches(volume.geometry)


def test_labels_of_another_type_or_grid_are_a_bug_of_the_caller(tmp_path):
    geometry = Geometry(SHAPE, AFFINE)
    with pytest.raises(ValueError, match="uint16"):
        nifti.write_labels(tmp_path / "a.nii.gz", np.zeros(SHAPE, np.int32), geometry)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="grid"):
        nifti.write_labels(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.uint16), geometry)
