"""The neighbours of the NIfTI files in `shared/acceptance`: other ways to pack, number and pair."""

import gzip
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.ingest.inspect import inspect

SHAPE = (5, 7, 4)
AXES, _ = np.linalg.qr(np.array([[-1.4, 0.3, 0.2], [0.25, 1.9, -0.4], [0.1, 0.5, 3.1]]))
AFFINE = np.eye(4)
AFFINE[:3, :3], AFFINE[:3, 3] = AXES * (1.5, 2.0, 3.2), (12, -31, 7)
VALUES = np.arange(140, dtype=np.int16).reshape(SHAPE)


def image(kind: type = nib.Nifti1Image, values: np.ndarray = VALUES, **header: object):
    made = kind(values, AFFINE, dtype=values.dtype)
    made.set_sform(AFFINE, 1)
    made.set_qform(AFFINE, 1)
    for name, value in header.items():
        made.header[name] = value
    return made


def content(made, order: str = "<", extension: bytes = b"", offset: float | None = None) -> bytes:
    """The bytes of one file: header, extension, voxels."""
    header, values = made.header.copy(), np.asarray(made.dataobj)
    usual = len(header.binaryblock) + 4 + len(extension)
    header["vox_offset"] = usual if offset is None else offset
    if order == ">":
        header, values = header.as_byteswapped(">"), values.astype(values.dtype.newbyteorder(">"))
    mark = b"\1\0\0\0" if extension else b"\0\0\0\0"
    return header.binaryblock + mark + extension + values.tobytes("F")


def row(path: Path):
    (found,) = inspect(path).series
    return found


def read(path: Path) -> tuple[object, ...]:
    """What is said of a file; `whole` if it is read, at its place and with its values."""
    found = row(path)
    return found.outcome, found.shape, found.maximum, found.affine_ras


def whole(maximum: float = 139) -> tuple[object, ...]:
    return "ok", SHAPE, maximum, pytest.approx(AFFINE, abs=1e-5)


def refused(path: Path) -> str:
    found = row(path)
    assert found.outcome == "refused"
    return found.error or ""


PLAIN = content(image())
PACKED = gzip.compress(PLAIN)
RAW = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
DEFLATED = RAW.compress(PLAIN) + RAW.flush()
CHECK = struct.pack("<II", zlib.crc32(PLAIN), len(PLAIN))
CHECKED_HEADER = b"\x1f\x8b\x08\x02" + bytes(5) + b"\xff"


def header_check(wrong: int) -> bytes:
    return struct.pack("<H", (zlib.crc32(CHECKED_HEADER) ^ wrong) & 0xFFFF)


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(PLAIN[:200]) + gzip.compress(PLAIN[200:]),
        PACKED + gzip.compress(b""),
        PACKED + bytes(512),
        b"\x1f\x8b\x08\x1c" + bytes(5) + b"\xff\5\0abcdename\0comment\0" + DEFLATED + CHECK,
        CHECKED_HEADER + header_check(0) + DEFLATED + CHECK,
        PLAIN,
    ],
    ids=["members", "empty member", "zeros behind", "all fields", "header check", "not packed"],
)
def test_whatever_gzip_allows_is_unpacked(tmp_path, packed):
    (tmp_path / "A.NII.GZ").write_bytes(packed)
    assert read(tmp_path / "A.NII.GZ") == whole()


@pytest.mark.parametrize(
    "packed",
    [
        PACKED + b"garbage!" * 4,
        PACKED[:-4] + b"\1\2\3\4",
        PACKED[:-8],
        PACKED[:-3],
        CHECKED_HEADER + header_check(5) + DEFLATED + CHECK,
        gzip.compress(PACKED),
        zlib.compress(PLAIN),
        gzip.compress(PLAIN) + gzip.compress(PLAIN),
    ],
    ids=["garbage", "size", "no check", "half", "header check", "twice", "zlib", "two images"],
)
def test_what_gzip_does_not_vouch_for_is_refused(tmp_path, packed):
    (tmp_path / "a.nii.gz").write_bytes(packed)
    assert refused(tmp_path / "a.nii.gz") in ("UnreadableFileError", "NotAnImageError")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "u4", "i4", "i8", "u8", "f4", "f8"])
def test_every_real_type_in_either_order_is_read(tmp_path, dtype, kind, order):
    values = (VALUES % 100).astype(dtype)
    (tmp_path / "a.nii").write_bytes(content(image(kind, values), order))
    assert read(tmp_path / "a.nii") == whole(99)


@pytest.mark.parametrize(
    "header",
    [
        {"dim": [4, 5, 7, 4, 1, 1, 1, 1]},
        {"dim": [7, 5, 7, 4, 1, 1, 1, 1]},
        {"dim": [3, 5, 7, 4, 0, 0, 0, 0]},
        {"dim": [3, 5, 7, 4, 9, 9, 9, 9]},
        {"xyzt_units": 10},
        {"xyzt_units": 8},
        {"intent_code": 1002},
        {"pixdim": [1, 1.5, 2, 3.2, 2.5, 9, 9, 9]},
        {"sform_code": 5, "qform_code": 0},
        {"sform_code": 0, "qform_code": 4},
        {"scl_slope": 0, "scl_inter": np.nan},
        {"quatern_b": np.nan, "qform_code": 0},
    ],
)
def test_what_does_not_bear_on_the_image_does_not_matter(tmp_path, header):
    (tmp_path / "a.nii").write_bytes(content(image(**header)))
    assert read(tmp_path / "a.nii") == whole()


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ({"dim": [0, 5, 7, 4, 1, 1, 1, 1]}, "UnreadableFileError"),
        ({"dim": [4, 5, 7, 4, 0, 1, 1, 1]}, "UnreadableFileError"),
        ({"dim": [3, 5, 7, 3, 1, 1, 1, 1]}, "UnreadableFileError"),
        ({"dim": [5, 5, 7, 1, 1, 4, 1, 1]}, "UnsupportedImageError"),
        ({"pixdim": [1, -1.5, 2, 3.2, 0, 0, 0, 0]}, "MissingGeometryError"),
        ({"pixdim": [1, 1.5, 2, np.nan, 0, 0, 0, 0]}, "MissingGeometryError"),
        ({"xyzt_units": 1}, "ImplausibleGeometryError"),
        ({"xyzt_units": 3}, "ImplausibleGeometryError"),
        ({"srow_x": [-1.4, 0.3, 0.2, 1e30], "sform_code": 2, "qform_code": 0}, "Contradictory"),
        ({"qoffset_z": 1e9, "sform_code": 0}, "ImplausibleGeometryError"),
        ({"scl_slope": -np.inf}, "UnreadableFileError"),
        ({"scl_slope": 1, "scl_inter": np.nan}, "UnreadableFileError"),
        ({"magic": b"n+1\n"}, "MissingGeometryError"),
        ({"quatern_b": 0.9, "quatern_c": 0.9, "sform_code": 0}, "UnreadableFileError"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_reason(tmp_path, header, error):
    (tmp_path / "a.nii").write_bytes(content(image(**header)))
    assert refused(tmp_path / "a.nii").startswith(error)


@pytest.mark.parametrize("offset", [0, 348, 351, 352.5, -352])
def test_voxels_do_not_begin_inside_the_header_or_between_bytes(tmp_path, offset):
    (tmp_path / "a.nii").write_bytes(content(image(), offset=offset))
    assert refused(tmp_path / "a.nii") == "UnreadableFileError"


@pytest.mark.parametrize("size", [32, 0, 17, 2**31 - 16, -16])
def test_an_extension_is_passed_over_whatever_it_says(tmp_path, size):
    extension = struct.pack("<ii", size, 6) + b"x" * 24
    (tmp_path / "a.nii").write_bytes(content(image(), extension=extension))
    assert read(tmp_path / "a.nii") == whole()


def test_no_bomb_is_unpacked_to_its_end(tmp_path):
    """Behind the voxels, behind the header of a pair, before the voxels; its end would not hold."""
    fuse = bytes(2**24)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(PLAIN + fuse, 1)[:-8] + b"garbage!")
    assert "more voxels" in (row(path).problem or "")
    path.write_bytes(gzip.compress(content(image(), offset=2.0**30) + fuse, 1))
    assert "place of its voxels" in (row(path).problem or "")
    pair = image(nib.Nifti1Pair)
    (tmp_path / "b.img").write_bytes(np.asarray(pair.dataobj).tobytes("F"))
    packed = gzip.compress(pair.header.binaryblock + 5 * fuse, 1)[:-8] + b"garbage!"
    (tmp_path / "b.hdr").write_bytes(packed)
    assert "longer than a header" in (row(tmp_path / "b.hdr").problem or "")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize(
    ("names", "packed"),
    [
        (("a.b.hdr", "a.b.img"), (False, False)),
        (("A.HDR", "A.IMG"), (False, False)),
        (("a.hdr.gz", "a.img.gz"), (True, True)),
        (("a.hdr", "a.img.gz"), (False, True)),
    ],
)
def test_either_file_of_a_pair_stands_for_both(tmp_path, names, packed, kind, order):
    made = image(kind)
    header, values = made.header, np.asarray(made.dataobj)
    header["vox_offset"] = 16
    halves = [header.binaryblock, bytes(16) + values.tobytes("F")]
    if order == ">":
        halves = [
            header.as_byteswapped(">").binaryblock,
            bytes(16) + values.astype(">i2").tobytes("F"),
        ]
    for name, half, is_packed in zip(names, halves, packed, strict=True):
        (tmp_path / name).write_bytes(gzip.compress(half) if is_packed else half)
    for path in (tmp_path, *(tmp_path / name for name in names)):
        assert read(path) == whole()


def test_an_analyze_image_does_not_tell_left_from_right(tmp_path):
    nib.save(nib.AnalyzeImage(VALUES, np.diag([-1.5, 2, 3.2, 1])), tmp_path / "a.img")
    assert refused(tmp_path / "a.hdr") == refused(tmp_path / "a.img") == "MissingGeometryError"
