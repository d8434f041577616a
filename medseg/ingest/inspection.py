"""What `inspect` answers: the nouns alone, so that they can be had without any reader."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from medseg.core.study import Candidate, QualityFlag
from medseg.errors import InputError, NoImageError


@dataclass(frozen=True)
class Ignored:
    """Files that hold no image.

    Attributes:
        reason: What they are.
        files: How many.
    """

    reason: str
    files: int


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


@dataclass(frozen=True)
class Explanation:
    """How a protocol's roles would be filled; the key `choice` of `medseg inspect --json`.

    Attributes:
        protocol: Its name.
        reasons: Role to the sentence that says why this series, as far as roles could be filled.
        candidates: Role to everything that was considered, best first.
        refusal: Why the study cannot be read, or None.
    """

    protocol: str
    reasons: Mapping[str, str]
    candidates: Mapping[str, tuple[Candidate, ...]]
    refusal: InputError | None

    def plain(self) -> dict[str, object]:
        """As plain values."""
        refusal = self.refusal
        return {
            "protocol": self.protocol,
            "roles": {
                role: {
                    "reason": self.reasons.get(role),
                    "candidates": [asdict(one) for one in candidates],
                }
                for role, candidates in self.candidates.items()
            },
            "error": None if refusal is None else type(refusal).__name__,
            "problem": None if refusal is None else refusal.problem,
            "remedy": None if refusal is None else refusal.remedy,
        }


def refused(number: int, modality: str | None, error: InputError) -> InspectedSeries:
    """The line of a series that is not accepted."""
    kind = type(error).__name__
    return InspectedSeries(number, modality, "refused", kind, error.problem, error.remedy)
