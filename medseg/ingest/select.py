"""A study and its volumes: every role of a protocol filled, with the reason.

`choice` finds the series for one role; here the roles of a protocol, and protocols, are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.config import Protocol, Role
from medseg.core.study import QualityFlag, Series, Study
from medseg.core.volume import Volume
from medseg.errors import InputError, SeriesChoiceError, UnitError
from medseg.ingest.accept import AcceptedSeries, read_series
from medseg.ingest.choice import (
    Choice,
    Judged,
    Ranking,
    consider,
    consider_chosen,
    in_frame,
    judge,
    listing,
    pick,
)
from medseg.ingest.inspection import Explanation
from medseg.ingest.look import not_in_unit
from medseg.ingest.pseudonym import pseudonyms
from medseg.ingest.rank import body_part


def read_study(
    source: Path,
    protocol: Protocol,
    overrides: Mapping[str, Path],
    secret: bytes | None = None,
) -> Study:
    """The study at a path; else as `read_chosen`.

    Raises:
        SourceNotFoundError: There is nothing at a path.
    """
    return read_chosen(judge(source), protocol, judge_each(overrides), secret)[0]


def judge_each(overrides: Mapping[str, Path]) -> dict[str, Judged]:
    """All series at the path that the user chose for a role.

    Raises:
        SourceNotFoundError: There is nothing at a path.
    """
    return {role: judge(path) for role, path in overrides.items()}


def read_chosen(
    here: Judged,
    protocol: Protocol,
    overrides: Mapping[str, Judged],
    secret: bytes | None = None,
) -> tuple[Study, Mapping[str, AcceptedSeries]]:
    """Choose a series for every role and read its voxels.

    Args:
        here: All series of the source, as `choice.judge` finds them.
        protocol: Its roles say what is needed.
        overrides: Role to all series at the path that the user chose for it.
        secret: The site's secret for pseudonyms, or None.

    Returns:
        The study, and for each role what was read.

    Raises:
        SeriesChoiceError: No series, or several, fit a role that is required.
        UnitError: The series that fits is not in the unit that the role needs.
        InputError: The chosen series cannot be read, or the only one that would fit was refused.
    """
    rankings: dict[str, Ranking] = {}
    choices: dict[str, Choice] = {}
    _fill(here, protocol, overrides, rankings, choices)
    chosen = {role: one.series for role, one in choices.items() if one.series is not None}
    series = {role: _read(one, protocol.roles[role]) for role, one in chosen.items()}
    study = Study(
        series,
        {role: choice.reason for role, choice in choices.items()},
        {role: ranking.candidates for role, ranking in rankings.items()},
        *pseudonyms(secret, chosen.values()),
    )
    return study, chosen


def choose_protocol(
    here: Judged, protocols: Sequence[Protocol], overrides: Mapping[str, Judged] | None = None
) -> tuple[Protocol, str]:
    """The protocol whose required roles the source, or what the user chose for them, can fill.

    A protocol that is chosen for some parts of the body alone (`Protocol.chosen_for`) needs a main
    series that states one of them, and comes after one that is for all, such as a PET's.

    Args:
        here: All series of the source.
        protocols: What there is to choose from.
        overrides: As in `read_chosen`.

    Returns:
        The protocol, and one sentence that says why it was chosen.

    Raises:
        SeriesChoiceError: Several protocols fit equally well, or none does.
        InputError: None fits; where there is only one, what it lacks.
    """
    filled: dict[str, int] = {}
    lacks: list[InputError] = []
    unasked: list[str] = []
    for protocol in protocols:
        choices: dict[str, Choice] = {}
        try:
            _fill(here, protocol, overrides or {}, {}, choices)
        except InputError as error:
            lacks.append(error)
            continue
        if not _is_for(protocol, choices[protocol.main_role].series):
            lacks.append(_unstated(protocol))
            unasked.append(protocol.name)
            continue
        filled[protocol.name] = sum(choice.series is not None for choice in choices.values())
    best = [name for name, count in filled.items() if count == max(filled.values())]
    general = [one.name for one in protocols if one.name in best and not one.chosen_for]
    best = general or best
    if len(best) == 1:
        chosen = next(protocol for protocol in protocols if protocol.name == best[0])
        why = "it is the only one" if len(filled) == 1 else "it uses the most series of those"
        because = f"{chosen.name}: {why} whose roles the study can fill."
        if unasked:
            because += f" {', '.join(unasked)} would fit too, where asked for by name."
        return chosen, because
    if best:
        raise SeriesChoiceError(
            f"Several protocols fit the study equally well: {', '.join(sorted(best))}.",
            "Choose one with --protocol NAME.",
        )
    if len(lacks) == 1 or not here.accepted:
        raise lacks[0]
    advice = "Choose one with --protocol NAME and its series with --series ROLE=PATH."
    if unasked:
        advice += f" {', '.join(unasked)} would fit, but must be asked for by name."
    raise SeriesChoiceError(
        f"No protocol fits the study, which holds {listing(here)}.",
        advice,
    )


def _is_for(protocol: Protocol, main: AcceptedSeries | None) -> bool:
    """Whether a protocol may be chosen unasked for a study with this main series."""
    if protocol.experimental:
        return False
    parts = {part.upper() for part in protocol.chosen_for}
    return not parts or (main is not None and body_part(main) in parts)


def _unstated(protocol: Protocol) -> InputError:
    if protocol.experimental:
        return SeriesChoiceError(
            f"The protocol {protocol.name} is experimental, so it was not chosen unasked.",
            f"Choose it with --protocol {protocol.name} if its report will be read as such.",
        )
    parts = ", ".join(protocol.chosen_for)
    return SeriesChoiceError(
        f"The protocol {protocol.name} is for a part of the body ({parts}) that the study does not "
        "state, so it was not chosen.",
        f"If the study shows that part, choose it with --protocol {protocol.name}.",
    )


def explain(here: Judged, protocol: Protocol) -> Explanation:
    """Say how the roles of a protocol would be filled; a refusal is part of the answer."""
    rankings: dict[str, Ranking] = {}
    choices: dict[str, Choice] = {}
    try:
        _fill(here, protocol, {}, rankings, choices)
    except InputError as error:
        refusal: InputError | None = error
    else:
        refusal = None
    return Explanation(
        protocol.name,
        {role: choice.reason for role, choice in choices.items()},
        {role: ranking.candidates for role, ranking in rankings.items()},
        refusal,
    )


def _fill(
    here: Judged,
    protocol: Protocol,
    overrides: Mapping[str, Judged],
    rankings: dict[str, Ranking],
    choices: dict[str, Choice],
) -> None:
    """Fill the roles, the main one first: the others must lie in its frame.

    Args:
        here: All series of the source.
        protocol: Its roles.
        overrides: As in `read_chosen`.
        rankings: Gets what was considered for each role, so that a refusal can be explained.
        choices: Gets the choice for each role.

    Raises:
        SeriesChoiceError: The user chose for a role that the protocol does not have.
        InputError: A required role stays empty.
    """
    unknown = sorted(set(overrides) - set(protocol.roles))
    if unknown:
        raise SeriesChoiceError(
            f"The protocol has no role named {', '.join(unknown)}.",
            f"Its roles are {', '.join(protocol.roles)}.",
        )
    main: AcceptedSeries | None = None
    for role, rule in protocol.roles.items():
        is_chosen = role in overrides
        if is_chosen:
            ranking = consider_chosen(role, rule, overrides[role])
        else:
            ranking = consider(role, rule, here, main)
        rankings[role] = ranking
        choice = in_frame(ranking, pick(ranking), main)
        if is_chosen and choice.series is not None:
            reason = f"{role}: series {choice.series.number} at the path that the user chose."
            choice = Choice(choice.series, reason)
        choices[role] = choice
        main = main or choice.series


def _read(one: AcceptedSeries, rule: Role) -> Series:
    """The voxels; those of a NIfTI file are taken to be in the role's unit, and flagged.

    Raises:
        UnitError: They cannot be in that unit.
        InputError: As `accept.read_series`.
    """
    series = read_series(one)
    if not one.is_nifti or series.volume.unit == rule.unit:
        return series
    why_not = not_in_unit(series.volume.data, rule.unit)
    if why_not is not None:
        raise UnitError(
            f"Series {one.number} is a NIfTI file, which does not state its unit, and cannot be in "
            f"{rule.unit.value}: {why_not}.",
            "Choose what it is for with --protocol NAME (see `medseg protocols`), or convert it "
            f"to {rule.unit.value}.",
        )
    message = (
        f"A NIfTI file does not state its unit; its intensities are taken to be {rule.unit.value}."
    )
    volume = Volume(series.volume.data, series.volume.geometry, rule.unit)
    flags = (*series.flags, QualityFlag("unit-assumed", message))
    return replace(series, volume=volume, flags=flags)
