"""Whether the files of a DICOM series form one volume, and where it lies in the patient.

Slices are put in order by their position along the normal and by nothing else: instance numbers,
slice locations, slice thickness and file names are often wrong. What does not lie on one regular
grid is refused; there is no volume between two grids.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.study import QualityFlag, SliceReference
from medseg.core.volume import MAX_VOXELS, IntensityUnit
from medseg.errors import (
    InconsistentSeriesError,
    MissingGeometryError,
    UnsupportedImageError,
)
from medseg.formats.dicom import SEND_AGAIN, DicomFile
from medseg.formats.dicom_checks import check_kind, check_parts, check_readable
from medseg.formats.dicom_frames import Frame
from medseg.formats.dicom_suv import PetScale, pet_scale

LEAST_SLICES = 3
"""Two slices cannot show whether a third one is missing between them."""

MAX_GAP_DEVIATION = 0.05
"""Share of the spacing by which a gap may differ: a PET bed overlap is uneven by 2.4 %."""

EVEN_GAP_DEVIATION = 0.005
"""Up to here an uneven gap is rounding; above it is flagged."""

MAX_DRIFT = 0.25
"""Share of a voxel by which a slice may lie off the regular grid, along it or sideways."""

MAX_TILT_DEGREES = 0.5
"""Angle between the stack and the slices' normal that is rounding or positioning."""

MAX_GANTRY_TILT_DEGREES = 30.5
"""A gantry leans up to 30 degrees. The sheared grid is kept as it is: nothing is resampled, and
volumes, diameters and surfaces are measured in mm on it."""

SAME_PLACE_MM = 0.01
COSINE_TOLERANCE = 1e-3
"""Rounding of direction cosines in files; 0.06 degrees."""

SAME_SHARE = 1e-4
SAME_CONTRAST = 0.01
"""Echo times that a scanner states per slice differ by rounding; two echoes by a tenth and more."""

HOUNSFIELD_TYPES = ("", "HU", "HU_MOD")
ONE_PART = "Give a folder with the files of one part only, or ask the archive to split the series."


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice: a frame of a file."""

    file: DicomFile
    frame: Frame


@dataclass(frozen=True, eq=False)
class Stack:
    """A series that forms one volume; its voxels are not read yet.

    Attributes:
        slices: Along the normal (row x column direction), ascending: slice k of the volume.
        geometry: The acquired grid, (column, row, slice), RAS+ mm.
        scale: What rescaled values are multiplied by, and their unit then.
        flags: Doubts about the series.
    """

    slices: tuple[Slice, ...]
    geometry: Geometry
    scale: PetScale
    flags: tuple[QualityFlag, ...]

    @property
    def references(self) -> tuple[SliceReference, ...]:
        """The source of each slice; empty where a file names no instance."""
        if not all(one.file.sop_instance_uid for one in self.slices):
            return ()
        return tuple(
            SliceReference(one.file.sop_instance_uid, one.file.instance_number)
            for one in self.slices
        )


def stack(files: Sequence[DicomFile]) -> Stack:
    """Put the files of one series together.

    Raises:
        InputError: They do not form one volume; the error says why.
    """
    check_kind(files)
    check_readable(files)
    files, flags = _without_copies(files)
    check_parts(files)
    slices = [Slice(file, frame) for file in files for frame in file.frames]
    _check_alike(slices)
    if len(slices) < LEAST_SLICES:
        raise UnsupportedImageError(
            f"The series holds fewer than {LEAST_SLICES} slices ({len(slices)}), too few to know "
            "that they form a volume without a gap.",
            "Choose a series with more slices.",
        )
    if math.prod((files[0].rows, files[0].columns, len(slices))) > MAX_VOXELS:
        raise UnsupportedImageError(
            f"The series claims more than {MAX_VOXELS} voxels, more than any scanner makes.",
            "Send a part of the series, or ask the archive to send it again.",
        )
    ordered, geometry, spacing_flags = _grid(slices)
    scale = _scale(files)
    flags = (*flags, *spacing_flags, *scale.flags, *_doubts(slices))
    return Stack(tuple(ordered), geometry, scale, flags)


def _without_copies(
    files: Sequence[DicomFile],
) -> tuple[Sequence[DicomFile], tuple[QualityFlag, ...]]:
    """Each file once: byte-identical copies go, two different files for one slice are refused."""
    groups: dict[str, list[DicomFile]] = {}
    for file in files:
        groups.setdefault(file.sop_instance_uid, []).append(file)
    kept: list[DicomFile] = []
    for uid, members in groups.items():
        distinct = members if len(members) == 1 else _distinct(members)
        if uid and len(distinct) > 1:
            raise InconsistentSeriesError(
                "The series holds two different files for the same slice, and which one is right "
                "cannot be known.",
                SEND_AGAIN,
            )
        kept.extend(distinct)
    copies = len(files) - len(kept)
    if not copies:
        return files, ()
    message = f"{copies} files were identical copies of other slices and were left out."
    return kept, (QualityFlag("duplicate-files", message),)


def _distinct(files: Sequence[DicomFile]) -> list[DicomFile]:
    by_content = {hashlib.sha256(file.path.read_bytes()).digest(): file for file in reversed(files)}
    return list(reversed(by_content.values()))


def _check_alike(slices: Sequence[Slice]) -> None:
    """Refuse slices that are not all of one kind."""
    first = slices[0]
    for name, differs in (
        ("modality", lambda s: s.file.modality != first.file.modality),
        (
            "matrix",
            lambda s: (s.file.rows, s.file.columns) != (first.file.rows, first.file.columns),
        ),
        ("orientation", lambda s: not _near(s.frame.orientation, first.frame.orientation)),
        ("pixel spacing", lambda s: not _near(s.frame.spacing_mm, first.frame.spacing_mm)),
        (
            "frame of reference",
            lambda s: s.file.frame_of_reference != first.file.frame_of_reference,
        ),
        ("image type", lambda s: s.frame.image_type != first.frame.image_type),
        ("unit", lambda s: s.frame.rescale_type != first.frame.rescale_type),
        (
            "echo time or diffusion weighting",
            lambda s: not _near(s.frame.contrast, first.frame.contrast, SAME_CONTRAST),
        ),
        ("time point", lambda s: s.frame.time_point != first.frame.time_point),
    ):
        if any(differs(one) for one in slices):
            raise InconsistentSeriesError(
                f"The slices of the series differ in their {name}, so they form no single volume.",
                ONE_PART,
            )


def _near(
    one: tuple[float, ...] | None, other: tuple[float, ...] | None, share: float = SAME_SHARE
) -> bool:
    if one is None or other is None or len(one) != len(other) or one == other:
        return one == other
    return bool(np.allclose(one, other, rtol=share, atol=COSINE_TOLERANCE / 2))


def _grid(
    slices: Sequence[Slice],
) -> tuple[list[Slice], Geometry, tuple[QualityFlag, ...]]:
    """Slices in order, and the grid they lie on."""
    row, column = _directions(slices[0].frame)
    normal = np.cross(row, column)
    heights = [float(np.dot(one.frame.position or (), normal)) for one in slices]
    order = sorted(range(len(slices)), key=heights.__getitem__)
    ordered = [slices[n] for n in order]
    positions = np.array([one.frame.position for one in ordered], np.float64)
    along = positions @ normal
    flags = _check_gaps(along)
    between_rows, between_columns = slices[0].frame.spacing_mm or (0.0, 0.0)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = _check_straight(positions, step, normal, min(between_rows, between_columns))
    flags += _judge_tilt(step, sideways, column, is_ct=slices[0].file.modality == "CT")
    lps = np.eye(4)
    lps[:3, 0] = row * between_columns
    lps[:3, 1] = column * between_rows
    lps[:3, 2] = step
    lps[:3, 3] = positions[0]
    file = slices[0].file
    shape = (file.columns, file.rows, len(slices))
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return ordered, Geometry(shape, to_ras @ lps, file.frame_of_reference), flags


def _directions(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors along a row and along a column, LPS."""
    row, column = np.array(frame.orientation, np.float64).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > COSINE_TOLERANCE or (
        abs(row @ column) > COSINE_TOLERANCE
    ):
        raise MissingGeometryError(
            "The orientation of the slices is not two perpendicular directions, so sides and "
            "sizes cannot be known.",
            "Ask the archive for the original series.",
        )
    return row / lengths[0], column / lengths[1]


def _check_gaps(along: NDArray[np.float64]) -> tuple[QualityFlag, ...]:
    """Refuse repeated places and uneven gaps; flag small unevenness."""
    gaps = np.diff(along)
    if (gaps < SAME_PLACE_MM).any():
        raise InconsistentSeriesError(
            "The series holds several different slices at the same place (time points, echoes or "
            "reconstructions), so it is no single volume.",
            ONE_PART,
        )
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    deviation = abs(float(gaps[worst]) / usual - 1)
    drift = np.abs(along - np.linspace(along[0], along[-1], len(along))).max()
    if deviation > MAX_GAP_DEVIATION or drift > MAX_DRIFT * usual:
        raise InconsistentSeriesError(
            f"The series has a gap of {gaps[worst]:.2f} mm after slice {worst + 1} of "
            f"{len(along)}, where {usual:.2f} mm are usual; volumes across it would be wrong.",
            SEND_AGAIN,
        )
    if deviation <= EVEN_GAP_DEVIATION:
        return ()
    message = f"Slices are up to {100 * deviation:.1f} % unevenly spaced; the mean spacing is used."
    return (QualityFlag("uneven-spacing", message),)


def _check_straight(
    positions: NDArray[np.float64],
    step: NDArray[np.float64],
    normal: NDArray[np.float64],
    pixel_mm: float,
) -> NDArray[np.float64]:
    """Refuse slices that are shifted sideways; else, how far each leans from the one before, mm."""
    height = float(step @ normal)
    offsets = positions - positions[0]
    sideways = offsets - np.outer(offsets @ normal, step / height)
    if np.linalg.norm(sideways, axis=1).max() > MAX_DRIFT * pixel_mm:
        raise InconsistentSeriesError(
            "The slices of the series are shifted sideways against each other, so they form no "
            "regular grid.",
            SEND_AGAIN,
        )
    lean: NDArray[np.float64] = step - height * normal
    return lean


def _judge_tilt(
    step: NDArray[np.float64],
    lean: NDArray[np.float64],
    column: NDArray[np.float64],
    *,
    is_ct: bool,
) -> tuple[QualityFlag, ...]:
    """Flag the lean of a CT whose gantry was tilted, about its rows; refuse any other."""
    along_column = float(lean @ column)
    tilt = math.degrees(math.asin(min(1.0, float(np.linalg.norm(lean) / np.linalg.norm(step)))))
    if tilt <= MAX_TILT_DEGREES:
        return ()
    rest = math.degrees(
        math.atan2(float(np.linalg.norm(lean - along_column * column)), float(np.linalg.norm(step)))
    )
    if not is_ct or rest > MAX_TILT_DEGREES or tilt > MAX_GANTRY_TILT_DEGREES:
        raise UnsupportedImageError(
            f"The slices are tilted by {tilt:.1f} degrees against the stack, in a way that no "
            "scanner's gantry is tilted, so where they lie cannot be trusted.",
            "Choose a series that was reconstructed without tilt, if there is one.",
        )
    message = (
        f"The gantry was tilted by {tilt:.1f} degrees. Voxels are kept as the sheared boxes that "
        "they are; volumes and diameters are right on them, and slices lie closer together than "
        "their positions are apart."
    )
    return (QualityFlag("gantry-tilt", message),)


def _scale(files: Sequence[DicomFile]) -> PetScale:
    """The unit of the rescaled values and the factor to it."""
    pet = [file.pet for file in files if file.pet is not None]
    if pet:
        return pet_scale(pet)
    if files[0].modality != "CT":
        return PetScale(1.0, IntensityUnit.ARBITRARY)
    if files[0].frames[0].rescale_type in HOUNSFIELD_TYPES:
        return PetScale(1.0, IntensityUnit.HU)
    message = "The CT does not state Hounsfield units; its values are taken as they are stored."
    flag = QualityFlag("not-hounsfield", message)
    return PetScale(1.0, IntensityUnit.ARBITRARY, (flag,))


def _doubts(slices: Sequence[Slice]) -> tuple[QualityFlag, ...]:
    """What a reader should know of the source."""
    flags = []
    files = [one.file for one in slices]
    stated = max((file.pet.slice_count or 0 for file in files if file.pet), default=0)
    if stated > len(slices):
        message = (
            f"The series says that it has {stated:.0f} slices, and {len(slices)} are here: the "
            "ends of the volume may be missing."
        )
        flags.append(QualityFlag("fewer-slices", message))
    is_captured = any(file.traits.is_screen_capture for file in files)
    if is_captured or any(file.is_burned_in for file in files):
        source = "were taken from a screen or film, so text may be" if is_captured else "have text"
        message = f"The images {source} burned in; it may be measured and may name the patient."
        flags.append(QualityFlag("burned-in-annotation", message))
    if any(file.is_lossy for file in files):
        message = "The images were compressed with a loss, which changes intensities and edges."
        flags.append(QualityFlag("lossy-compression", message))
    if not all(file.sop_instance_uid for file in files):
        message = "The source names no instances (empty UIDs), so DICOM results cannot point to it."
        flags.append(QualityFlag("no-instance-uids", message))
    return tuple(flags)
