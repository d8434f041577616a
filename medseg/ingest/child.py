"""The process in which untrusted files are parsed: started by `guard`, never by a person.

It reads one request as JSON from standard input, confines itself, and answers with one JSON object
a line. A line goes out before every file and every series, so that the parent knows which of them
it fell over; what a decoder prints goes nowhere. Nothing is caught here but errors for a person:
any other exception ends the process, and its class and place, without its text, are the last line.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.config import ReadingLimits

Say = Callable[[Mapping[str, object]], None]
"""Sends one line to the parent."""

Begin = Callable[[Mapping[str, object], int], None]
"""Announces a step that reads so many bytes, and sets the limits for it."""

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""

MEMORY_FOR_IMPORTS = 2**30
"""Address space until the limits of the request are set."""


def main() -> None:
    """Answer one request."""
    say = _confine()
    request = json.load(sys.stdin)
    from medseg.config import ReadingLimits
    from medseg.errors import MedsegError
    from medseg.formats.storage import PASSING_WHILE_READ, storage_fault

    begin = _steps(say, ReadingLimits.model_validate(request["limits"]))
    try:
        if request["task"] == "inspect":
            _inspect(request, say, begin)
        elif request["task"] == "explain":
            _explain(request, say, begin)
        else:
            _hand_on(request, say, begin)
    except MedsegError as error:
        say({"error": [type(error).__name__, error.problem, error.remedy]})
    except OSError as error:
        if error.errno in PASSING_WHILE_READ:
            failed = storage_fault()
            say({"error": [type(failed).__name__, failed.problem, failed.remedy]})
        else:
            say({"errno": error.errno})


def _confine() -> Say:
    """Die with the parent, print nothing, dump no core, and keep only the way to the parent."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_AS, MEMORY_FOR_IMPORTS)
    voice = os.dup(sys.stdout.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())

    def say(line: Mapping[str, object]) -> None:
        waiting = json.dumps(line).encode() + b"\n"
        while waiting:
            waiting = waiting[os.write(voice, waiting) :]

    def last_words(
        kind: type[BaseException], _error: BaseException, trace: TracebackType | None
    ) -> None:
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        file = "" if trace is None else Path(trace.tb_frame.f_code.co_filename).name
        line = 0 if trace is None else trace.tb_lineno
        say({"died": kind.__name__, "where": f"{file}:{line}"})

    sys.excepthook = last_words
    return say


def _steps(say: Say, limits: "ReadingLimits") -> Begin:
    def begin(what: Mapping[str, object], stored_bytes: int) -> None:
        wanted, seconds = limits.memory_bytes(stored_bytes), limits.cpu_seconds(stored_bytes)
        granted = _limit(resource.RLIMIT_AS, wanted)
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)
        say({**what, "seconds": seconds, "is_short": granted < wanted})

    return begin


def _limit(what: int, wanted: int) -> int:
    """Set a soft limit, as far as the hard one allows; return what was granted."""
    hard = resource.getrlimit(what)[1]
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(what, (granted, hard))
    return granted


def _inspect(request: dict[str, Any], say: Say, begin: Begin) -> None:
    """Answer `inspect`, one series a line."""
    from medseg.ingest.discover import discover
    from medseg.ingest.inspect import inspect_series

    stored_bytes = 0

    def watch(number: int, path: Path) -> None:
        nonlocal stored_bytes
        stored_bytes += path.stat().st_size
        begin({"file": number}, stored_bytes)

    found = discover(Path(request["source"]), watch, request["avoid"])
    series = [[one.number, one.modality] for one in found.series]
    say({"series": series, "ignored": [asdict(one) for one in found.ignored]})
    for one in found.series:
        if one.number not in request["done"]:
            begin({"reads": one.number}, one.stored_bytes)
            say({"result": asdict(inspect_series(one))})
    say({"done": None})


def _explain(request: dict[str, Any], say: Say, begin: Begin) -> None:
    """Say how the roles of a protocol would be filled."""
    from medseg import config
    from medseg.ingest.choice import judge
    from medseg.ingest.select import explain

    source = Path(request["source"])
    begin({"study": 1}, _stored_bytes(source))
    found = explain(judge(source), config.parse(config.Protocol, request["protocol"]))
    candidates = {role: [asdict(one) for one in row] for role, row in found.candidates.items()}
    error = found.refusal
    refusal = None if error is None else (type(error).__name__, error.problem, error.remedy)
    say({"done": dict(found.reasons), "candidates": candidates, "refusal": refusal})


def _hand_on(request: dict[str, Any], say: Say, begin: Begin) -> None:
    """Read a study, and write it for the next stage."""
    from medseg import config
    from medseg.ingest.hand_on import hand_on

    source = Path(request["source"])
    overrides = {role: Path(path) for role, path in request["overrides"].items()}
    begin({"study": 1}, sum(_stored_bytes(path) for path in {source, *overrides.values()}))
    given = request["protocol"]
    protocol = None if given is None else config.parse(config.Protocol, given)
    secret = None if request["secret"] is None else bytes.fromhex(request["secret"])
    chosen = hand_on(source, Path(request["folder"]), protocol, overrides, secret)
    say({"done": config.plain(chosen)})


def _stored_bytes(source: Path) -> int:
    from medseg.formats.storage import files_below

    if source.is_dir():
        return sum(path.stat().st_size for path in files_below(source))
    return source.stat().st_size if source.is_file() else 0


if __name__ == "__main__":
    main()
