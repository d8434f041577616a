"""What the header of a NIfTI file says, checked before a byte is allocated for its voxels.

A header is believed only where it is complete and does not contradict itself: every number in it
comes from an untrusted file. The standard: https://nifti.nimh.nih.gov (nifti1.h and nifti2.h).
"""

import math
import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.study import QualityFlag
from medseg.core.volume import MAX_VOXELS
from medseg.errors import (
    ContradictoryGeometryError,
    MissingGeometryError,
    NotAnImageError,
    UnreadableFileError,
    UnsupportedImageError,
)

EXPORT_AGAIN = "Export the image again from the program that made it, then run it again."
STATE_GEOMETRY = (
    "Export the image again with its orientation (a sform or a qform with a code above 0), or "
    "give the DICOM files instead."
)
GIVE_ONE_VOLUME = "Export one three-dimensional image with one real number per voxel."

MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Space part of `xyzt_units` in mm; unknown (0) is read as mm, as every program does."""

REAL_TYPES = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}
"""NIfTI datatype codes that store one real number per voxel in up to eight bytes."""

MAX_SPACING_DIFFERENCE = 0.01
"""Relative difference of `pixdim` and the affine above which one of them is wrong: a volume would
be off by 3 %. Rounding to float32 stays five orders of magnitude below."""

MAX_FORM_DIFFERENCE = 0.1
"""Distance of a corner under sform and under qform, as a share of the smallest spacing, that
rounding of a quaternion in float32 can explain. Half a voxel is a real disagreement."""

MOST_OFFSET = 2**26
"""64 MiB before the first voxel: header extensions are texts and tables of a few MB."""

SIZES = {348: Nifti1Header, 540: Nifti2Header}
ENDIANNESS: tuple[Literal["<", ">"], ...] = ("<", ">")
MAGIC = {348: (b"n+1\0", b"ni1\0"), 540: (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")}


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """Where the voxels of a NIfTI file lie, in the patient and in the file.

    Attributes:
        geometry: The stored grid, RAS+ mm.
        dtype: Stored type of a voxel, with its byte order.
        offset: Bytes before the first voxel in the file that holds them.
        slope, intercept: Value = stored x slope + intercept.
        is_pair: The voxels lie in an `.img` file beside this one.
        flags: Doubts about the geometry.
    """

    geometry: Geometry
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    is_pair: bool
    flags: tuple[QualityFlag, ...]

    @property
    def voxel_bytes(self) -> int:
        """Bytes that all voxels take in the file."""
        return math.prod(self.geometry.shape) * self.dtype.itemsize

    @property
    def smallest_plane_bytes(self) -> int:
        """What a size that is too small by one leaves over at least."""
        return self.voxel_bytes // max(self.geometry.shape)


def has_mark(block: bytes) -> bool:
    """Whether these first 540 bytes begin as a NIfTI header does."""
    return _order(block) is not None


def parse_header(block: bytes) -> NiftiHeader:
    """Read and check the first 540 bytes of a file; fewer are enough for NIfTI-1.

    Raises:
        NotAnImageError: This is not a NIfTI header.
        UnreadableFileError: It is one, and is damaged.
        UnsupportedImageError: It describes no three-dimensional image of real numbers.
        MissingGeometryError: Nothing in it says where the voxels lie.
        ContradictoryGeometryError: It says so twice, and differently.
    """
    fields = _fields(block)
    size = int(fields["sizeof_hdr"])
    is_pair = fields["magic"].tobytes().startswith(b"ni")
    shape = _shape([int(n) for n in fields["dim"]])
    dtype = _dtype(fields)
    offset = float(fields["vox_offset"])
    least = 0 if is_pair else size + 4
    if not least <= offset <= MOST_OFFSET or offset != int(offset):
        raise _damaged("the place of its voxels")
    slope, intercept = _scaling(fields)
    affine, flags = _affine(fields, shape)
    try:
        geometry = Geometry(shape, affine)
    except ValueError:
        raise MissingGeometryError(
            "The orientation in the NIfTI header is not one of three different directions with a "
            "length, so sizes and positions cannot be known.",
            STATE_GEOMETRY,
        ) from None
    return NiftiHeader(geometry, dtype, int(offset), slope, intercept, is_pair, flags)


def _damaged(what: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"The NIfTI header is damaged ({what} makes no sense), so nothing in the file can be "
        "trusted.",
        EXPORT_AGAIN,
    )


def _order(block: bytes) -> tuple[int, Literal["<", ">"]] | None:
    """Size and byte order of the header, where both its size and its mark are a NIfTI header's."""
    for size, marks in MAGIC.items():
        mark = block[344:348] if size == 348 else block[4:12]
        for order in ENDIANNESS:
            if len(block) >= size and mark in marks and block[:4] == struct.pack(order + "i", size):
                return size, order
    return None


def _fields(block: bytes) -> Nifti1Header:
    """The header's fields, in the byte order in which its own size makes sense."""
    found = _order(block)
    sizes = [struct.pack(f"{order}i", 348) for order in ENDIANNESS]
    if found is None and len(block) >= 348 and block[:4] in sizes:
        raise MissingGeometryError(
            "The file has the header of an Analyze image or of a NIfTI image that lost its mark, "
            "and left and right cannot be told apart in it.",
            "Convert the image to NIfTI with the program that made it, or give the DICOM files.",
        )
    if found is None:
        raise NotAnImageError(
            "The file is not a NIfTI image: it does not begin with the header of one.",
            "Give a folder of DICOM files, a NIfTI file, or a folder of NIfTI files.",
        )
    size, order = found
    return SIZES[size](block[:size], endianness=order, check=False)


def _shape(dim: list[int]) -> tuple[int, int, int]:
    """The three sizes of one volume."""
    count = dim[0]
    if not 1 <= count <= 7 or min(dim[1 : count + 1]) < 1:
        raise _damaged("the number or the size of its dimensions")
    sizes = [*dim[1 : count + 1], 1, 1]
    if any(n > 1 for n in sizes[3:]):
        raise UnsupportedImageError(
            "The NIfTI file holds several volumes or several values per voxel, and which one is "
            "meant cannot be known.",
            GIVE_ONE_VOLUME,
        )
    if count < 3:
        raise UnsupportedImageError(
            "The NIfTI file holds a flat image, and volumes need three dimensions.",
            GIVE_ONE_VOLUME,
        )
    if math.prod(sizes[:3]) > MAX_VOXELS:
        raise UnsupportedImageError(
            f"The NIfTI header claims more than {MAX_VOXELS} voxels, more than any scanner makes.",
            "Crop or resample the image, or export it again if the header is wrong.",
        )
    return (sizes[0], sizes[1], sizes[2])


def _dtype(fields: Nifti1Header) -> np.dtype[np.generic]:
    """The stored type, in the file's byte order."""
    if int(fields["datatype"]) not in REAL_TYPES:
        raise UnsupportedImageError(
            "The voxels of the NIfTI file are not single real numbers (colour, complex or "
            "unknown), so they are no intensities.",
            GIVE_ONE_VOLUME,
        )
    dtype: np.dtype[np.generic] = fields.get_data_dtype()
    if int(fields["bitpix"]) != 8 * dtype.itemsize:
        raise _damaged("the number of bits per voxel")
    return dtype


def _scaling(fields: Nifti1Header) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or NaN means by the standard that there is no scaling."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise _damaged("the scaling of its values")
    return slope, intercept


def _affine(
    fields: Nifti1Header, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[QualityFlag, ...]]:
    """The RAS+ mm affine: the sform where there is one, else the qform (nifti1.h, methods 3, 2)."""
    sform_code, qform_code = int(fields["sform_code"]), int(fields["qform_code"])
    if not 0 <= sform_code <= 5 or not 0 <= qform_code <= 5:
        raise _damaged("the code of its orientation")
    if sform_code == 0 and qform_code == 0:
        raise MissingGeometryError(
            "The NIfTI header does not say how the voxels lie in the patient, so left and right "
            "cannot be told apart.",
            STATE_GEOMETRY,
        )
    scale = _millimetres(fields)
    spacing = np.array(fields["pixdim"][1:4], np.float64) * scale[0, 0]
    if not np.isfinite(spacing).all() or spacing.min() <= 0:
        raise MissingGeometryError(
            "The NIfTI header states no spacing for one of its axes, so sizes cannot be known.",
            STATE_GEOMETRY,
        )
    if not sform_code:
        return scale @ _qform(fields), ()
    sform = scale @ fields.get_sform()
    _check_spacing(sform, spacing)
    if not qform_code:
        return sform, ()
    qform = scale @ _qform(fields)
    return sform, _compare_forms(sform, qform, shape, same_space=sform_code == qform_code)


def _millimetres(fields: Nifti1Header) -> NDArray[np.float64]:
    """(4, 4) scaling of the header's unit of length to mm."""
    code = int(fields["xyzt_units"]) & 7
    if code not in MILLIMETRES:
        raise _damaged("the unit of its spacing")
    return np.diag([*[MILLIMETRES[code]] * 3, 1.0])


def _qform(fields: Nifti1Header) -> NDArray[np.float64]:
    """The qform's affine, where a qfac of 0 means 1 by the standard."""
    if fields["pixdim"][0] == 0:
        fields["pixdim"][0] = 1
    try:
        affine: NDArray[np.float64] = fields.get_qform()
    except (HeaderDataError, ValueError):
        raise _damaged("the rotation of its qform") from None
    return affine


def _check_spacing(sform: NDArray[np.float64], spacing: NDArray[np.float64]) -> None:
    """Refuse a sform whose steps are not as long as `pixdim` says."""
    steps = np.linalg.norm(sform[:3, :3], axis=0)
    if not np.isfinite(steps).all() or steps.min() <= 0:
        raise MissingGeometryError(
            "The orientation in the NIfTI header is not made of finite numbers with a length, so "
            "sizes and positions cannot be known.",
            STATE_GEOMETRY,
        )
    if (np.abs(steps / spacing - 1) > MAX_SPACING_DIFFERENCE).any():
        raise ContradictoryGeometryError(
            "The NIfTI header states two different spacings (pixdim and sform), so every size "
            f"could be wrong by a factor of {_ratio(steps, spacing):.3g} in volume.",
            EXPORT_AGAIN,
        )


def _ratio(steps: NDArray[np.float64], spacing: NDArray[np.float64]) -> float:
    ratio = float(np.prod(steps / spacing))
    return max(ratio, 1 / ratio)


def _compare_forms(
    sform: NDArray[np.float64],
    qform: NDArray[np.float64],
    shape: tuple[int, int, int],
    *,
    same_space: bool,
) -> tuple[QualityFlag, ...]:
    """Refuse a contradiction; flag two different spaces, of which the sform is used."""
    corners = Geometry(shape, np.eye(4)).corners_mm
    one, other = (corners @ form[:3, :3].T + form[:3, 3] for form in (sform, qform))
    least = np.linalg.norm(sform[:3, :3], axis=0).min()
    if np.linalg.norm(one - other, axis=1).max() <= MAX_FORM_DIFFERENCE * least:
        return ()
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    if same_space or mirrored:
        raise ContradictoryGeometryError(
            "The NIfTI header states two different orientations (sform and qform), so a side or "
            "a position could be wrong.",
            EXPORT_AGAIN,
        )
    return (
        QualityFlag(
            "two-spaces",
            "The NIfTI header places the image in two spaces (sform and qform); positions are "
            "those of the sform.",
        ),
    )
