"""One study of a worklist, from its content hash to its run folder: done once, by one."""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from medseg import batch_table, config, manifest
from medseg.config import ModelCard
from medseg.errors import MedsegError, ResourceError, RunFolderError, SourceNotFoundError
from medseg.formats.storage import fault_name
from medseg.run_folder import RUN_RECORD, machine_faults
from medseg.worklist import audit, lease, records
from medseg.worklist.child import StudyProcess
from medseg.worklist.fingerprint import ListedStudy, fingerprint
from medseg.worklist.lease import Lease
from medseg.worklist.outcome import Outcome, StudyOutcome

logger = logging.getLogger(__name__)

WORK = ".work"
"""Folder beside the runs: what is being made, in a folder that its fingerprint names; it is of who
has the lease."""

DAMAGED = ".damaged"
"""Folder beside the runs: run folders that were no longer whole, until housekeeping."""

NAME_DIGITS = 16
"""Of the fingerprint, in the name of a run folder."""


LOOKS_AGAIN_SECONDS = 1.0

LOOKED_AT = frozenset({Outcome.ALREADY_DONE, Outcome.BUSY})
"""Nothing was done, so nothing is noted; but what is done and has no record, since who did it was
killed before he could note it."""


def run_name(digest: str) -> str:
    """Name of a study's run folder among the runs."""
    return digest[:NAME_DIGITS]


def do_study(
    study: ListedStudy,
    runs: Path,
    process: StudyProcess,
    *,
    secret: bytes | None = None,
    limit_seconds: float = 3600,
) -> StudyOutcome:
    """Do a study, unless it is done.

    Args:
        study: What is to be done.
        runs: Folder of the run folders, on one file system; made where it is missing.
        process: In which the study is delineated.
        secret: The site's.
        limit_seconds: After which the study is stopped.

    Returns:
        What became of it, for any fault that is the study's, the settings', the model's or ours.

    Raises:
        ResourceError: The machine is at fault; the same call may succeed later.
    """
    begin = time.monotonic()
    digest = ""
    try:
        with _faults():
            digest = fingerprint(study, secret)
            row = _known(study.number, digest, runs)
            if row is None:
                row = _do(study, digest, runs, process, limit_seconds, secret)
    except ResourceError:
        logger.warning("study %d: the machine is at fault", study.number)
        raise
    except MedsegError as error:
        row = StudyOutcome.failed(study.number, digest, error)
    logger.info("study %d: %s", study.number, row.outcome)
    row = replace(row, seconds=round(time.monotonic() - begin, 3))
    if not row.ended and (row.outcome not in LOOKED_AT or _is_unnoted(row, runs)):
        row = replace(row, ended=datetime.now(UTC).isoformat(timespec="seconds"))
        note(row, runs)
    return row


def note(row: StudyOutcome, runs: Path) -> None:
    """Write what became of a study into its record and into the audit log.

    Raises:
        ResourceError: The disk is full.
    """
    with _faults():
        # The record last: without it, who finds the run notes it in both.
        audit.append(runs, audit.about(row, models_of(row, runs)))
        if row.fingerprint:
            records.write(runs, row)


def models_of(row: StudyOutcome, runs: Path) -> Mapping[str, str]:
    """Name to SHA-256 of the weights that a run was made with; none without a run."""
    if not row.run:
        return {}
    record = json.loads((runs / row.run / RUN_RECORD).read_bytes())
    return {str(name): str(digest) for name, digest in record["models"].items()}


def do_study_after_others(
    study: ListedStudy,
    runs: Path,
    process: StudyProcess,
    busy: StudyOutcome,
    *,
    secret: bytes | None = None,
    limit_seconds: float = 3600,
) -> StudyOutcome:
    """Wait for who is at a study, and do it if it is not done then; otherwise as `do_study`.

    Args:
        study: As of `do_study`.
        runs: As of `do_study`.
        process: As of `do_study`.
        secret: As of `do_study`.
        busy: What `do_study` returned.
        limit_seconds: Also the longest that is waited for the other.
    """
    begin = time.monotonic()
    while not lease.is_free(runs, busy.fingerprint) and time.monotonic() - begin < limit_seconds:
        time.sleep(LOOKS_AGAIN_SECONDS)
    return do_study(study, runs, process, secret=secret, limit_seconds=limit_seconds)


def fingerprint_if_readable(study: ListedStudy, secret: bytes | None) -> str:
    """The fingerprint of a study that failed; "" where its files cannot be read."""
    try:
        with _faults():
            return fingerprint(study, secret)
    except MedsegError:
        return ""


@contextmanager
def _faults() -> Iterator[None]:
    """Raise what the file system says as an error of ours, which names no path."""
    try:
        with machine_faults():
            yield
    except OSError as error:
        raise RunFolderError(
            f"The folder of the runs cannot be used ({fault_name(error)})"
            ", so the study was not done.",
            "Check that it is a folder that you may write to, on one file system.",
        ) from None


def _is_unnoted(row: StudyOutcome, runs: Path) -> bool:
    """Whether a study is done, and no record says so."""
    if row.outcome is not Outcome.ALREADY_DONE:
        return False
    known = records.read(runs, row.fingerprint)
    return known is None or not known.run


def _known(number: int, digest: str, runs: Path) -> StudyOutcome | None:
    """What is known of a study without doing it; None where it is to be done."""
    run = runs / run_name(digest)
    if run.is_dir():
        if manifest.is_whole(run, digest):
            return _row(number, digest, Outcome.ALREADY_DONE, run)
        return None
    before = records.read(runs, digest)
    if before is not None and before.outcome is Outcome.REFUSED:
        return replace(before, number=number)
    return None


def _do(
    study: ListedStudy,
    digest: str,
    runs: Path,
    process: StudyProcess,
    limit_seconds: float,
    secret: bytes | None,
) -> StudyOutcome:
    """Do a study that is not done, if nobody else is at it."""
    runs.mkdir(parents=True, exist_ok=True)
    with lease.held(runs, digest) as mine:
        if mine is None:
            return StudyOutcome(study.number, digest, Outcome.BUSY)
        # Another may have finished it between the look and the lease.
        known = _known(study.number, digest, runs)
        if known is not None:
            return known
        run = runs / run_name(digest)
        outcome = Outcome.REDONE if run.exists() else Outcome.DONE
        work = runs / WORK / digest
        _clear(work)  # what an owner left who was killed
        work.mkdir(parents=True)
        try:
            process.delineate(study, work / "run", digest, limit_seconds)
            if fingerprint(study, secret, _own_card(study, work / "run")) != digest:
                raise ResourceError(
                    "Files of the study or the card of its model came or changed while it was "
                    "done, so this result was dropped.",
                    "Nothing is to be done: it is tried again.",
                )
            _publish(work / "run", run, mine)
        except SourceNotFoundError:
            # It was there to be hashed, so the study is not at fault, and no refusal is kept.
            raise ResourceError(
                "Files of the study went away while it was done, so nothing of it was kept.",
                "Check that the storage is there; the next worklist tries it again.",
            ) from None
        finally:
            _clear(work)
        return _row(study.number, digest, outcome, run)


def _own_card(study: ListedStudy, run: Path) -> ModelCard | None:
    """The card of the user's that a run was made with; the file may be another again by now."""
    if study.protocol is None or not config.is_path(study.protocol.segment.model):
        return None
    cards = json.loads((run / RUN_RECORD).read_bytes())["cards"]
    return next((config.parse(ModelCard, card) for card in cards.values()), None)


def _publish(made: Path, run: Path, mine: Lease) -> None:
    """Make what was made the run folder; one that is damaged is moved away first."""
    if not mine.is_held():
        raise ResourceError(
            "The machine stood still for so long that another took the study over, so this result "
            "was dropped.",
            "Nothing is lost: the next worklist finds what the other made.",
        )
    if run.exists():
        away = run.parent / DAMAGED
        away.mkdir(exist_ok=True)
        run.rename(away / f"{run.name}-{time.time_ns()}")
    made.rename(run)


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _row(number: int, digest: str, outcome: Outcome, run: Path) -> StudyOutcome:
    """The row of a study that has a run folder."""
    (about,) = batch_table.collect([run], "studies")
    return StudyOutcome(
        number,
        digest,
        outcome,
        run=run.name,
        study_key=str(about["study_key"] or ""),
        patient_key=str(about["patient_key"] or ""),
        protocol=str(about["protocol"]),
        lesions=int(str(about["lesions"])),
        organs=int(str(about["organs"])),
        flags=tuple(str(about["flags"]).split()),
        peak_memory_mib=float(str(about["peak_memory_mib"])),
    )
