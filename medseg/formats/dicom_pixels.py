"""The voxels of a DICOM stack, and the digest of the bytes that they came from.

Files are read one after the other, each once; their frames are decoded into the volume beside that,
so that memory holds the volume and a few files. Rescaling is done per slice and as in double
precision: PET slopes differ from slice to slice. A pixel padding value is a value like others: what
lies outside the field of view is air to those who measure, and no voxel is taken away.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.volume import Volume
from medseg.errors import InvalidVoxelsError, UnreadableFileError, UnsupportedImageError
from medseg.formats.dicom import SEND_AGAIN
from medseg.formats.dicom_codecs import decode
from medseg.formats.dicom_encoding import Encoding, frames_in
from medseg.formats.dicom_stack import Slice, Stack
from medseg.formats.dicom_values import PARSING_FAULTS, MalformedValueError, quiet
from medseg.formats.storage import PASSING_WHILE_READ, storage_fault

MOST_THREADS = 8
"""Reading keeps up with about so many decoders."""

MOST_EXACT = 2**24
"""Whole numbers up to here are float32."""

FAULTS = (*PARSING_FAULTS, OSError)


def read_voxels(stack: Stack) -> tuple[Volume, str]:
    """Decode and rescale every slice.

    Returns:
        (I, J, K) float32 on the stack's grid, in Fortran order, in the stack's unit; and the
        SHA-256 over the SHA-256 of each of the stack's files, in the order of the slices.

    Raises:
        UnreadableFileError: A slice cannot be decoded; the whole series is refused.
        UnsupportedImageError: Values are not stored in the lowest bits.
        InvalidVoxelsError: A value is not a finite number.
        ResourceError: The storage failed over a file.
        MemoryError: There is none left; whether the file or the machine is at fault is known to who
            set the limits (`ingest.guard`).
    """
    i, j, k = stack.geometry.shape
    _check_bits(stack)
    data = np.empty((k, j, i), np.float32)
    threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    under_way: deque[Future[None]] = deque()
    digests: list[Future[bytes]] = []
    try:
        with quiet(), ThreadPoolExecutor(threads) as pool:
            for content, slices in _stored(stack):
                digests.append(pool.submit(_digest, content))
                for one, stored in slices:
                    target, factor = data[one.place], stack.scale.factor
                    under_way.append(pool.submit(_fill, target, stored, one.of, factor))
                    if len(under_way) > 2 * threads:
                        under_way.popleft().result()
            for future in under_way:
                future.result()
            digest = hashlib.sha256(b"".join(one.result() for one in digests)).hexdigest()
    except FAULTS as error:
        if isinstance(error, OSError) and error.errno in PASSING_WHILE_READ:
            raise storage_fault() from None
        raise UnreadableFileError(
            "The series has a slice that cannot be decoded; the volume without it would be wrong.",
            SEND_AGAIN,
        ) from None
    return Volume(data.transpose(2, 1, 0), stack.geometry, stack.scale.unit), digest


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _check_bits(stack: Stack) -> None:
    """Refuse values that lie higher in their word than in its lowest bits."""
    if not all(one.file.encoding and one.file.encoding.has_low_bits for one in stack.slices):
        raise UnsupportedImageError(
            "The series stores its values in unusual bits (High Bit), which has not been in use "
            "for decades; they could be read wrong.",
            SEND_AGAIN,
        )


@dataclass(frozen=True)
class _Placed:
    """A slice, and its place in the volume."""

    place: int
    of: Slice


def _stored(
    stack: Stack,
) -> Iterator[tuple[bytes, Iterator[tuple[_Placed, memoryview | bytes]]]]:
    """The bytes of every file, and its slices with theirs."""
    files: dict[Path, dict[int, _Placed]] = {}
    for place, one in enumerate(stack.slices):
        files.setdefault(one.file.path, {})[one.frame.index] = _Placed(place, one)
    for path, wanted in files.items():
        content = path.read_bytes()
        yield content, _frames(content, wanted)


def _frames(
    content: bytes, wanted: dict[int, _Placed]
) -> Iterator[tuple[_Placed, memoryview | bytes]]:
    """The slices that are wanted of a file, with their stored bytes."""
    encoding = _encoding(next(iter(wanted.values())).of)
    found = 0
    for index, frame in enumerate(islice(frames_in(content, encoding), encoding.frames)):
        if index in wanted:
            found += 1
            yield wanted[index], frame
    if found != len(wanted):
        raise MalformedValueError


def _fill(
    target: NDArray[np.float32], stored: memoryview | bytes, one: Slice, factor: float
) -> None:
    """Decode and rescale one slice into its place."""
    decoded = decode(stored, _encoding(one))
    is_exact = _is_exact(decoded.dtype, one, factor)
    values = target if is_exact else np.empty(target.shape, np.float64)
    with np.errstate(all="ignore"):
        values[...] = decoded
        if one.frame.slope != 1:
            values *= one.frame.slope
        values += one.frame.intercept
        if is_exact:
            return
        values *= factor
        target[...] = values
    if not np.isfinite(target).all():
        raise InvalidVoxelsError(
            "The series holds values that are not finite numbers, so its intensities cannot be "
            "trusted.",
            SEND_AGAIN,
        )


def _is_exact(stored: np.dtype[np.generic], one: Slice, factor: float) -> bool:
    """Whether rescaling makes whole numbers that single precision holds, as of nearly every CT."""
    slope, intercept = one.frame.slope, one.frame.intercept
    is_whole = stored.kind in "iu" and slope.is_integer() and intercept.is_integer()
    largest = 2.0 ** (8 * stored.itemsize) * abs(slope) + abs(intercept)
    return is_whole and factor == 1 and largest < MOST_EXACT


def _encoding(one: Slice) -> Encoding:
    if one.file.encoding is None:
        raise MalformedValueError
    return one.file.encoding
