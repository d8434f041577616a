"""Which of the series that could play a role fits its rules best, and by what.

Rules are asked in a fixed order, what spoils a measurement first and what is a matter of taste
last; the first rule by which two series differ decides. Nothing is weighed against another thing,
so that one clause tells why a series comes before the next.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.config import Role
from medseg.core.geometry import Geometry
from medseg.core.study import Candidate
from medseg.formats.dicom_stack import Slice, Stack
from medseg.ingest import look
from medseg.ingest.accept import AcceptedSeries

PLANES: tuple[Literal["sagittal", "coronal", "axial"], ...] = ("sagittal", "coronal", "axial")
"""By the world axis that the slices step along."""

COVERAGE_STEP = 0.05
"""Series whose coverage differs by less than this share cover the same."""

SPACING_STEP = 0.1
"""Series whose slice spacing differs by less than this share are equally fine."""


@dataclass(frozen=True)
class Verdict:
    """What one rule says of one series.

    Attributes:
        rule: Its name, as a clause uses it.
        penalty: 0 where the series is as asked; the lower, the better.
        found: What the series is, in words.
    """

    rule: str
    penalty: int
    found: str


@dataclass(frozen=True, eq=False)
class Ranked:
    """A series in its place.

    Attributes:
        series: The series.
        rank: From 1; equally good ones share it.
        verdicts: Of every rule, in the order in which they are asked.
        reason: Why it ranks there.
    """

    series: AcceptedSeries
    rank: int
    verdicts: tuple[Verdict, ...]
    reason: str

    @property
    def candidate(self) -> Candidate:
        """The record of it."""
        return Candidate(self.series.number, self.series.modality, self.rank, self.reason)


def exclusion(rule: Role, one: AcceptedSeries) -> str | None:
    """Why a series cannot play the role whatever else there is, or None where it can."""
    if one.unit != rule.unit and not one.is_nifti:
        return f"it is in {one.unit.value} units, and {rule.unit.value} is needed"
    words = [word for word in rule.excluded_image_types if word in _image_type(one)]
    if words:
        return f"its image type holds {' '.join(words)}"
    coverage = coverage_mm(one.geometry)
    if coverage < rule.min_coverage_mm:
        return (
            f"it covers {coverage:.0f} mm from head to foot, and {rule.min_coverage_mm:.0f} mm "
            "are needed"
        )
    spacing = one.geometry.spacing_mm[2]
    if rule.max_slice_spacing_mm is not None and spacing > rule.max_slice_spacing_mm:
        return (
            f"its slices lie {spacing:.1f} mm apart, and {rule.max_slice_spacing_mm:g} mm is most"
        )
    weighting = _weighting(one)
    if rule.weighting is not None and weighting not in ("", rule.weighting):
        return f"it is {weighting}-weighted by its times, and {rule.weighting} is needed"
    return None


def rank(
    rule: Role, series: Sequence[AcceptedSeries], main: AcceptedSeries | None
) -> tuple[Ranked, ...]:
    """Put series in order.

    Args:
        rule: What the role prefers.
        series: None of them excluded.
        main: The series of the main role, in whose frame of reference the others must lie.

    Returns:
        Best first; of equals, the lower number first.
    """
    serious = [_serious(rule, one, main) for one in series]
    alike = Counter(_penalties(verdicts) for verdicts in serious)
    judged = [
        (one, (*first, *_fine(rule, one, series, is_parted=alike[_penalties(first)] == 1)))
        for one, first in zip(series, serious, strict=True)
    ]
    judged.sort(key=lambda entry: (_penalties(entry[1]), entry[0].number))
    ranked: list[Ranked] = []
    for place, (one, verdicts) in enumerate(judged, 1):
        is_tied = bool(ranked) and _penalties(ranked[-1].verdicts) == _penalties(verdicts)
        standing = ranked[-1].rank if is_tied else place
        ranked.append(Ranked(one, standing, verdicts, ""))
    return tuple(Ranked(one.series, one.rank, one.verdicts, _reason(one, ranked)) for one in ranked)


def against(better: Ranked, worse: Ranked) -> str:
    """The rule that parts two series, as a clause: `slice spacing (1.0 mm against 5.0 mm)`."""
    for one, other in zip(better.verdicts, worse.verdicts, strict=True):
        if one.penalty != other.penalty:
            return f"{one.rule} ({one.found} against {other.found})"
    raise ValueError("two series that rank equally have nothing to be told apart by")


def coverage_mm(geometry: Geometry) -> float:
    """Length from head to foot, between the outer edges of the voxels."""
    corners = geometry.corners_mm[:, 2]
    half_voxels = abs(geometry.affine[2, :3]).sum()
    return float(corners.max() - corners.min() + half_voxels)


def share_frame(one: AcceptedSeries, other: AcceptedSeries) -> bool:
    """Whether equal coordinates may be the same place: no two known frames that differ."""
    frames = {one.geometry.frame_of_reference, other.geometry.frame_of_reference}
    return len(frames - {None}) < 2


def _penalties(verdicts: Sequence[Verdict]) -> tuple[int, ...]:
    return tuple(verdict.penalty for verdict in verdicts)


def _reason(one: Ranked, ranked: Sequence[Ranked]) -> str:
    """Why a series ranks where it does: by what it comes before the next, or after the last."""
    equals = [other.series.number for other in ranked if other.rank == one.rank]
    tie = ""
    if len(equals) > 1:
        others = ", ".join(str(number) for number in equals if number != one.series.number)
        tie = f"equal to series {others} by every rule"
    better = [other for other in ranked if other.rank < one.rank]
    worse = [other for other in ranked if other.rank > one.rank]
    place = ""
    if better:
        place = f"after series {better[-1].series.number} by {against(better[-1], one)}"
    elif worse:
        place = f"before series {worse[0].series.number} by {against(one, worse[0])}"
    return "; ".join(part for part in (tie, place) if part) or "the only candidate"


def _serious(rule: Role, one: AcceptedSeries, main: AcceptedSeries | None) -> tuple[Verdict, ...]:
    """The rules on what is shown, in the order in which they count."""
    return (
        _frame(one, main),
        _correction(one),
        _original(rule, one),
        _weighted(rule, one),
        _contrast(rule, one),
        _body_part(rule, one),
        _plane(rule, one),
    )


def _fine(
    rule: Role, one: AcceptedSeries, among: Sequence[AcceptedSeries], *, is_parted: bool
) -> tuple[Verdict, ...]:
    """The rules on how well it is shown."""
    return (
        _kernel(rule, one, is_parted=is_parted),
        _coverage(one, among),
        _fineness(rule, one, among),
        _field_of_view(one, among),
    )


def _frame(one: AcceptedSeries, main: AcceptedSeries | None) -> Verdict:
    is_same = main is None or share_frame(main, one)
    found = "that of the main series" if is_same else "another than the main series"
    return Verdict("frame of reference", int(not is_same), found)


def _correction(one: AcceptedSeries) -> Verdict:
    """Attenuation correction of a PET: by its header, and where that is silent, by its look."""
    name = "attenuation correction"
    first = _first(one)
    if first is None or first.file.pet is None or not isinstance(one.content, Stack):
        return Verdict(name, 0, "not a PET")
    stated = first.file.pet.corrections
    if "ATTN" in stated:
        return Verdict(name, 0, "stated")
    if stated:
        return Verdict(name, 2, "not among those stated")
    if look.is_uncorrected(one.content):
        return Verdict(name, 2, "missing by the look of it: the skin is brighter than the core")
    return Verdict(name, 1, "not stated")


def _original(rule: Role, one: AcceptedSeries) -> Verdict:
    missing = [word for word in rule.image_type if word not in _image_type(one)]
    found = f"without {' '.join(missing)}" if missing else f"{' '.join(rule.image_type) or 'any'}"
    return Verdict("image type", len(missing), found)


def _weighted(rule: Role, one: AcceptedSeries) -> Verdict:
    found = _weighting(one)
    is_asked = rule.weighting is None or found == rule.weighting
    return Verdict("weighting", int(not is_asked), found or "not told by its times")


def _contrast(rule: Role, one: AcceptedSeries) -> Verdict:
    first = _first(one)
    found = "with" if first is not None and first.file.traits.has_contrast else "without"
    is_asked = rule.contrast in (None, found)
    return Verdict("contrast", int(not is_asked), f"{found} an agent named")


def _body_part(rule: Role, one: AcceptedSeries) -> Verdict:
    stated = body_part(one)
    asked = {part.upper() for part in rule.body_parts}
    if not asked or stated in asked:
        return Verdict("body part", 0, "as asked")
    return Verdict("body part", 2 if stated else 1, "another" if stated else "not stated")


def _plane(rule: Role, one: AcceptedSeries) -> Verdict:
    found = PLANES[one.geometry.world_axes[2]]
    return Verdict("plane", int(rule.plane not in (None, found)), found)


def _kernel(rule: Role, one: AcceptedSeries, *, is_parted: bool) -> Verdict:
    """By the look; not looked at where a rule before it has parted the series from all others."""
    name = "kernel"
    if rule.kernel is None or is_parted or one.modality != "CT":
        return Verdict(name, 0, "not asked for")
    found = look.kernel(one.content) if isinstance(one.content, Stack) else None
    penalty = 0 if found == rule.kernel else 1 if found is None else 2
    return Verdict(name, penalty, f"{found} by its noise" if found else "not to be told")


def _coverage(one: AcceptedSeries, among: Sequence[AcceptedSeries]) -> Verdict:
    best = max(coverage_mm(other.geometry) for other in among)
    found = coverage_mm(one.geometry)
    return Verdict("coverage", _steps(best / found, COVERAGE_STEP), f"{found:.0f} mm")


def _fineness(rule: Role, one: AcceptedSeries, among: Sequence[AcceptedSeries]) -> Verdict:
    """Distance of the slice spacing from what is preferred; the smallest by default."""
    found = one.geometry.spacing_mm[2]
    wanted = rule.slice_spacing_mm or min(other.geometry.spacing_mm[2] for other in among)
    ratio = max(found / wanted, wanted / found)
    return Verdict("slice spacing", _steps(ratio, SPACING_STEP), f"{found:.2f} mm")


def _field_of_view(one: AcceptedSeries, among: Sequence[AcceptedSeries]) -> Verdict:
    def width(geometry: Geometry) -> float:
        rows, columns, _ = (np.array(geometry.shape) * geometry.spacing_mm).tolist()
        return float(min(rows, columns))

    best, found = max(width(other.geometry) for other in among), width(one.geometry)
    return Verdict("field of view", _steps(best / found, COVERAGE_STEP), f"{found:.0f} mm")


def _steps(ratio: float, step: float) -> int:
    """How many times a ratio is larger than a step; what lies within one step is equal."""
    return math.floor(math.log(ratio) / math.log1p(step) + 1e-6)


def body_part(one: AcceptedSeries) -> str:
    """DICOM's Body Part Examined in upper case; empty where it states none, as a NIfTI file."""
    first = _first(one)
    return first.file.traits.body_part if first is not None else ""


def _first(one: AcceptedSeries) -> Slice | None:
    return one.content.slices[0] if isinstance(one.content, Stack) else None


def _image_type(one: AcceptedSeries) -> tuple[str, ...]:
    first = _first(one)
    return first.frame.image_type if first is not None else ()


def _weighting(one: AcceptedSeries) -> str:
    first = _first(one)
    return first.file.traits.weighting if first is not None else ""
