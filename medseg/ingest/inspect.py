"""Everything that lies at a path: what is accepted, with its numbers, and what is not, and why."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medseg.core.study import QualityFlag
from medseg.errors import InputError, NoImageError
from medseg.ingest.accept import AcceptedSeries, accept, read_volume
from medseg.ingest.discover import FoundSeries, Ignored, discover


@dataclass(frozen=True)
class InspectedSeries:
    """One series and the verdict on it; a line of `medseg inspect --json`.

    Attributes:
        number: Its number in the source, from 1.
        modality: DICOM modality; None for NIfTI, or where the series states none.
        outcome: `ok` or `refused`.
        error: Name of the error's class; this and the next two are None where it is ok.
        problem: What is wrong.
        remedy: What to do next.
        shape: Voxels (I, J, K); this and all up to the unit are None where it is refused.
        spacing_mm: Along the three array axes.
        affine_ras: (4, 4) rows, from voxel indices to RAS+ mm.
        minimum, maximum, mean: Of all voxels, in the unit.
        unit: Of the intensities.
        slices: Along the third axis.
        flags: Doubts.
    """

    number: int
    modality: str | None
    outcome: str
    error: str | None = None
    problem: str | None = None
    remedy: str | None = None
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    affine_ras: tuple[tuple[float, ...], ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    unit: str | None = None
    slices: int | None = None
    flags: tuple[QualityFlag, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What lies at a path.

    Attributes:
        series: In the order of their numbers.
        ignored: Files that hold no image.
    """

    series: tuple[InspectedSeries, ...]
    ignored: tuple[Ignored, ...]

    @property
    def refusal(self) -> InputError | None:
        """The error to end with where no series is ok, else None."""
        if any(one.outcome == "ok" for one in self.series):
            return None
        if self.series:
            return NoImageError(
                "No series in the source can be delineated, for the reasons listed.",
                "Follow the remedy of the series that you need.",
            )
        return NoImageError(
            "The source holds no image: there is no DICOM series and no NIfTI file in it.",
            "Give a folder of DICOM files, a NIfTI file, or a folder of NIfTI files.",
        )

    def plain(self) -> dict[str, object]:
        """The object that `medseg inspect --json` prints, as DESIGN.md describes it."""
        return {
            "series": [asdict(one) for one in self.series],
            "ignored": [asdict(one) for one in self.ignored],
        }


def inspect(source: Path) -> Inspection:
    """Look at everything in a file or a folder, voxels included.

    Raises:
        SourceNotFoundError: There is nothing at the path. Whatever is wrong with what is there
            becomes a line of the answer.
    """
    found = discover(source)
    return Inspection(tuple(_inspected(one) for one in found.series), found.ignored)


def _inspected(found: FoundSeries) -> InspectedSeries:
    try:
        return _measured(accept(found))
    except InputError as error:
        return InspectedSeries(
            found.number,
            found.modality,
            "refused",
            type(error).__name__,
            error.problem,
            error.remedy,
        )


def _measured(accepted: AcceptedSeries) -> InspectedSeries:
    """The line of a series that is ok; its voxels are let go when it is written."""
    volume = read_volume(accepted)
    geometry = accepted.geometry
    return InspectedSeries(
        accepted.number,
        accepted.modality,
        "ok",
        shape=geometry.shape,
        spacing_mm=geometry.spacing_mm,
        affine_ras=tuple(tuple(float(number) for number in row) for row in geometry.affine),
        minimum=float(volume.data.min()),
        maximum=float(volume.data.max()),
        mean=float(volume.data.mean(dtype=np.float64)),
        unit=accepted.unit.value,
        slices=geometry.shape[2],
        flags=accepted.flags,
    )
