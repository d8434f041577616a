"""The door to NIfTI: volumes and label maps, NIfTI-1 and -2, single files and pairs.

Files are told by their content, not by their name. A compressed file is read to its end, so that
its checksum is verified; one that was damaged or cut is refused, never filled up.
"""

import gzip
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import InvalidVoxelsError, SourceNotFoundError, UnreadableFileError
from medseg.formats.nifti_header import (
    EXPORT_AGAIN,
    MOST_OFFSET,
    NiftiHeader,
    has_mark,
    parse_header,
)
from medseg.formats.storage import PASSING, storage_fault

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP_MARK = b"\x1f\x8b"

MAX_GZIP_RATIO = 1032
"""What deflate can save at most (RFC 1951: 258 bytes in two bits), so a header that claims more
voxels than that is refused before anything is allocated."""

CHUNK = 2**22
"""Bytes read at once."""


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: memoryview, /) -> object:
        """Take more bytes."""


def is_nifti(path: Path) -> bool:
    """Whether a file begins as a NIfTI file does, compressed or not, whatever its name."""
    try:
        with _opened(path) as (file, _):
            return has_mark(file.read(540))
    except (UnreadableFileError, SourceNotFoundError):
        return False


def read_header(path: Path) -> NiftiHeader:
    """Read and check the header of a NIfTI file, and that its voxels can be in the file.

    Raises:
        InputError: As `parse_header`; or there is no such file.
    """
    with _opened(path) as (file, _):
        header = parse_header(file.read(540))
    voxels = voxel_file(path, header)
    with _opened(voxels) as (_, most):
        if header.offset + header.voxel_bytes > most:
            raise _cut()
    return header


def voxel_file(path: Path, header: NiftiHeader) -> Path:
    """The file that holds the voxels: the same, or the `.img` of a pair.

    Raises:
        UnreadableFileError: The `.img` of a pair is not there.
    """
    if not header.is_pair:
        return path
    for other in _voxel_halves(path):
        if other.is_file():
            return other
    raise UnreadableFileError(
        "The NIfTI header belongs to a pair whose voxel file (.img) is not beside it.",
        "Put both files of the pair into one folder, under one name.",
    )


def files_of(path: Path) -> tuple[Path, ...]:
    """The file and, where it may be the header of a pair, what lies beside it as its `.img`."""
    return (path, *(other for other in _voxel_halves(path) if other.is_file() and other != path))


def header_half(path: Path) -> Path | None:
    """The header beside the `.img` of a pair; None where the file is no `.img` or has none."""
    if not re.search(r"[.]img([.]gz)?$", path.name, re.IGNORECASE):
        return None
    return next((other for other in _halves(path, "img", "hdr") if other.is_file()), None)


def _voxel_halves(path: Path) -> tuple[Path, ...]:
    """Where the voxels of a pair may lie."""
    return _halves(path, "hdr", "img")


def _halves(path: Path, this: str, other: str) -> tuple[Path, ...]:
    """Names that the other half of a pair may have: packed or not, in small or capital letters."""
    stem = re.sub(rf"[.]{this}([.]gz)?$", "", path.name, flags=re.IGNORECASE)
    endings = (f".{other}", f".{other}.gz", f".{other}".upper(), f".{other}.gz".upper())
    return tuple(path.with_name(stem + ending) for ending in endings)


def read(path: Path) -> Volume:
    """Read one volume.

    Returns:
        The stored grid, float32 in Fortran order as the file holds it, scaled; its unit is
        ARBITRARY because NIfTI states none.

    Raises:
        InputError: What `read_header` raises; the voxels are cut, damaged or not finite.
    """
    header = read_header(path)
    data, _ = read_voxels(path, header)
    return Volume(data, header.geometry, IntensityUnit.ARBITRARY)


def read_voxels(path: Path, header: NiftiHeader) -> tuple[NDArray[np.float32], str]:
    """Read the voxels, and the digest of the bytes that they came from.

    Returns:
        The (I, J, K) scaled values, float32 and finite; and the SHA-256 of the stored bytes, of a
        pair those of the header before those of the voxels.

    Raises:
        UnreadableFileError: They are cut or damaged.
        InvalidVoxelsError: Some are not finite numbers.
    """
    digest = hashlib.sha256()
    if header.is_pair:
        _read_header_half(path, digest)
    data = np.empty(header.geometry.shape, np.float32, order="F")
    scaled = (header.slope, header.intercept) != (1.0, 0.0)
    for k, stored in enumerate(_planes(path, header, digest)):
        with np.errstate(over="ignore", invalid="ignore"):
            data[:, :, k] = (
                stored.astype(np.float64) * header.slope + header.intercept if scaled else stored
            )
        if not np.isfinite(data[:, :, k]).all():
            raise InvalidVoxelsError(
                "The image holds values that are not finite numbers, so its intensities and what "
                "is found in them cannot be trusted.",
                "Replace these voxels in the program that made the image, then run it again.",
            )
    return data, digest.hexdigest()


def read_labels(path: Path) -> tuple[NDArray[np.uint16], Geometry]:
    """Read a label map: whole numbers from 0 (background) to 65535, in any stored type.

    Raises:
        InputError: What `read` raises; a value is not such a number.
    """
    header = read_header(path)
    labels = np.empty(header.geometry.shape, np.uint16, order="F")
    scaled = (header.slope, header.intercept) != (1.0, 0.0)
    for k, stored in enumerate(_planes(path, header, hashlib.sha256())):
        values = stored.astype(np.float64) * header.slope + header.intercept if scaled else stored
        with np.errstate(invalid="ignore"):
            labels[:, :, k] = values.astype(np.uint16)
        if not np.array_equal(labels[:, :, k], values):
            raise InvalidVoxelsError(
                "The label map holds values that are not whole numbers from 0 to 65535, so its "
                "labels cannot be told apart.",
                "Give a map with one whole number for each instance; a probability map has none.",
            )
    return labels, header.geometry


def write_labels(path: Path, labels: NDArray[np.uint16], geometry: Geometry) -> None:
    """Write a label map as .nii.gz; the same labels make the same bytes.

    Raises:
        ValueError: The labels are not uint16 on the grid.
    """
    if labels.dtype != np.uint16:
        raise ValueError(f"{labels.dtype} labels where uint16 is needed")
    _write(path, labels, geometry)


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume as float32 .nii.gz; the same volume makes the same bytes."""
    _write(path, volume.data, volume.geometry)


def _write(path: Path, data: NDArray[np.generic], geometry: Geometry) -> None:
    if data.shape != geometry.shape:
        raise ValueError(f"{data.shape} on a grid of {geometry.shape}")
    image = Nifti1Image(data, geometry.affine, dtype=data.dtype)
    image.set_sform(geometry.affine, code="scanner")
    if is_orthogonal(geometry):
        image.set_qform(geometry.affine, code="scanner")
    image.header.set_xyzt_units(xyz="mm")
    with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        packed.write(image.to_bytes())


def is_orthogonal(geometry: Geometry) -> bool:
    """Whether a qform, which is a rotation and a spacing, can hold the affine."""
    direction = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    return bool(np.allclose(direction.T @ direction, np.eye(3), atol=1e-5))


class _Digested(io.RawIOBase):
    """A file opened for reading, and the digest of what was read of it."""

    def __init__(self, file: io.FileIO, digest: Digest) -> None:
        self._file = file
        self._digest = digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        count = self._file.readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:count])
        return count


@contextmanager
def _opened(path: Path, digest: Digest | None = None) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """The decompressed content, and a bound for its size; decoding faults become ours."""
    try:
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            packed = file.read(2) == GZIP_MARK
            file.seek(0)
            raw = io.BufferedReader(_Digested(file, digest or hashlib.sha256()), CHUNK)
            if packed:
                with igzip.IGzipFile(fileobj=raw, mode="rb") as content:
                    yield content, size * MAX_GZIP_RATIO
            else:
                yield raw, size
    except (EOFError, gzip.BadGzipFile, IsalError):  # type: ignore[misc]  # isal types it as a value
        raise UnreadableFileError(
            "The compressed NIfTI file is damaged or incomplete, so its voxels cannot be trusted.",
            "Copy or export the file again, then run it again.",
        ) from None
    except OSError as error:
        if error.errno in PASSING:
            raise storage_fault() from None
        raise SourceNotFoundError(
            "The file cannot be opened.", "Check the path and whether you may read it."
        ) from None


def _planes(path: Path, header: NiftiHeader, digest: Digest) -> Iterator[NDArray[np.generic]]:
    """Each (I, J) plane of the voxels as stored; after the last, the file is read to its end."""
    i, j, k = header.geometry.shape
    plane = np.empty((j, i), header.dtype)
    view = plane.reshape(-1).view(np.uint8).data
    with _opened(voxel_file(path, header), digest) as (file, _):
        left = header.offset
        while left and (skipped := file.read(min(left, CHUNK))):
            left -= len(skipped)
        for _ in range(k):
            filled = 0
            while filled < len(view):
                count = file.readinto(view[filled:])
                if not count:
                    raise _cut()
                filled += count
            yield plane.T
        # Far enough to read the checksum behind a few bytes, and no bomb to its end.
        while left < header.smallest_plane_bytes and (beyond := file.read(CHUNK)):
            left += len(beyond)
    if left >= header.smallest_plane_bytes:
        raise UnreadableFileError(
            "The NIfTI file holds more voxels than its header says, so the sizes in the header "
            "are wrong.",
            EXPORT_AGAIN,
        )


def _read_header_half(path: Path, digest: Digest) -> None:
    """Read the header of a pair to its end, so that its checksum is verified and its bytes named.

    Raises:
        UnreadableFileError: It is longer than a header with its extensions is.
    """
    with _opened(path, digest) as (file, _):
        if len(file.read(MOST_OFFSET + 1)) > MOST_OFFSET:
            raise UnreadableFileError(
                "The header of the NIfTI pair is far longer than a header is, so it is damaged.",
                EXPORT_AGAIN,
            )


def _cut() -> UnreadableFileError:
    return UnreadableFileError(
        "The NIfTI file is shorter than its header says, so part of the volume is missing.",
        EXPORT_AGAIN,
    )
