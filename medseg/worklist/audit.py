"""Who ran what on which content with which weights: a log that is only added to.

Each line holds the SHA-256 of the line before it, so that a line that was changed, removed or put
in breaks the chain there. The last hash is kept in a file beside the log: lines cut off at the end
show as long as that file, or a copy of its hash elsewhere, is not changed with them. Who can write
both and recompute every hash can write another history; only a copy of the hash that they cannot
reach shows that.
"""

import fcntl
import hashlib
import json
import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from medseg.errors import RunFolderError
from medseg.worklist.outcome import StudyOutcome

LOG = "audit.jsonl"
HEAD = "audit.head"

FIRST = "0" * 64
"""What stands for the line before the first."""


@dataclass(frozen=True)
class Verdict:
    """What the chain says.

    Attributes:
        lines: How many there are.
        head: SHA-256 of the last line, to be noted where nobody can change it.
        broken_at: Number of the first line, from 1, that does not follow from the one before;
            one past the last where lines are missing at the end; None where the chain is whole.
    """

    lines: int
    head: str
    broken_at: int | None


def about(row: StudyOutcome, models: Mapping[str, str]) -> dict[str, object]:
    """What the log says of a study that was worked on. No identifier of a patient."""
    return {
        "action": "delineate",
        "fingerprint": row.fingerprint,
        "run": row.run,
        "outcome": str(row.outcome),
        "error": row.error,
        "models": dict(models),
        "seconds": row.seconds,
    }


def append(runs: Path, entry: Mapping[str, object]) -> None:
    """Add a line, and be sure that it is on the disk.

    What a writer left who died within a line was never told to anybody, and is cut off.

    Args:
        runs: Folder of the runs, and of the log.
        entry: What happened; who and when are added.

    Raises:
        OSError: The log cannot be written.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with _locked(runs / LOG) as log:
        before = _last_whole_line(log)
        line = json.dumps(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "user": _user(),
                "host": socket.gethostname(),
                **entry,
                "before": _digest(before) if before else FIRST,
            },
            sort_keys=True,
        ).encode()
        log.write(line + b"\n")
        log.flush()
        os.fsync(log.fileno())
        beside = runs / f".{HEAD}"
        beside.write_text(_digest(line) + "\n", encoding="ascii")
        beside.replace(runs / HEAD)


def check(runs: Path) -> Verdict:
    """Follow the chain from its first line.

    Raises:
        RunFolderError: There is no log, or it cannot be read.
    """
    try:
        lines = (runs / LOG).read_bytes().split(b"\n")[:-1]
    except OSError:
        raise RunFolderError(
            "The folder holds no audit log that can be read.",
            "Give the folder of runs that a worklist was done into.",
        ) from None
    expected = FIRST
    for number, line in enumerate(lines, 1):
        if _before(line) != expected:
            return Verdict(len(lines), _digest(lines[-1]), number)
        expected = _digest(line)
    try:
        noted = (runs / HEAD).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        noted = ""
    # A writer who was killed between the two files leaves the head one line behind.
    last_two = {expected, _before(lines[-1]) if lines else FIRST}
    return Verdict(len(lines), expected, None if noted in last_two else len(lines) + 1)


def _user() -> str:
    """Name of the account; its number where nobody named it, as in a container."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    with path.open("a+b") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield log


def _last_whole_line(log: IO[bytes]) -> bytes:
    """The last line that has an end; what follows it is cut off."""
    end = log.seek(0, os.SEEK_END)
    size, tail = min(end, 2**16), b""
    log.seek(end - size)
    tail = log.read(size)
    whole, _, torn = tail.rpartition(b"\n")
    if torn:
        log.truncate(end - len(torn))
        log.seek(0, os.SEEK_END)
    return whole.rpartition(b"\n")[2]


def _before(line: bytes) -> str | None:
    try:
        return str(json.loads(line)["before"])
    except (ValueError, KeyError, TypeError):
        return None


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
