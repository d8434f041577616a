"""The voxels of a DICOM stack.

Each file is opened, decoded and let go before the next, so that memory holds the volume and one
file. Rescaling is done per slice in double precision: PET slopes differ from slice to slice.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from medseg.core.volume import Volume
from medseg.errors import InvalidVoxelsError, UnreadableFileError
from medseg.formats.dicom import SEND_AGAIN, open_dataset
from medseg.formats.dicom_stack import Slice, Stack
from medseg.formats.dicom_values import PARSING_FAULTS, integer, quiet

END_OF_IMAGE = b"\xff\xd9"
"""JPEG and JPEG-LS decoders fill up what is missing after a cut, so the mark is asked for."""

FAULTS = (*PARSING_FAULTS, MemoryError, OSError)


def read_voxels(stack: Stack) -> Volume:
    """Decode and rescale every slice.

    Returns:
        (I, J, K) float32 on the stack's grid, in Fortran order, in the stack's unit.

    Raises:
        UnreadableFileError: A slice cannot be decoded; the whole series is refused.
        InvalidVoxelsError: A value is not a finite number.
    """
    i, j, k = stack.geometry.shape
    data = np.empty((k, j, i), np.float32)
    places: dict[Path, list[int]] = {}
    for place, one in enumerate(stack.slices):
        places.setdefault(one.file.path, []).append(place)
    for path, wanted in places.items():
        _fill(data, path, wanted, stack)
    return Volume(data.transpose(2, 1, 0), stack.geometry, stack.scale.unit)


def _fill(data: NDArray[np.float32], path: Path, places: list[int], stack: Stack) -> None:
    """Decode the slices of one file into their places."""
    slices = [stack.slices[place] for place in places]
    try:
        with quiet(), np.errstate(all="ignore"):
            for place, one, stored in zip(places, slices, _decoded(path, slices), strict=True):
                rescaled = stored.astype(np.float64) * one.frame.slope + one.frame.intercept
                data[place] = rescaled * stack.scale.factor
                if not np.isfinite(data[place]).all():
                    raise InvalidVoxelsError(
                        "The series holds values that are not finite numbers, so its intensities "
                        "cannot be trusted.",
                        SEND_AGAIN,
                    )
    except FAULTS:
        raise UnreadableFileError(
            "The series has a slice that cannot be decoded; the volume without it would be wrong.",
            SEND_AGAIN,
        ) from None


def _decoded(path: Path, slices: list[Slice]) -> Iterator[NDArray[np.generic]]:
    """The stored values of some slices of one file, (J, I) each."""
    with path.open("rb") as file:
        dataset = open_dataset(file, with_pixels=True)
    _check_end_marks(dataset)
    shape = (slices[0].file.rows, slices[0].file.columns)
    for stored in iter_pixels(dataset, indices=[one.frame.index for one in slices]):
        if stored.shape != shape:
            raise ValueError(f"a slice of {stored.shape} in a series of {shape}")
        yield stored


def _check_end_marks(dataset: FileDataset) -> None:
    """Refuse a JPEG or JPEG-LS image that was cut."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        return
    count = integer(dataset, "NumberOfFrames") or 1
    for image in generate_frames(dataset.PixelData, number_of_frames=count):
        if END_OF_IMAGE not in image[-16:]:
            raise ValueError("a compressed image without its end")
