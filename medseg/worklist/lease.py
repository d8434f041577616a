"""Who is at a study: a lease with an owner and an expiry, for one machine or many.

A lease is a small file beside the runs. It is read and changed under a lock of the file system that
is held for milliseconds and falls when its holder dies; the lease itself lasts as long as the work.
One that its owner no longer renews is anybody's after `LASTS_SECONDS`; one whose owner ran on this
machine and is dead, at once. Machines that share a folder must agree on the time to within a small
part of that.
"""

import fcntl
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

LASTS_SECONDS = 120.0
RENEWED_AFTER_SECONDS = 20.0

FOLDER = ".leases"
MUTEX = ".mutex"
KEEPER = "lease keeper"


@dataclass(frozen=True)
class Owner:
    """A process, told apart from any other there ever was.

    Attributes:
        machine: Boot and process namespace: processes of another are neither seen nor judged.
        pid: Process number.
        started: Start time of the process in clock ticks since boot (proc_pid_stat(5), field 22).
        token: Drawn anew for every lease.
    """

    machine: str
    pid: int
    started: str
    token: str

    def is_dead(self) -> bool:
        """Whether it ran on this machine and runs no longer."""
        return self.machine == _machine() and _started(self.pid) != self.started


@dataclass(frozen=True)
class Lease:
    """A lease that was taken, and may have been lost since.

    Attributes:
        path: Its file.
        owner: This process.
    """

    path: Path
    owner: Owner

    def is_held(self) -> bool:
        """Whether it is still ours. Nothing is published without it."""
        with _mutex(self.path.parent):
            return _holder(self.path) == self.owner

    def renew(self) -> bool:
        """Make it last anew from now; False where it was lost."""
        with _mutex(self.path.parent):
            if _holder(self.path) != self.owner:
                return False
            _write(self.path, self.owner)
            return True

    def release(self) -> None:
        """Give it back, unless it was lost."""
        with _mutex(self.path.parent):
            if _holder(self.path) == self.owner:
                self.path.unlink()


@contextmanager
def held(runs: Path, fingerprint: str) -> Iterator[Lease | None]:
    """Hold the lease of a study for as long as the block lasts; None where another holds it.

    Args:
        runs: Folder of the runs; the leases lie in it.
        fingerprint: Of the study.

    Raises:
        OSError: The folder cannot be written.
    """
    lease = take(runs, fingerprint)
    if lease is None:
        yield None
        return
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, over), name=KEEPER, daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        over.set()
        keeper.join()
        lease.release()


def take(runs: Path, fingerprint: str) -> Lease | None:
    """Take a lease that nobody alive holds.

    Returns:
        None where another holds it.

    Raises:
        OSError: The folder cannot be written.
    """
    folder = runs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / fingerprint
    me = Owner(_machine(), os.getpid(), _started(os.getpid()), secrets.token_hex(8))
    with _mutex(folder):
        holder = _holder(path)
        if holder is not None and not holder.is_dead():
            return None
        _write(path, me)
    return Lease(path, me)


def is_free(runs: Path, fingerprint: str) -> bool:
    """Whether nobody alive holds the lease of a study."""
    folder = runs / FOLDER
    if not folder.is_dir():
        return True
    with _mutex(folder):
        holder = _holder(folder / fingerprint)
    return holder is None or holder.is_dead()


def clear_orphans(runs: Path) -> int:
    """Remove the leases that nobody alive holds; return how many they were."""
    folder = runs / FOLDER
    removed = 0
    if folder.is_dir():
        with _mutex(folder):
            for path in folder.iterdir():
                holder = _holder(path)
                if path.name != MUTEX and (holder is None or holder.is_dead()):
                    path.unlink()
                    removed += 1
    return removed


def _keep(lease: Lease, over: threading.Event) -> None:
    """Renew until it is over or lost; a disk that is full or away now may be there next time."""
    is_ours = True
    while is_ours and not over.wait(RENEWED_AFTER_SECONDS):
        try:
            is_ours = lease.renew()
        except OSError as error:
            logger.warning("a lease could not be renewed (%s)", type(error).__name__)


@contextmanager
def _mutex(folder: Path) -> Iterator[None]:
    with (folder / MUTEX).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _holder(path: Path) -> Owner | None:
    """Who holds a lease that has not expired; a file that cannot be read is no lease."""
    try:
        values = json.loads(path.read_bytes())
        expires = float(values.pop("expires"))
        holder = Owner(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return holder if time.time() < expires else None


def _write(path: Path, owner: Owner) -> None:
    # Always the same name: what a killed writer left is written over, and nothing piles up.
    beside = path.with_name(f".{path.name}")
    text = json.dumps({**asdict(owner), "expires": time.time() + LASTS_SECONDS})
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"


def _started(pid: int) -> str:
    """Start time of a living process; "" where there is none. A zombie is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
