"""The voxels of a DICOM stack, and the digest of the bytes that they came from.

Files are read one after the other, each once; their frames are decoded into the volume beside that,
so that memory holds the volume and a few files. Rescaling is done per slice in double precision:
PET slopes differ from slice to slice. A pixel padding value is a value like others: what lies
outside the field of view is air to those who measure, and no voxel is taken away.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
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

MOST_THREADS = 8
"""Reading and the digest keep up with about so many decoders."""

FAULTS = (*PARSING_FAULTS, OSError)


def read_voxels(stack: Stack) -> tuple[Volume, str]:
    """Decode and rescale every slice.

    Returns:
        (I, J, K) float32 on the stack's grid, in Fortran order, in the stack's unit; and the
        SHA-256 over the bytes of the stack's files, each once, in the order of the slices.

    Raises:
        UnreadableFileError: A slice cannot be decoded; the whole series is refused.
        UnsupportedImageError: Values are not stored in the lowest bits.
        InvalidVoxelsError: A value is not a finite number.
        MemoryError: There is none left; whether the file or the machine is at fault is known to who
            set the limits (`ingest.guard`).
    """
    i, j, k = stack.geometry.shape
    _check_bits(stack)
    data = np.empty((k, j, i), np.float32)
    digest = hashlib.sha256()
    threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    under_way: deque[Future[None]] = deque()
    try:
        with quiet(), ThreadPoolExecutor(threads) as pool:
            for one, stored in _stored(stack, digest.update):
                target, factor = data[one.place], stack.scale.factor
                under_way.append(pool.submit(_fill, target, stored, one.of, factor))
                if len(under_way) > 2 * threads:
                    under_way.popleft().result()
            for future in under_way:
                future.result()
    except FAULTS:
        raise UnreadableFileError(
            "The series has a slice that cannot be decoded; the volume without it would be wrong.",
            SEND_AGAIN,
        ) from None
    return Volume(data.transpose(2, 1, 0), stack.geometry, stack.scale.unit), digest.hexdigest()


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
    stack: Stack, digest: Callable[[bytes], None]
) -> Iterator[tuple[_Placed, memoryview | bytes]]:
    """Every slice with its stored bytes, file by file."""
    files: dict[Path, dict[int, _Placed]] = {}
    for place, one in enumerate(stack.slices):
        files.setdefault(one.file.path, {})[one.frame.index] = _Placed(place, one)
    for path, wanted in files.items():
        content = path.read_bytes()
        digest(content)
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
    with np.errstate(all="ignore"):
        values = decode(stored, _encoding(one)).astype(np.float64)
        values *= one.frame.slope
        values += one.frame.intercept
        values *= factor
        target[...] = values
    if not np.isfinite(target).all():
        raise InvalidVoxelsError(
            "The series holds values that are not finite numbers, so its intensities cannot be "
            "trusted.",
            SEND_AGAIN,
        )


def _encoding(one: Slice) -> Encoding:
    if one.file.encoding is None:
        raise MalformedValueError
    return one.file.encoding
