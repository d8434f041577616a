"""The series for a role: chosen for a reason, or refused with a list of what was there.

Only series that were accepted are candidates. A choice between equals is the user's: nothing is
taken because it came first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.config import Role
from medseg.core.study import Candidate
from medseg.errors import InputError, NoImageError, SeriesChoiceError, UnitError
from medseg.ingest.accept import AcceptedSeries, accept, named
from medseg.ingest.discover import discover
from medseg.ingest.rank import Ranked, against, exclusion, rank, share_frame

UNIT_FLAGS = ("no-suv", "not-hounsfield")
"""Flags that say why a series is not in the unit that its modality usually is in."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Every series of a source after a look at its headers.

    Attributes:
        accepted: Candidates.
        refused: The others: number, modality and why.
    """

    accepted: tuple[AcceptedSeries, ...]
    refused: tuple[tuple[int, str | None, InputError], ...]

    @property
    def modalities(self) -> set[str]:
        """What the series state; beside any, a NIfTI file is no candidate: it may be a mask."""
        stated = [one.modality for one in self.accepted] + [entry[1] for entry in self.refused]
        return {modality for modality in stated if modality is not None}


@dataclass(frozen=True, eq=False)
class Ranking:
    """Everything that was considered for a role.

    Attributes:
        role: Its name.
        rule: What it asks for.
        here: All series of the source.
        ranked: Series that fit, best first.
        excluded: Series of the right modality that cannot play the role, and why.
    """

    role: str
    rule: Role
    here: Judged
    ranked: tuple[Ranked, ...]
    excluded: tuple[tuple[AcceptedSeries, str], ...]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The record of them: those that fit, those that do not, those that were refused."""
        excluded = [
            Candidate(one.number, one.modality, None, f"not taken: {why}")
            for one, why in self.excluded
        ]
        refused = [
            Candidate(number, modality, None, f"refused: {error.problem}")
            for number, modality, error in self.here.refused
            if modality in (self.rule.modality, None)
        ]
        return (*(one.candidate for one in self.ranked), *excluded, *refused)


@dataclass(frozen=True, eq=False)
class Choice:
    """A series for a role, with the sentence that says why; None for an optional role unfilled."""

    series: AcceptedSeries | None
    reason: str


def judge(source: Path) -> Judged:
    """Look at the headers of everything in a source.

    Raises:
        SourceNotFoundError: There is nothing at the path.
    """
    accepted: list[AcceptedSeries] = []
    refused: list[tuple[int, str | None, InputError]] = []
    for found in discover(source).series:
        try:
            accepted.append(accept(found))
        except InputError as error:
            refused.append((found.number, found.modality, named(error, found.number)))
    return Judged(tuple(accepted), tuple(refused))


def consider(role: str, rule: Role, here: Judged, main: AcceptedSeries | None) -> Ranking:
    """Rank every series that could play a role.

    Args:
        role: Its name.
        rule: What it asks for.
        here: All series of the source.
        main: The series of the main role; None where it is the one that is looked for.
    """
    stated = [one for one in here.accepted if one.modality == rule.modality]
    if main is None and not here.modalities:
        stated = [one for one in here.accepted if one.is_nifti]
    reasons = [(one, exclusion(rule, one)) for one in stated]
    fitting = [one for one, why in reasons if why is None]
    excluded = tuple((one, why) for one, why in reasons if why is not None)
    return Ranking(role, rule, here, rank(rule, fitting, main), excluded)


def consider_chosen(role: str, rule: Role, here: Judged) -> Ranking:
    """Rank what lies at the path that the user chose for a role; one series is taken as it is."""
    ranking = consider(role, rule, here, None)
    if ranking.ranked:
        return ranking
    alone = [one for one, _ in ranking.excluded if one.unit == rule.unit]
    alone = alone or [one for one in here.accepted if one.is_nifti and not ranking.excluded]
    return Ranking(role, rule, here, rank(rule, alone, None), ()) if len(alone) == 1 else ranking


def pick(ranking: Ranking) -> Choice:
    """The best series.

    Raises:
        SeriesChoiceError: Several are equally good, or none fits a role that is required.
        UnitError: The series of the right modality are in another unit.
        InputError: The only series that would fit was refused.
    """
    role, rule, ranked = ranking.role, ranking.rule, ranking.ranked
    best = [one.series for one in ranked if one.rank == 1]
    # What a NIfTI file does not state cannot be compared, so two of them are always equal.
    if len(best) == 1 and (len(ranked) == 1 or not best[0].is_nifti):
        return Choice(best[0], f"{role}: series {best[0].number} {_why(ranking)}")
    if best:
        equals = [one.series for one in ranked] if best[0].is_nifti else best
        raise SeriesChoiceError(
            f"Several series fit the role {role} ({_asked(rule)}) equally well: {names(equals)}.",
            f"Choose one with --series {role}=PATH.",
        )
    if not rule.required:
        return Choice(None, f"{role}: no series fits ({_asked(rule)}).")
    raise _lack(ranking)


def in_frame(ranking: Ranking, choice: Choice, main: AcceptedSeries | None) -> Choice:
    """The choice, without an optional series that cannot be laid over the main one.

    Raises:
        SeriesChoiceError: A required series lies in another frame of reference.
    """
    if main is None or choice.series is None or share_frame(main, choice.series):
        return choice
    role, number = ranking.role, choice.series.number
    if ranking.rule.required:
        raise SeriesChoiceError(
            f"Series {number}, for the role {role}, lies in another frame of reference than the "
            "main series, so they cannot be laid over each other.",
            f"Choose series of one acquisition with --series {role}=PATH.",
        )
    return Choice(None, f"{role}: series {number} lies in another frame of reference.")


def listing(here: Judged) -> str:
    """What was there, in words: number, modality, shape, spacing."""
    refused = [
        f"series {number} ({modality or 'no modality'}, refused)"
        for number, modality, _ in here.refused
    ]
    accepted = [names([one]) for one in here.accepted]
    return ", ".join([*accepted, *refused]) or "no series"


def names(many: Sequence[AcceptedSeries]) -> str:
    """Series by number, modality, shape and spacing."""
    return ", ".join(
        f"series {one.number} ({one.modality or 'NIfTI'}, "
        f"{' x '.join(str(size) for size in one.geometry.shape)} of "
        f"{' x '.join(f'{mm:.3g}' for mm in one.geometry.spacing_mm)} mm)"
        for one in many
    )


def _why(ranking: Ranking) -> str:
    """Why the best series, as the end of a sentence."""
    best, rule, here = ranking.ranked[0].series, ranking.rule, ranking.here
    total = len(here.accepted) + len(here.refused)
    if best.is_nifti:
        return (
            f"is the only NIfTI file, taken as {_asked(rule)} because a NIfTI file states neither."
        )
    if len(ranking.ranked) > 1:
        by = against(*ranking.ranked[:2])
        second = ranking.ranked[1].series.number
        return f"ranks first of {len(ranking.ranked)}, before series {second} by {by}."
    if ranking.excluded:
        considered = len(ranking.excluded) + 1
        return f"is the only one of {considered} series of {rule.modality} that can be taken."
    return f"is the only {_asked(rule)} among {total} series."


def _asked(rule: Role) -> str:
    return f"{rule.modality} in {rule.unit.value}"


def _lack(ranking: Ranking) -> InputError:
    """Why a required role stays empty."""
    role, rule, here = ranking.role, ranking.rule, ranking.here
    in_unit = [entry for entry in ranking.excluded if entry[0].unit == rule.unit]
    if ranking.excluded and not in_unit:
        return _wrong_unit(role, rule, [one for one, _ in ranking.excluded])
    if ranking.excluded:
        reasons = "; ".join(f"{names([one])}: {why}" for one, why in ranking.excluded)
        return SeriesChoiceError(
            f"No series fits the role {role} ({_asked(rule)}). {reasons[:1].upper()}{reasons[1:]}.",
            f"Choose one with --series {role}=PATH, or change the role's rules in the protocol.",
        )
    candidates = [error for _, modality, error in here.refused if modality in (rule.modality, None)]
    if len(candidates) == 1:
        return candidates[0]
    if not here.accepted and not here.refused:
        return NoImageError(
            "The source holds no image: there is no DICOM series and no NIfTI file in it.",
            "Give a folder of DICOM files, a NIfTI file, or a folder of NIfTI files.",
        )
    return SeriesChoiceError(
        f"No series fits the role {role} ({_asked(rule)}); the study holds {listing(here)}.",
        f"Choose one with --series {role}=PATH, or see `medseg inspect` for what was refused.",
    )


def _wrong_unit(role: str, rule: Role, stated: Sequence[AcceptedSeries]) -> InputError:
    """A series of the right modality, in another unit; its flags say why."""
    reasons = {flag.message for one in stated for flag in one.flags if flag.code in UNIT_FLAGS}
    detail = f" {' '.join(sorted(reasons))}" if reasons else ""
    return UnitError(
        f"The role {role} needs intensities in {rule.unit.value}, and {names(stated)} "
        f"{'is' if len(stated) == 1 else 'are'} in another unit.{detail}",
        "Ask the archive for the original series with all its tags, or give another series with "
        f"--series {role}=PATH.",
    )
