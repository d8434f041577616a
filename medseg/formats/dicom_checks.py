"""What every file of a series must be before its slices are put together."""

from collections.abc import Sequence

from medseg.errors import (
    InconsistentSeriesError,
    MissingGeometryError,
    NotAnImageError,
    UnreadableFileError,
    UnsupportedImageError,
)
from medseg.formats.dicom import SEND_AGAIN, DicomFile


def check_kind(files: Sequence[DicomFile]) -> None:
    """Refuse what is no series of CT, MR or PET slices."""
    other = next((file for file in files if not file.is_volume), None)
    if other is not None:
        raise NotAnImageError(
            f"The series holds objects of the kind '{other.kind}', which are no slices of a CT, "
            "MR or PET volume.",
            "Choose a CT, MR or PET series.",
        )
    if any(file.is_localizer for file in files):
        raise NotAnImageError(
            "The series is a localizer (scout), whose slices form no volume.",
            "Choose the series that was planned on it.",
        )


def check_readable(files: Sequence[DicomFile]) -> None:
    """Refuse a series of which one file cannot be used: never a shorter volume."""
    for file in files:
        if not file.has_pixels or file.is_damaged:
            raise UnreadableFileError(
                "The series has a slice whose header is damaged or whose pixels are missing; the "
                "volume without it would be wrong.",
                SEND_AGAIN,
            )
        if file.is_colour:
            raise UnsupportedImageError(
                "The series holds colour images, whose values are no intensities.",
                "Choose the series that the colours were made from.",
            )
        if file.has_modality_lut:
            raise UnsupportedImageError(
                "The series turns stored values into intensities by a table, which is not "
                "supported.",
                "Ask the archive for the original series.",
            )
        if any("MOSAIC" in frame.image_type for frame in file.frames):
            raise UnsupportedImageError(
                "The series holds mosaics: many slices side by side in one image.",
                "Export the series as one image per slice or as an enhanced object.",
            )
        if any(None in (f.position, f.orientation, f.spacing_mm) for f in file.frames):
            raise MissingGeometryError(
                "The series has a slice without position, orientation or pixel spacing, so "
                "nothing can be measured in it.",
                "Ask the archive for the original series; derived copies often lack these.",
            )


def check_parts(files: Sequence[DicomFile]) -> None:
    """Refuse an enhanced object that was sent in parts (PS3.3 C.7.6.16.2.2.4) and lacks some.

    A part that is missing at an end leaves a grid without a gap: only the count shows it.
    """
    total = max(file.traits.part_count for file in files)
    numbers = {file.traits.part for file in files}
    if total > 1 and (numbers != set(range(1, total + 1)) or len(files) != total):
        raise InconsistentSeriesError(
            f"The series was sent in {total} parts, and they are not all here once "
            f"({len(files)} files); the volume without them would be wrong.",
            SEND_AGAIN,
        )
