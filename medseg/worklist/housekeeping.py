"""What may go from a folder of runs and from an inbox: never the latest result of a study."""

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medseg.formats.storage import age_seconds, fault_name
from medseg.inbox import Arrival, Inbox
from medseg.worklist import audit, batch, lease, records, work
from medseg.worklist.outcome import StudyOutcome

logger = logging.getLogger(__name__)

DAY_SECONDS = 86_400.0

STATE_DAYS = 30.0
"""What a source said of a study is kept so long after it: a slice that comes by then is known to be
a part, and is no study of its own."""


@dataclass(frozen=True)
class Removed:
    """How many of each went."""

    damaged: int
    superseded: int
    tables: int
    leases: int
    half_made: int


def keep_house(
    runs: Path, *, damaged_days: float, superseded_days: float, tables_days: float
) -> Removed:
    """Remove what is old, and what the dead left.

    Args:
        runs: Folder of the runs.
        damaged_days: Age of run folders that were no longer whole.
        superseded_days: Age of runs of which there is a later one of the same study.
        tables_days: Age of the tables of single worklists.

    Raises:
        OSError: Something cannot be removed.
    """
    if not runs.is_dir():
        return Removed(0, 0, 0, 0, 0)
    old = list(superseded(runs, superseded_days * DAY_SECONDS))
    removed = Removed(
        damaged=_remove_older(runs / work.DAMAGED, damaged_days),
        superseded=len(old),
        tables=_remove_older(runs / batch.FOLDER, tables_days),
        leases=lease.clear_orphans(runs),
        half_made=_remove_half_made(runs),
    )
    for row in old:
        _remove_run(runs, row)
    if old:
        batch.write_index(runs)
    return removed


@dataclass(frozen=True)
class InboxRemoved:
    """How many of each went from an inbox."""

    received: int
    states: int
    incoming: int


def keep_inbox(folder: Path, received_days: float | None) -> InboxRemoved:
    """Remove studies that were handled, and what the dead left; never one that is to be done.

    Args:
        folder: The inbox.
        received_days: Age of a study that was handled, since the last change to it; None keeps all.

    Raises:
        OSError: Something cannot be removed.
    """
    if not folder.is_dir():
        return InboxRemoved(0, 0, 0)
    place = Inbox(folder, None)  # names no study
    place.finish_removals()
    old = [
        one
        for one in place.arrivals()
        if one.handled
        and received_days is not None
        and one.quiet_seconds > received_days * DAY_SECONDS
    ]
    return InboxRemoved(
        received=sum(_is_removed(place, one) for one in old),
        states=place.clear_state(STATE_DAYS * DAY_SECONDS),
        incoming=place.clear_incoming(DAY_SECONDS),
    )


def _is_removed(place: Inbox, one: Arrival) -> bool:
    """Whether a study went; one that somebody else owns must not keep the others, nor be named."""
    try:
        return place.remove(one)
    except OSError as error:
        logger.warning("a study of the inbox cannot be removed (%s)", fault_name(error))
        return False


def superseded(runs: Path, older_seconds: float) -> Iterator[StudyOutcome]:
    """Runs that are so old, or gone, and have a later one of the same study."""
    seen: set[str] = set()
    for row in records.every(runs):  # the latest first
        run = runs / row.run
        if row.run and row.study_key in seen and (not run.exists() or _age(run) > older_seconds):
            yield row
        if row.run and row.study_key:
            seen.add(row.study_key)


def _remove_run(runs: Path, row: StudyOutcome) -> None:
    """Remove a run as it came: at once, so that there is none that is half."""
    away = runs / work.DAMAGED / f"{row.run}-{time.time_ns()}"
    away.parent.mkdir(exist_ok=True)
    if (runs / row.run).exists():
        (runs / row.run).rename(away)
    records.forget(runs, row)
    audit.append(runs, {"action": "remove", "fingerprint": row.fingerprint, "run": row.run})
    if away.exists():
        shutil.rmtree(away)


def _remove_older(folder: Path, days: float) -> int:
    old = [path for path in _inside(folder) if _age(path) > days * DAY_SECONDS]
    for path in old:
        shutil.rmtree(path)
    return len(old)


def _remove_half_made(runs: Path) -> int:
    """Remove what is being made by nobody."""
    removed = 0
    for path in _inside(runs / work.WORK):
        with lease.held(runs, path.name) as mine:
            if mine is not None:
                shutil.rmtree(path)
                removed += 1
    return removed


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _age(path: Path) -> float:
    return age_seconds(path) if path.exists() else 0.0
