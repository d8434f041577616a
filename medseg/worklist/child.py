"""One study in a process of its own, which can be killed and takes nobody with it.

The process is kept from study to study, so that a model is loaded once; it is replaced after it had
to be killed or died. It goes when its parent does.
"""

import logging
import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as OverdueError
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pebble import ProcessExpired, ProcessPool

from medseg.errors import MedsegError, ResourceError, StudyCrashedError, StudyTimedOutError
from medseg.log import begin_log
from medseg.worklist.fingerprint import ListedStudy

T = TypeVar("T")

logger = logging.getLogger(__name__)


class StudyProcess:
    """A process that does one study at a time; close it after use."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._pool = ProcessPool(
            max_workers=1,
            initializer=_begin,
            initargs=(os.getpid(),),
            context=multiprocessing.get_context("spawn"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is at."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # of pebble
        self._pool.join()

    def delineate(self, study: ListedStudy, run: Path, fingerprint: str, seconds: float) -> None:
        """Delineate a study into a new run folder.

        Args:
            study: What is to be done.
            run: New folder; there whole or not at all.
            fingerprint: Of the study, for the manifest.
            seconds: After which it is stopped.

        Raises:
            MedsegError: As `stages.delineate` raises it.
            StudyTimedOutError: It was stopped.
            StudyCrashedError: The process died by itself.
            ResourceError: The process was killed, as it is where memory runs out.
        """
        self.call(_delineate, study, run, fingerprint, seconds=seconds)

    def call(self, function: Callable[..., T], *args: object, seconds: float) -> T:
        """Call a function of a module in the process; otherwise as `delineate`."""
        with self._one_at_a_time:
            future = self._pool.schedule(function, args=args, timeout=seconds)
            try:
                result: T = future.result()
            except OverdueError:
                raise StudyTimedOutError(
                    f"The study took longer than its limit of {seconds:.0f} s, so it was stopped "
                    "and nothing of it was kept.",
                    "Raise the limit if such studies need it, else look at the study; the next "
                    "worklist tries it again.",
                ) from None
            except ProcessExpired as death:
                raise _meaning(death.exitcode) from None
            except MedsegError:
                raise
            except Exception as bug:  # noqa: BLE001  what it says may name a patient, and be stored
                logger.error("a bug ended a study: %s", type(bug).__name__)  # noqa: TRY400
                raise _bug(bug) from None
        return result


@cache
def shared_process() -> StudyProcess:
    """The one process of this process, made when it is first asked for; it goes at the end."""
    process = StudyProcess()
    # A worker of Dask runs no atexit, and would wait for its child till it is killed.
    Finalize(None, process.close, exitpriority=0)
    return process


def _bug(error: Exception) -> StudyCrashedError:
    return StudyCrashedError(
        f"A fault of medseg ({type(error).__name__}) ended the study, so nothing of it was kept.",
        "Run the study alone with `medseg delineate`, and report what it prints.",
    )


def _meaning(status: int | None) -> ResourceError | StudyCrashedError:
    if status == -signal.SIGKILL:
        return ResourceError(
            "The process of the study was killed, as it is when the machine runs out of memory, so "
            "nothing of the study was kept.",
            "Close other programs or use a machine with more memory, then run again.",
        )
    return StudyCrashedError(
        f"The process of the study died by itself (status {status}), so nothing of the study was "
        "kept.",
        "Run the study alone with `medseg delineate`, and report what it prints.",
    )


def _delineate(study: ListedStudy, run: Path, fingerprint: str) -> None:
    from medseg import stages

    stages.delineate(
        study.source, run, study.protocol, study.series, mask=study.mask, fingerprint=fingerprint
    )


def _begin(parent: int) -> None:
    """Log as the command does, leave Ctrl-C to the parent, and go when the parent does."""
    begin_log()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_go_with, args=(parent,), daemon=True).start()


def _go_with(parent: int) -> None:
    """Wait for the end of the parent, and end this process with it.

    PR_SET_PDEATHSIG would end it with the thread of the parent that happened to start it.
    """
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        os._exit(1)
    if os.getppid() == parent:
        select.select([watched], [], [])
    os._exit(1)
