"""Reading of untrusted files in a process of its own, with a limit to its memory and its time.

A decoder that crashes, hangs or unpacks a bomb takes that process down and costs one refusal; the
caller goes on. The process sends JSON, one object a line; voxels go through files in the staging
folder (`formats.handover`). Nothing is pickled.

When it dies, who is at fault decides who is told. A step that was killed from outside or starved,
or that got less memory than its limit, failed for want of the machine: ResourceError, worth a
retry. Every series is held against its size on disk before its voxels are read (`checks`), so that
memory which runs out within the limit was asked for by data that lies: a refusal.
"""

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from medseg import config, errors
from medseg.config import USUAL_LIMITS, Protocol, ReadingLimits
from medseg.core.study import Candidate
from medseg.errors import InputError, MedsegError, ResourceError, UnreadableFileError
from medseg.ingest.inspection import Explanation, Ignored, InspectedSeries, Inspection, refused

logger = logging.getLogger(__name__)

MOST_DEATHS = 16
"""Processes that one source may take down; what is left unread then is refused."""

START_SECONDS = 30
"""For starting Python and importing the readers, in which no file has a part; times `waiting`."""

SEND_AGAIN = "Ask the archive to send the files again, or leave the damaged ones out."

Message = dict[str, Any]
"""One line of the process, as JSON gives it."""


class ReaderDiedError(Exception):
    """The process ended before its answer.

    Args:
        meaning: The error for the person who must act.
    """

    def __init__(self, meaning: MedsegError) -> None:
        super().__init__(meaning)
        self.meaning = meaning


def inspect(source: Path, limits: ReadingLimits = USUAL_LIMITS) -> Inspection:
    """Look at everything in a file or a folder, voxels included.

    A series over which the process dies is refused, and the next process goes on behind it. A file
    whose header it dies over counts as damaged: it refuses the series that it lies beside.

    Raises:
        SourceNotFoundError: There is nothing at the path. Whatever is wrong with what is there
            becomes a line of the answer.
        ResourceError: The machine lacks the memory or the time.
    """
    avoid: list[int] = []
    lines: dict[int, InspectedSeries] = {}
    at: Message = {}
    for _ in range(MOST_DEATHS):
        at = {}
        request = {"task": "inspect", "source": str(source), "avoid": avoid, "done": list(lines)}
        try:
            with closing(_conversation(request, limits)) as messages:
                for message in messages:
                    at |= message
                    if "result" in message:
                        line = TypeAdapter(InspectedSeries).validate_python(message["result"])
                        lines[line.number] = line
            return _inspection(at, lines)
        except ReaderDiedError as death:
            if not isinstance(death.meaning, InputError) or "file" not in at:
                raise death.meaning from None
            if "reads" in at:
                modality = dict(at["series"])[at["reads"]]
                lines[at["reads"]] = refused(at["reads"], modality, death.meaning)
            else:
                avoid.append(at["file"])
                lines.clear()
    for number, modality in at.setdefault("series", [[1, None]]):
        lines.setdefault(number, refused(number, modality, _too_many()))
    return _inspection({"ignored": [], **at}, lines)


def explain(source: Path, protocol: Protocol) -> Explanation:
    """Say how the roles of a protocol would be filled.

    Raises:
        SourceNotFoundError: There is nothing at the path. Any other refusal is part of the answer.
        ResourceError: The machine lacks the memory or the time.
    """
    request = {"task": "explain", "source": str(source), "protocol": config.plain(protocol)}
    try:
        last = _last(request, protocol.reading)
    except ReaderDiedError as death:
        if not isinstance(death.meaning, InputError):
            raise death.meaning from None
        return Explanation(protocol.name, {}, {}, death.meaning)
    refusal = None if last["refusal"] is None else _known_error(*last["refusal"])
    if refusal is not None and not isinstance(refusal, InputError):
        raise refusal
    rows = TypeAdapter(dict[str, tuple[Candidate, ...]]).validate_python(last["candidates"])
    return Explanation(protocol.name, last["done"], rows, refusal)


def hand_on(
    source: Path,
    folder: Path,
    protocol: Protocol | None,
    overrides: Mapping[str, Path],
    secret: bytes | None = None,
) -> Protocol:
    """Choose the series of a study, read their voxels, and write it for the next stage.

    Arguments, result and errors as `hand_on.hand_on`, and:

    Raises:
        UnreadableFileError: The process died over the study.
        ResourceError: The machine lacks the memory or the time.
        OSError: The folder cannot be written.
    """
    request = {
        "task": "study",
        "source": str(source),
        "folder": str(folder),
        "protocol": None if protocol is None else config.plain(protocol),
        "overrides": {role: str(path) for role, path in overrides.items()},
        "secret": None if secret is None else secret.hex(),
    }
    try:
        last = _last(request, protocol.reading if protocol else USUAL_LIMITS)
    except ReaderDiedError as death:
        raise death.meaning from None
    return config.parse(Protocol, last["done"])


def _inspection(found: Message, lines: Mapping[int, InspectedSeries]) -> Inspection:
    ignored = TypeAdapter(tuple[Ignored, ...]).validate_python(found["ignored"])
    return Inspection(tuple(lines[number] for number, _ in found["series"]), ignored)


def _last(request: Mapping[str, object], limits: ReadingLimits) -> Message:
    """The last line of a process, which holds its answer."""
    last: Message = {}
    with closing(_conversation(request, limits)) as messages:
        for message in messages:
            last = message
    return last


def _conversation(
    request: Mapping[str, object], limits: ReadingLimits
) -> Generator[Message, None, None]:
    """Start a process, give it the request, and yield its lines until it is done.

    Close it, and the process is gone before what it wrote is cleared away.

    Raises:
        ReaderDiedError: It ended, or was ended, before that.
        MedsegError: Its answer is an error for a person.
        OSError: It could not write.
    """
    package = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": package if not inherited else f"{package}{os.pathsep}{inherited}",
        # Threads of OpenBLAS and arenas of malloc reserve address space that nobody uses.
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    command = [sys.executable, "-P", "-m", "medseg.ingest.child"]
    with subprocess.Popen(  # noqa: S603  our own interpreter and module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            yield from _lines(process, {**request, "limits": config.plain(limits)}, limits)
        finally:
            process.kill()


def _lines(
    process: "subprocess.Popen[bytes]", request: Mapping[str, object], limits: ReadingLimits
) -> Iterator[Message]:
    assert process.stdin is not None  # noqa: S101  both are pipes
    assert process.stdout is not None  # noqa: S101
    with suppress(BrokenPipeError):  # it died already, which reading tells
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
    step: Message = {"seconds": START_SECONDS}
    waiting = b""
    while True:
        while b"\n" not in waiting:
            read = _read(process.stdout, step["seconds"] * limits.waiting)
            if read is None:
                raise ReaderDiedError(_overdue(process.pid))
            if not read:
                raise ReaderDiedError(_cause(process.wait(), {}, step))
            waiting += read
        line, _, waiting = waiting.partition(b"\n")
        message: Message = json.loads(line)
        if "error" in message:
            raise _known_error(*message["error"])
        if "errno" in message:
            raise OSError(message["errno"], os.strerror(message["errno"]))
        if "died" in message:
            raise ReaderDiedError(_cause(process.wait(), message, step))
        yield message
        if "done" in message:
            return
        step = message if "seconds" in message else step


def _read(stream: IO[bytes], seconds: float) -> bytes | None:
    """What is there to read; empty at the end, None where nothing comes in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return os.read(stream.fileno(), 2**16) if selector.select(seconds) else None


def _known_error(name: str, problem: str, remedy: str) -> MedsegError:
    """The error of ours with that class."""
    kind = getattr(errors, name)
    if not issubclass(kind, MedsegError):
        raise TypeError(name)
    error: MedsegError = kind(problem, remedy)
    return error


def _overdue(pid: int) -> MedsegError:
    """Why no line came in time, from the state of the process (proc_pid_stat(5), field 3).

    One that ran or waited for a disk all that time was starved: its processor time, which has a
    limit of its own, did not run out. One that sleeps hangs.
    """
    state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    if state in "RD":
        return ResourceError(
            "The machine or its storage was too slow to read the files in time, so nothing is "
            "known of them.",
            "Run it again when the machine is less busy.",
        )
    return _too_long()


def _too_many() -> InputError:
    return UnreadableFileError(
        f"{MOST_DEATHS} files or series of the source made their reader fail, so the others were "
        "not read.",
        SEND_AGAIN,
    )


def _too_long() -> MedsegError:
    return UnreadableFileError(
        "Reading took far longer than files of this size take, so it was stopped and nothing of "
        "the series is used.",
        SEND_AGAIN,
    )


def _cause(status: int, last_words: Message, step: Message) -> MedsegError:
    """What the death of the process means to the person who must act."""
    if status == -signal.SIGXCPU:
        return _too_long()
    kind, where = last_words.get("died", ""), last_words.get("where", "")
    if "is_short" not in step:
        logger.error("the reading process did not start (status %d, %s %s)", status, kind, where)
        return ResourceError(
            "The process that reads files could not be started, so nothing was read.",
            "Check the installation with `medseg doctor`, then run it again.",
        )
    if status == -signal.SIGKILL or (kind == "MemoryError" and step["is_short"]):
        return ResourceError(
            "The machine ran out of memory while the files were read, so nothing is known of them.",
            "Close other programs or use a machine with more memory, then run it again.",
        )
    if kind == "MemoryError":
        return UnreadableFileError(
            "Reading asked for far more memory than files of this size take, so it was stopped "
            "and nothing of the series is used.",
            SEND_AGAIN,
        )
    logger.error("the reading process died (status %d, %s %s)", status, kind, where)
    return UnreadableFileError(
        "A file is damaged in a way that makes its reader fail, so nothing of the series is used.",
        SEND_AGAIN,
    )
