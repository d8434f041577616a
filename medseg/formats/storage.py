"""Files as they lie on a disk or a share: which there are, and which faults of it may pass."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import ResourceError

PASSING = frozenset(
    {
        errno.EIO,
        errno.EREMOTEIO,
        errno.ENODEV,
        errno.ENXIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.ENOTCONN,
        errno.EMFILE,
        errno.ENFILE,
    }
)
"""What a disk, a share that is away or a full table of open files says (errno(3)): nothing about
the file."""

PASSING_WHILE_READ = PASSING | {errno.ENOENT}
"""Of a file that was there to be listed."""


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in the order of the names.

    A link to a file stands for the file; links to folders are not followed, so that there is no
    circle. What reads a study and what tells it apart by its content must see the same files.

    Raises:
        ResourceError: The storage failed over a folder.
        OSError: It failed over a file.
    """
    for path, folders, names in os.walk(folder, onerror=_tell):
        folders.sort()
        for name in sorted(names):
            file = Path(path, name)
            if file.is_file():
                yield file


def fault_name(error: OSError) -> str:
    """What a fault is called (errno(3)); its text may name a patient."""
    return errno.errorcode.get(error.errno or 0, "?")


def age_seconds(path: Path) -> float:
    """Since a file or folder was last changed.

    Raises:
        OSError: It is not there.
    """
    return time.time() - path.stat().st_mtime


def storage_fault() -> ResourceError:
    """What a fault that may pass means."""
    return ResourceError(
        "The storage failed while files were read or written, or they went away meanwhile, so "
        "nothing is known of them.",
        "Check that the storage is there and whole, then run it again.",
    )


def _tell(error: OSError) -> None:
    """A folder that may not be listed is left out; one that could not be is not."""
    if error.errno in PASSING_WHILE_READ:
        raise storage_fault() from None
