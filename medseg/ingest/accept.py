"""Judge a series by its headers, and read the voxels of one that was accepted."""

import math
from dataclasses import dataclass
from pathlib import Path

from medseg.core.geometry import Geometry
from medseg.core.study import QualityFlag, Series
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import InputError
from medseg.formats import dicom_stack, nifti
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.nifti_header import NiftiHeader
from medseg.ingest.checks import check_claim, check_grid, check_perpendicular
from medseg.ingest.discover import FoundSeries


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """A NIfTI file whose header was accepted."""

    path: Path
    header: NiftiHeader


@dataclass(frozen=True, eq=False)
class AcceptedSeries:
    """A series that forms one volume, as far as headers show; its voxels are not read yet.

    Attributes:
        number: Its number in the source.
        modality: DICOM modality; None for NIfTI.
        geometry: The acquired grid.
        unit: What its voxels will be in; ARBITRARY for NIfTI, which states none.
        flags: Doubts about it.
        content: What to read.
    """

    number: int
    modality: str | None
    geometry: Geometry
    unit: IntensityUnit
    flags: tuple[QualityFlag, ...]
    content: dicom_stack.Stack | NiftiFile

    @property
    def is_nifti(self) -> bool:
        """Whether neither modality nor unit are stated."""
        return isinstance(self.content, NiftiFile)


def accept(found: FoundSeries) -> AcceptedSeries:
    """Judge a series.

    Raises:
        InputError: It forms no volume that can be measured; the error says why.
    """
    if found.fault is not None:
        raise found.fault
    content = found.content
    if isinstance(content, Path):
        header = nifti.read_header(content)
        check_perpendicular(header.geometry)
        flags = (*header.flags, *check_grid(header.geometry))
        check_claim(header.voxel_bytes + _float_bytes(header.geometry), found.stored_bytes)
        unit, geometry = IntensityUnit.ARBITRARY, header.geometry
        return AcceptedSeries(found.number, None, geometry, unit, flags, NiftiFile(content, header))
    stack = dicom_stack.stack(content)
    flags = (*found.flags, *stack.flags, *check_grid(stack.geometry))
    check_claim(_float_bytes(stack.geometry), found.stored_bytes)
    return AcceptedSeries(
        found.number, found.modality, stack.geometry, stack.scale.unit, flags, stack
    )


def _float_bytes(geometry: Geometry) -> int:
    """What a volume takes in memory."""
    return 4 * math.prod(geometry.shape)


def read_volume(accepted: AcceptedSeries) -> Volume:
    """Read the voxels.

    Raises:
        InputError: They are damaged, incomplete or not finite.
    """
    return _read(accepted)[0]


def read_series(accepted: AcceptedSeries) -> Series:
    """Read the voxels, and what a record of them needs.

    Raises:
        InputError: As `read_volume`, naming the series by its number.
    """
    try:
        volume, digest = _read(accepted)
    except InputError as error:
        raise named(error, accepted.number) from None
    content = accepted.content
    if isinstance(content, NiftiFile):
        return Series(accepted.number, accepted.modality, volume, digest, (), accepted.flags)
    return Series(
        accepted.number,
        accepted.modality,
        volume,
        digest,
        content.references,
        accepted.flags,
        content.slices[0].file.series_number,
    )


def _read(accepted: AcceptedSeries) -> tuple[Volume, str]:
    """The voxels, and the digest of the bytes that they came from."""
    content = accepted.content
    if isinstance(content, NiftiFile):
        data, digest = nifti.read_voxels(content.path, content.header)
        return Volume(data, accepted.geometry, accepted.unit), digest
    return read_voxels(content)


def named(error: InputError, number: int) -> InputError:
    """The same error, naming the series by its number in the source."""
    problem = f"Series {number}: {error.problem[:1].lower()}{error.problem[1:]}"
    return type(error)(problem, error.remedy)
