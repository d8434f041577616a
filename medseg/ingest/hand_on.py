"""A study from its files to the folder from which the next stage reads it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medseg import config
from medseg.config import Protocol
from medseg.core.study import Study
from medseg.formats import handover
from medseg.formats.dicom_source import DicomSource, source_of, write_source
from medseg.formats.dicom_stack import Stack
from medseg.ingest import select
from medseg.ingest.accept import AcceptedSeries
from medseg.ingest.choice import judge


def hand_on(
    source: Path,
    folder: Path,
    protocol: Protocol | None,
    overrides: Mapping[str, Path],
    secret: bytes | None = None,
) -> Protocol:
    """Choose the series, read their voxels, and write the study.

    Args:
        source: Folder of DICOM files, one NIfTI file, or a folder of NIfTI files.
        folder: Where `handover` writes.
        protocol: What to do; None chooses by what the study holds.
        overrides: Role to the file or folder that the user chose for it.
        secret: The site's secret for pseudonyms, or None.

    Returns:
        The protocol.

    Raises:
        SourceNotFoundError: There is nothing at a path.
        UnitError: As `select.refuse_doubtful`, where no protocol was given.
        InputError: As `select.choose_protocol` and `select.read_chosen`.
    """
    here, picked = judge(source), select.judge_each(overrides)
    why = "asked for by the user"
    is_named = protocol is not None
    if protocol is None:
        known = [config.load_protocol(name) for name in config.embedded("protocols")]
        protocol, why = select.choose_protocol(here, known, picked)
    study, chosen = select.read_chosen(here, protocol, picked, secret)
    if not is_named:
        select.refuse_doubtful(study, picked)
    study = _with_source(study, folder, protocol.main_role, chosen[protocol.main_role])
    handover.write_study(folder, replace(study, choice={"protocol": why, **study.choice}))
    return protocol


def _with_source(study: Study, folder: Path, role: str, accepted: AcceptedSeries) -> Study:
    """Hand on what DICOM objects need of the main series; flag where there can be none."""
    if not isinstance(accepted.content, Stack):
        return study
    found = source_of(accepted.content)
    if isinstance(found, DicomSource):
        write_source(folder, role, found)
        return study
    series = study.series[role]
    flagged = replace(series, flags=(*series.flags, found))
    return replace(study, series={**study.series, role: flagged})
