"""What must hold for every volume, whatever it was stored as."""

import math

import numpy as np

from medseg.core.geometry import Geometry
from medseg.core.study import QualityFlag
from medseg.errors import ImplausibleGeometryError, UnreadableFileError, UnsupportedImageError

LEAST_VOXELS = 3
"""Along every axis; with fewer nothing shows that slices lie evenly and none is missing."""

EXTENT_MM = (5.0, 4000.0)
"""The longest side of a volume of a person: a spacing in metres or in micrometres lies outside."""

FARTHEST_MM = 1e7
"""Ten kilometres from the origin; beyond it float32, in which NIfTI states a position, has steps of
more than a millimetre."""

MAX_SHEAR_DEGREES = 0.5
"""A smaller one is kept exactly: resampling makes such noise."""

THICK_SLICES = 4
"""Ratio of the largest to the smallest spacing from which on the third dimension is coarse."""


CLAIM_FREE_BYTES = 576 * 2**20
CLAIM_RATIO = 32
"""What voxels may take in memory, whatever their file's size, and for each byte of it beyond. The
sparsest CT in use (JPEG 2000, ten times smaller) takes 20 to 30; with the program, a small file
stays below 1 GiB (`config.ReadingLimits`)."""


def check_claim(voxel_bytes: int, stored_bytes: int) -> None:
    """Refuse a header that claims far more voxels than its files can hold.

    Args:
        voxel_bytes: What the voxels may take in memory while they are read.
        stored_bytes: What the files take on disk.

    Raises:
        UnreadableFileError: They cannot be an image's.
    """
    if voxel_bytes > CLAIM_FREE_BYTES + CLAIM_RATIO * stored_bytes:
        raise UnreadableFileError(
            f"The header claims voxels of {voxel_bytes / 2**20:.0f} MiB in files of "
            f"{stored_bytes / 2**20:.1f} MiB, more than an image can be compressed.",
            "Export the image again; if it is nearly empty, export it without compression.",
        )


def check_grid(geometry: Geometry) -> tuple[QualityFlag, ...]:
    """Refuse a grid on which nothing can be measured; flag one on which it is uncertain.

    Raises:
        UnsupportedImageError: Fewer than three voxels along an axis.
        ImplausibleGeometryError: A volume far smaller or larger than a person, or lost in space.
    """
    if min(geometry.shape) < LEAST_VOXELS:
        raise UnsupportedImageError(
            f"The image has only {min(geometry.shape)} voxels along one axis, too few for a "
            "volume.",
            "Choose a series with more slices.",
        )
    spacing = np.array(geometry.spacing_mm)
    longest = float((spacing * geometry.shape).max())
    if not EXTENT_MM[0] <= longest <= EXTENT_MM[1]:
        raise ImplausibleGeometryError(
            f"The image is said to be {longest:.3g} mm long, so its spacing is wrong or in "
            "another unit than it says.",
            "Export the image again with its spacing in millimetres.",
        )
    if np.abs(geometry.affine[:3, 3]).max() > FARTHEST_MM:
        raise ImplausibleGeometryError(
            "The image is said to lie so far from its origin that positions in it cannot be told "
            "apart.",
            "Export the image again with its position in millimetres.",
        )
    ratio = float(spacing.max() / spacing.min())
    if ratio < THICK_SLICES:
        return ()
    message = (
        f"Slices lie {spacing.max():.1f} mm apart, {ratio:.1f} times the spacing within them: "
        "small lesions may fall between them, and sizes across them are uncertain."
    )
    return (QualityFlag("thick-slices", message),)


def check_perpendicular(geometry: Geometry) -> None:
    """Refuse a sheared grid of which nothing says that a gantry made it.

    A DICOM stack shows its tilt in the positions of its slices; a NIfTI file shows numbers alone.

    Raises:
        UnsupportedImageError: The axes are not perpendicular.
    """
    shear = shear_degrees(geometry)
    if shear > MAX_SHEAR_DEGREES:
        raise UnsupportedImageError(
            f"The axes of the image are sheared by {shear:.1f} degrees, and nothing says whether "
            "that is a tilted gantry or a wrong header; shapes and diameters may be wrong.",
            "Give the DICOM files, or resample the image to perpendicular axes.",
        )


def shear_degrees(geometry: Geometry) -> float:
    """How far the axes are from perpendicular: 0 for a grid that a scanner makes."""
    direction = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    cosines = np.abs(direction.T @ direction - np.eye(3))
    return math.degrees(math.asin(min(1.0, float(cosines.max()))))
