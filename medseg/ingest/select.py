"""Which series plays which role of a protocol, and why.

Only series that were accepted are candidates. A choice between equals is the user's: nothing is
taken because it came first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.config import Protocol, Role
from medseg.core.study import QualityFlag, Series, Study
from medseg.core.volume import Volume
from medseg.errors import InputError, NoImageError, SeriesChoiceError, UnitError
from medseg.ingest.accept import AcceptedSeries, accept, named, read_series
from medseg.ingest.discover import discover

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
class Choice:
    """A series for a role, with the sentence that says why; None for an optional role unfilled."""

    series: AcceptedSeries | None
    reason: str


def read_study(source: Path, protocol: Protocol, overrides: Mapping[str, Path]) -> Study:
    """Choose a series for every role and read its voxels.

    Args:
        source: Folder of DICOM files, one NIfTI file, or a folder of NIfTI files.
        protocol: Its roles say what is needed.
        overrides: Role to the file or folder that the user chose for it.

    Raises:
        SourceNotFoundError: There is nothing at a path.
        SeriesChoiceError: No series, or several, fit a role that is required.
        UnitError: The series that fits is not in the unit that the role needs.
        InputError: The chosen series cannot be read, or the only one that would fit was refused.
    """
    unknown = sorted(set(overrides) - set(protocol.roles))
    if unknown:
        raise SeriesChoiceError(
            f"The protocol has no role named {', '.join(unknown)}.",
            f"Its roles are {', '.join(protocol.roles)}.",
        )
    chosen = _choices(_judge(source), protocol, overrides)
    series = {
        role: _read(choice.series, protocol.roles[role])
        for role, choice in chosen.items()
        if choice.series is not None
    }
    return Study(series, {role: choice.reason for role, choice in chosen.items()})


def choose_protocol(source: Path, protocols: Sequence[Protocol]) -> tuple[Protocol, str]:
    """The protocol whose required roles the source can fill.

    Args:
        source: As for `read_study`.
        protocols: What there is to choose from.

    Returns:
        The protocol, and one sentence that says why it was chosen.

    Raises:
        SeriesChoiceError: Several protocols fit equally well, or none does.
        InputError: None fits; where there is only one, what it lacks.
    """
    here = _judge(source)
    filled: dict[str, int] = {}
    lacks: list[InputError] = []
    for protocol in protocols:
        try:
            choices = _choices(here, protocol, {})
        except InputError as error:
            lacks.append(error)
            continue
        filled[protocol.name] = sum(choice.series is not None for choice in choices.values())
    best = [name for name, count in filled.items() if count == max(filled.values())]
    if len(best) == 1:
        chosen = next(protocol for protocol in protocols if protocol.name == best[0])
        why = "it is the only one" if len(filled) == 1 else "it uses the most series of those"
        return chosen, f"{chosen.name}: {why} whose roles the study can fill."
    if best:
        raise SeriesChoiceError(
            f"Several protocols fit the study equally well: {', '.join(sorted(best))}.",
            "Choose one with --protocol NAME.",
        )
    if len(lacks) == 1 or not here.accepted:
        raise lacks[0]
    raise SeriesChoiceError(
        f"No protocol fits the study, which holds {_listing(here)}.",
        "Choose one with --protocol NAME and its series with --series ROLE=PATH.",
    )


def _judge(source: Path) -> Judged:
    """Look at the headers of everything in a source."""
    accepted: list[AcceptedSeries] = []
    refused: list[tuple[int, str | None, InputError]] = []
    for found in discover(source).series:
        try:
            accepted.append(accept(found))
        except InputError as error:
            refused.append((found.number, found.modality, named(error, found.number)))
    return Judged(tuple(accepted), tuple(refused))


def _choices(here: Judged, protocol: Protocol, overrides: Mapping[str, Path]) -> dict[str, Choice]:
    """A choice for every role, the main one first: the others must lie in its frame."""
    chosen: dict[str, Choice] = {}
    main: AcceptedSeries | None = None
    for role, rule in protocol.roles.items():
        if role in overrides:
            choice = _overridden(role, rule, overrides[role])
        else:
            choice = _choose(role, rule, here, main)
        if main is None:
            main = choice.series
        elif choice.series is not None and not _share_frame(main, choice.series):
            choice = _in_another_frame(role, rule, choice.series.number)
        chosen[role] = choice
    return chosen


def _share_frame(one: AcceptedSeries, other: AcceptedSeries) -> bool:
    """Whether equal coordinates may be the same place: no two known frames that differ."""
    frames = {one.geometry.frame_of_reference, other.geometry.frame_of_reference}
    return len(frames - {None}) < 2


def _in_another_frame(role: str, rule: Role, number: int) -> Choice:
    """An optional series that cannot be laid over the main one is left out."""
    if rule.required:
        raise SeriesChoiceError(
            f"Series {number}, for the role {role}, lies in another frame of reference than the "
            "main series, so they cannot be laid over each other.",
            f"Choose series of one acquisition with --series {role}=PATH.",
        )
    return Choice(None, f"{role}: series {number} lies in another frame of reference.")


def _choose(role: str, rule: Role, here: Judged, main: AcceptedSeries | None) -> Choice:
    """The one series that fits a role; where several do, the one in the main series' frame."""
    stated = [one for one in here.accepted if one.modality == rule.modality]
    fitting = [one for one in stated if one.unit == rule.unit]
    if main is None and not here.modalities:
        fitting = [one for one in here.accepted if one.is_nifti]
    if len(fitting) > 1 and main is not None:
        fitting = [one for one in fitting if _share_frame(main, one)] or fitting
    if len(fitting) == 1:
        return Choice(fitting[0], _reason(role, rule, fitting[0], here))
    if not fitting and not rule.required:
        return Choice(None, f"{role}: no series fits ({rule.modality} in {rule.unit.value}).")
    if fitting:
        raise SeriesChoiceError(
            f"Several series fit the role {role} ({rule.modality} in {rule.unit.value}) equally "
            f"well: {_names(fitting)}.",
            f"Choose one with --series {role}=PATH.",
        )
    raise _lack(role, rule, here, stated)


def _lack(role: str, rule: Role, here: Judged, stated: Sequence[AcceptedSeries]) -> InputError:
    """Why a required role stays empty."""
    if stated:
        return _wrong_unit(role, rule, stated)
    candidates = [error for _, modality, error in here.refused if modality in (rule.modality, None)]
    if len(candidates) == 1:
        return candidates[0]
    if not here.accepted and not here.refused:
        return NoImageError(
            "The source holds no image: there is no DICOM series and no NIfTI file in it.",
            "Give a folder of DICOM files, a NIfTI file, or a folder of NIfTI files.",
        )
    return SeriesChoiceError(
        f"No series fits the role {role} ({rule.modality} in {rule.unit.value}); the study holds "
        f"{_listing(here)}.",
        f"Choose one with --series {role}=PATH, or see `medseg inspect` for what was refused.",
    )


def _wrong_unit(role: str, rule: Role, stated: Sequence[AcceptedSeries]) -> InputError:
    """A series of the right modality, in another unit; its flags say why."""
    reasons = {flag.message for one in stated for flag in one.flags if flag.code in UNIT_FLAGS}
    detail = f" {' '.join(sorted(reasons))}" if reasons else ""
    return UnitError(
        f"The role {role} needs intensities in {rule.unit.value}, and {_names(stated)} "
        f"{'is' if len(stated) == 1 else 'are'} in another unit.{detail}",
        "Ask the archive for the original series with all its tags, or give another series with "
        f"--series {role}=PATH.",
    )


def _overridden(role: str, rule: Role, path: Path) -> Choice:
    """The series at the path that the user chose."""
    there = _judge(path)
    stated = [one for one in there.accepted if one.modality == rule.modality]
    candidates = stated or [one for one in there.accepted if one.is_nifti]
    fitting = [one for one in candidates if one.is_nifti or one.unit == rule.unit]
    if len(fitting) == 1:
        number = fitting[0].number
        return Choice(fitting[0], f"{role}: series {number} at the path that the user chose.")
    if len(fitting) > 1:
        raise SeriesChoiceError(
            f"The path chosen for the role {role} holds several series that fit: "
            f"{_names(fitting)}.",
            "Give the path of one series.",
        )
    raise _lack(role, rule, there, stated)


def _reason(role: str, rule: Role, one: AcceptedSeries, here: Judged) -> str:
    """Why this series, in one sentence without a path."""
    total = len(here.accepted) + len(here.refused)
    if one.is_nifti:
        return (
            f"{role}: series {one.number}, the only NIfTI file, taken as {rule.modality} in "
            f"{rule.unit.value} because a NIfTI file states neither."
        )
    return (
        f"{role}: series {one.number} is the only {rule.modality} in {rule.unit.value} among "
        f"{total} series."
    )


def _read(one: AcceptedSeries, rule: Role) -> Series:
    """The voxels; those of a NIfTI file are taken to be in the role's unit, and flagged."""
    series = read_series(one)
    if not one.is_nifti or series.volume.unit == rule.unit:
        return series
    message = (
        f"A NIfTI file does not state its unit; its intensities are taken to be {rule.unit.value}."
    )
    volume = Volume(series.volume.data, series.volume.geometry, rule.unit)
    flags = (*series.flags, QualityFlag("unit-assumed", message))
    return replace(series, volume=volume, flags=flags)


def _listing(here: Judged) -> str:
    """What was there, in words: number, modality, shape."""
    refused = [
        f"series {number} ({modality or 'no modality'}, refused)"
        for number, modality, _ in here.refused
    ]
    accepted = [_names([one]) for one in here.accepted]
    return ", ".join([*accepted, *refused]) or "no series"


def _names(many: Sequence[AcceptedSeries]) -> str:
    return ", ".join(
        f"series {one.number} ({one.modality or 'NIfTI'}, "
        f"{' x '.join(str(size) for size in one.geometry.shape)})"
        for one in many
    )
