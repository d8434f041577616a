"""Processes that are kept alive, and nothing of which outlives this one."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

STOP_SECONDS = 20
"""That a child has to end by itself."""

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Child:
    """A process that is kept alive.

    Attributes:
        name: For people and the name of its log.
        command: What is run.
        process: It, once it was started.
        starts: When it was started, in seconds of the monotonic clock.
    """

    name: str
    command: Sequence[str | Path]
    process: "subprocess.Popen[bytes] | None" = None
    starts: list[float] = field(default_factory=list)

    def start(self, environment: Mapping[str, str], logs: Path) -> None:
        """Start it in a process group of its own; it is asked to end when this process dies."""
        with (logs / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  our own commands
                [str(part) for part in self.command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self.starts.append(time.monotonic())

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """Ask it to end, and all that it started; kill what does not."""
        if self.process is None:
            return
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def adopt() -> None:
    """Become the parent of whatever outlives its own, at any depth below (prctl(2)).

    A worker starts each flow in a session of its own: when it is killed they are found no other
    way.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def bury(known: Iterable[Child]) -> None:
    """Take note of adopted processes that ended; else they stay as zombies."""
    for pid in _adopted(known):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def end_orphans(known: Iterable[Child]) -> None:
    """Kill adopted processes, and what they started, which is adopted when they die."""
    children = tuple(known)
    while orphans := _adopted(children):
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _adopted(known: Iterable[Child]) -> list[int]:
    """Children of this process that it did not start itself."""
    own = {one.process.pid for one in known if one.process is not None}
    lists = Path("/proc/self/task").glob("*/children")
    found = {int(pid) for one in lists for pid in one.read_text(encoding="ascii").split()}
    return sorted(found - own)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
