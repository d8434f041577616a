"""What became of each study, one small file a study, so that it outlives the worklist.

A study that was refused is not tried again unchanged; the page of all studies is made from these.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from medseg import run_folder
from medseg.worklist.outcome import Outcome, Sent, StudyOutcome

FOLDER = ".records"


def write(runs: Path, row: StudyOutcome) -> None:
    """Replace the record of a study.

    Raises:
        OSError: The folder cannot be written.
    """
    path = _path(runs, row.fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    with run_folder.whole_file(path) as beside:
        beside.write_text(json.dumps(asdict(row), indent=1) + "\n", encoding="utf-8")


def read(runs: Path, fingerprint: str) -> StudyOutcome | None:
    """The record of a study; None where there is none that can be read."""
    return _read(_path(runs, fingerprint))


def note_sent(runs: Path, row: StudyOutcome) -> None:
    """Add to the record of a study whether a PACS has its objects.

    Raises:
        OSError: The folder cannot be written.
    """
    known = read(runs, row.fingerprint)
    if known is not None and known.sent is not row.sent:
        write(runs, replace(known, sent=row.sent))


def forget(runs: Path, row: StudyOutcome) -> None:
    """Remove the record of a study."""
    _path(runs, row.fingerprint).unlink(missing_ok=True)


def every(runs: Path) -> Iterator[StudyOutcome]:
    """The record of every study, the last that was worked on first."""
    found = [_read(path) for path in sorted((runs / FOLDER).glob("*.json"))]
    yield from sorted((row for row in found if row), key=lambda row: row.ended, reverse=True)


def _path(runs: Path, fingerprint: str) -> Path:
    return runs / FOLDER / f"{fingerprint}.json"


def _read(path: Path) -> StudyOutcome | None:
    try:
        values = json.loads(path.read_bytes())
        values["flags"] = tuple(values["flags"])
        values["outcome"] = Outcome(values["outcome"])
        values["sent"] = Sent(values["sent"])
        return StudyOutcome(**values)
    except (OSError, ValueError, KeyError, TypeError):
        return None
