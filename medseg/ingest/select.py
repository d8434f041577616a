"""A study and its volumes: every role of a protocol filled, with the reason.

`choice` finds the series for one role; here the roles of a protocol, and protocols, are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.config import Protocol, Role
from medseg.core.study import QualityFlag, Series, Study
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import InputError, NotAnImageError, SeriesChoiceError, UnitError
from medseg.ingest.accept import AcceptedSeries, NiftiFile, read_series
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
from medseg.ingest.look import is_mask, unit_doubt
from medseg.ingest.pseudonym import pseudonyms
from medseg.ingest.rank import body_part

UNIT_DOUBTFUL = "unit-doubtful"
"""Flag of a NIfTI file whose values do not look like the unit that they are taken to be in."""


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
        NotAnImageError: It is a mask.
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


def refuse_doubtful(study: Study, overrides: Mapping[str, Judged]) -> None:
    """Refuse a study that was taken for what it does not look like, where the user named nothing.

    Args:
        study: Read under a protocol that was chosen by what the source holds.
        overrides: As in `read_chosen`; the user vouches for these.

    Raises:
        UnitError: The unit of a series that the user did not choose is doubtful.
    """
    for role, series in study.series.items():
        doubts = _doubts(series.flags)
        if doubts and role not in overrides:
            raise UnitError(
                f"Series {series.number}, a NIfTI file, was taken for the role {role}, as no "
                f"protocol was named. {doubts[0]} So nothing was measured.",
                "Say what it is for with --protocol NAME (see `medseg protocols`); what still "
                "looks doubtful is then flagged on the report.",
            )


def explain(here: Judged, protocol: Protocol) -> Explanation:
    """Say how the roles of a protocol would be filled; a refusal is part of the answer.

    Voxels are read of NIfTI files alone, as their values say what no header does.
    """
    rankings: dict[str, Ranking] = {}
    choices: dict[str, Choice] = {}
    refusal: InputError | None = None
    doubts: dict[str, str] = {}
    try:
        _fill(here, protocol, {}, rankings, choices)
        for role, choice in choices.items():
            if choice.series is not None and choice.series.is_nifti:
                flags = _read(choice.series, protocol.roles[role]).flags
                doubts[role] = "".join(f" {message}" for message in _doubts(flags))
    except InputError as error:
        refusal = error
    return Explanation(
        protocol.name,
        {role: choice.reason + doubts.get(role, "") for role, choice in choices.items()},
        {role: ranking.candidates for role, ranking in rankings.items()},
        refusal,
    )


def _doubts(flags: Sequence[QualityFlag]) -> list[str]:
    """What is said of a unit that is doubtful."""
    return [flag.message for flag in flags if flag.code == UNIT_DOUBTFUL]


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
        NotAnImageError: They are those of a mask.
        UnitError: They cannot be in that unit.
        InputError: As `accept.read_series`.
    """
    series, content = read_series(one), one.content
    if not isinstance(content, NiftiFile):
        return series
    # A phantom may have few whole numbers too, and is not stored as whole numbers.
    if content.header.dtype.kind in "iu" and is_mask(series.volume.data):
        raise NotAnImageError(
            f"Series {one.number} is a NIfTI file of a few whole numbers, stored as such: a mask "
            "and no image that could be measured.",
            "Give the image, and the mask with --mask FILE. If this is an image that was rounded, "
            "export it again without.",
        )
    return series if series.volume.unit == rule.unit else _taken_to_be(series, rule.unit)


def _taken_to_be(series: Series, unit: IntensityUnit) -> Series:
    """A series that states no unit, in the one that a role needs.

    Raises:
        UnitError: It cannot be in that unit.
    """
    doubt = unit_doubt(series.volume.data, unit)
    if doubt is not None and doubt.is_certain:
        raise UnitError(
            f"Series {series.number} is a NIfTI file, which does not state its unit, and cannot be "
            f"in {unit.value}: {doubt.reason}.",
            "If it is a PET, convert it to SUV with the injected dose and the body weight. If not, "
            "say what it is for with --protocol NAME (see `medseg protocols`).",
        )
    message = f"A NIfTI file does not state its unit; its intensities are taken to be {unit.value}."
    flags = [QualityFlag("unit-assumed", message)]
    if doubt is not None:
        message = (
            f"The intensities of the NIfTI file may not be {unit.value}: {doubt.reason}. If they "
            "are not, what is found and measured is wrong."
        )
        flags.append(QualityFlag(UNIT_DOUBTFUL, message))
    volume = Volume(series.volume.data, series.volume.geometry, unit)
    return replace(series, volume=volume, flags=(*series.flags, *flags))
