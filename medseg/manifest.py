"""What a run folder must hold: the digest of every file, written before the folder appears.

The manifest, and neither a database nor a cache, says that a study is done.
"""

import hashlib
import json
from pathlib import Path

FILE = "manifest.json"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path, fingerprint: str) -> None:
    """Write the manifest of all files that a folder holds now.

    Args:
        folder: Of a run that is about to be published.
        fingerprint: Content hash of what the run was made from (`worklist.fingerprint`), or ""
            for a run that no worklist asked for.

    Raises:
        OSError: A file cannot be read, or the manifest not be written.
    """
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != FILE
    }
    whole = {"fingerprint": fingerprint, "files": files}
    (folder / FILE).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def is_whole(folder: Path, fingerprint: str) -> bool:
    """Whether a run folder was made from this, and every file is as it was when it appeared.

    Args:
        folder: A run folder; one that is not there is not whole.
        fingerprint: As given to `write`.
    """
    try:
        whole = json.loads((folder / FILE).read_bytes())
        return whole["fingerprint"] == fingerprint and all(
            (folder / name).stat().st_size == of["bytes"]
            and file_digest(folder / name) == of["sha256"]
            for name, of in whole["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
