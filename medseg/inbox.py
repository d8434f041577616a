"""Studies that arrive: where their files lie, and when one is complete.

A folder below the inbox is a study: the receiver's, named by the pseudonym of its study, or any
folder that something else puts there. What is known beside the files lies in a hidden folder.
"""

import hashlib
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medseg import run_folder
from medseg.core.study import pseudonym
from medseg.formats.dicom_receive import ConflictError, Header

STATE = ".state"
"""What is expected of each study, and which of its contents were handled."""

INCOMING = ".incoming"
"""Files that are being written, on the file system of the inbox."""

NAME_DIGITS = 32
"""Of the hash of a SOP Instance UID, in the name of a received file."""

SERIES = "series"
"""A series' own count; the other sources speak of the study."""

SERIES_DIGITS = 16
"""Of the hash of its Series Instance UID, before that."""


@dataclass(frozen=True)
class Arrival:
    """A study in the inbox.

    Attributes:
        folder: Where its files lie.
        files: How many there are.
        signature: Changes whenever a file comes, goes or changes.
        quiet_seconds: Since the last file came.
        expected: How many its source says there are; None where it does not say.
        lacking: How many files its series lack of what they say themselves.
        handled: Whether this very content was handled.
    """

    folder: Path
    files: int
    signature: str
    quiet_seconds: float
    expected: int | None
    lacking: int
    handled: bool

    def is_complete(self, quiet_seconds: float) -> bool:
        """Whether all of it is there, as far as can be known.

        Where the source says how many there are, as soon as so many are there, and never before.
        Else after a time in which nothing came, unless a series says that it has more.
        """
        if self.expected is not None:
            return self.files >= self.expected
        return self.files > 0 and not self.lacking and self.quiet_seconds >= quiet_seconds


class Inbox:
    """A folder that studies arrive in.

    Args:
        folder: Made where it is missing.
        secret: The site's; without one the names of the received folders can be made by anybody
            who knows the study's UID.
    """

    def __init__(self, folder: Path, secret: bytes | None) -> None:
        self.folder = folder
        self._secret = secret
        for name in (STATE, INCOMING):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def keep(self, preamble: bytes, data: bytes, header: Header) -> None:
        """Write a received data set; it appears whole, and once.

        A killed process loses nothing that was kept, a power failure the last seconds: waiting for
        the disk would cost a sixth of the rate, and no archive lets a scanner wait for it.

        Args:
            preamble: What stands before the data set in a file.
            data: The data set, as it came.
            header: Where it belongs.

        Raises:
            ConflictError: Another data set has the same SOP Instance UID.
            OSError: It cannot be written.
        """
        instance = hashlib.sha256(header.instance.encode()).hexdigest()[:NAME_DIGITS]
        # Strings, because a path object costs as much as the file.
        folder = f"{self.folder}/{self.key(header.study)}"
        path = f"{folder}/{_series_name(header.series)}-{instance}.dcm"
        beside = f"{self.folder}/{INCOMING}/{secrets.token_hex(16)}"
        try:
            with open(beside, "xb") as file:  # noqa: PTH123
                file.write(preamble)
                file.write(data)
            _appear(beside, path, data)
        finally:
            with suppress(FileNotFoundError):  # where it could not even be made
                os.unlink(beside)  # noqa: PTH108
        self._expect_as_said(header)

    def clear_incoming(self) -> None:
        """Remove what a receiver left that was killed while it wrote; it told no sender success."""
        for path in (self.folder / INCOMING).iterdir():
            path.unlink(missing_ok=True)

    def performed(self, study: str, images: int) -> None:
        """Note how many images a modality made; several steps of a study add up."""
        self._note(self.key(study), "performed", secrets.token_hex(8), images)

    def expect(self, folder: Path, images: int) -> None:
        """Note how many images an archive has of a study."""
        self._note(folder.name, "archive", "all", images)

    def handled(self, arrival: Arrival) -> None:
        """Note that this content of a study needs nothing more."""
        path = self._state(arrival.folder.name, "handled")
        with run_folder.whole_file(path) as beside:
            beside.write_text(arrival.signature, encoding="ascii")

    def arrivals(self) -> Iterator[Arrival]:
        """Every study that is there, in the order of the names; links are not followed."""
        for folder in sorted(self.folder.iterdir()):
            if folder.name.startswith(".") or folder.is_symlink() or not folder.is_dir():
                continue
            state, newest, files = hashlib.sha256(), 0.0, 0
            of_series: Counter[str] = Counter()
            for path in sorted(folder.rglob("*")):
                about = path.lstat()
                if path.is_file() and not path.is_symlink():
                    files += 1
                    of_series[path.name.partition("-")[0]] += 1
                    name = str(path.relative_to(folder))
                    state.update(f"{name!r} {about.st_size} {about.st_ctime_ns}\n".encode())
                newest = max(newest, about.st_ctime)
            signature = state.hexdigest()
            said = self._said(folder.name)
            of_study = [sum(said[source].values()) for source in said if source != SERIES]
            lacking = (n - of_series[part] for part, n in said.get(SERIES, {}).items())
            yield Arrival(
                folder,
                files,
                signature,
                max(0.0, time.time() - newest),
                expected=max(of_study, default=None),
                lacking=sum(number for number in lacking if number > 0),
                handled=self._was_handled(folder.name, signature),
            )

    def key(self, study: str) -> str:
        """The pseudonym of a study, by its Study Instance UID: the name of its folder."""
        return pseudonym(self._secret or b"", "study", study)

    def _was_handled(self, name: str, signature: str) -> bool:
        try:
            return self._state(name, "handled").read_text(encoding="ascii") == signature
        except (OSError, UnicodeDecodeError):
            return False

    def _state(self, name: str, kind: str) -> Path:
        """A file of what is known of a study; its folder's name may be a patient's."""
        return self.folder / STATE / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.{kind}"

    def _expect_as_said(self, header: Header) -> None:
        if header.expected_in_study is header.expected_in_series is None:
            return
        key = self.key(header.study)
        if header.expected_in_study is not None:
            self._note(key, "study", "all", header.expected_in_study)
        if header.expected_in_series is not None:
            self._note(key, SERIES, _series_name(header.series), header.expected_in_series)

    def _note(self, name: str, source: str, part: str, images: int) -> None:
        folder = self._state(name, "expected")
        path = folder / f"{source}-{part}-{images}"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            path.touch()

    def _said(self, name: str) -> dict[str, dict[str, int]]:
        """For each source, how many images it says that each part has; the most it ever said."""
        folder = self._state(name, "expected")
        said: dict[str, dict[str, int]] = {}
        if folder.is_dir():
            for path in folder.iterdir():
                source, part, images = path.name.split("-")
                parts = said.setdefault(source, {})
                parts[part] = max(parts.get(part, 0), int(images))
        return said


def _appear(beside: str, path: str, data: bytes) -> None:
    """Give a whole file its name, unless the same is there."""
    for _ in range(2):
        try:
            os.link(beside, path)
        except FileNotFoundError:
            Path(path).parent.mkdir(exist_ok=True)
        except FileExistsError:
            if not Path(path).read_bytes().endswith(data):
                raise ConflictError from None
            return
        else:
            return


def _series_name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:SERIES_DIGITS]
