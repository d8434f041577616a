"""Studies that arrive: where their files lie, and when one is complete.

A folder below the inbox is a study: the receiver's, named by the pseudonym of its study, or any
folder that something else puts there. What is known beside the files lies in a hidden folder.
"""

import errno
import hashlib
import logging
import os
import secrets
import shutil
import stat
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medseg import run_folder
from medseg.core.study import pseudonym
from medseg.formats.dicom_receive import ConflictError, Header
from medseg.formats.storage import age_seconds, fault_name

logger = logging.getLogger(__name__)

STATE = ".state"
"""What is expected of each study, and which of its contents were handled."""

INCOMING = ".incoming"
"""Files that are being written, on the file system of the inbox."""

GONE = ".gone"
"""Studies that are being removed."""

NAME_DIGITS = 32
"""Of the hash of a SOP Instance UID, in the name of a received file."""

SERIES = "series"
"""A series' own count; the other sources speak of the study."""

SERIES_DIGITS = 16
"""Of the hash of its Series Instance UID, before that."""


PAUSE_SECONDS = 60.0
"""That a study rests after it failed, before it is tried again; twice as long after each time."""

LONGEST_PAUSE_SECONDS = 3600.0
"""What failed may be mended by then, such as a PACS that was away."""

MOST_DOUBLINGS = 10


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
        rests: Whether it failed, and is not to be tried again yet.
    """

    folder: Path
    files: int
    signature: str
    quiet_seconds: float
    expected: int | None
    lacking: int
    handled: bool
    rests: bool

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

    def clear_incoming(self, older_seconds: float = 0) -> int:
        """Remove what a receiver left that was killed while it wrote; it told no sender success.

        Args:
            older_seconds: Age from which on; 0 where no other receiver is alive.

        Returns:
            How many files they were.
        """
        old = [
            path
            for path in (self.folder / INCOMING).iterdir()
            if path.is_file() and age_seconds(path) >= older_seconds
        ]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def remove(self, arrival: Arrival) -> bool:
        """Remove a study that was handled, as it was seen; False where a slice came meanwhile.

        What its source said of it stays for a while, so that a late slice is not taken for a whole
        study (`clear_state`).
        """
        away = self.folder / GONE / secrets.token_hex(8)
        away.parent.mkdir(exist_ok=True)
        arrival.folder.rename(away)
        if _look(away).signature != arrival.signature:
            self._bring_back(away, arrival.folder)
            return False
        shutil.rmtree(away)
        for path in self._states(arrival.folder.name):
            os.utime(path, (time.time(), time.time()))
        return True

    def finish_removals(self) -> None:
        """Remove what is left of studies whose removal was killed."""
        if (self.folder / GONE).is_dir():
            shutil.rmtree(self.folder / GONE)

    def clear_state(self, older_seconds: float) -> int:
        """Remove what is known of studies that are not there, if that is so old; how many files."""
        there = {self._digest(path.name) for path in self.folder.iterdir() if path.is_dir()}
        old = [
            path
            for path in (self.folder / STATE).iterdir()
            if path.stem not in there and age_seconds(path) >= older_seconds
        ]
        for path in old:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return len(old)

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

    def failed(self, arrival: Arrival) -> None:
        """Note that this content of a study was tried in vain."""
        tries, _ = self._failures(arrival.folder.name, arrival.signature)
        path = self._state(arrival.folder.name, "failed")
        with run_folder.whole_file(path) as beside:
            beside.write_text(f"{arrival.signature} {tries + 1}", encoding="ascii")

    def arrivals(self) -> Iterator[Arrival]:
        """Every study that is there, in the order of the names.

        One with a link in it is left out: who may write into the inbox need not be one who may read
        what the link leads to.
        """
        for folder in sorted(self.folder.iterdir()):
            if folder.name.startswith(".") or folder.is_symlink() or not folder.is_dir():
                continue
            try:
                seen = _look(folder)
            except OSError as error:  # whose text names the study
                name = fault_name(error)
                logger.warning("a study of the inbox cannot be looked at now (%s)", name)
                continue
            if seen.has_link:
                logger.warning("a study of the inbox holds a link, and is left out")
                continue
            said = self._said(folder.name)
            of_study = [sum(said[source].values()) for source in said if source != SERIES]
            lacking = (n - seen.of_series[part] for part, n in said.get(SERIES, {}).items())
            yield Arrival(
                folder,
                seen.of_series.total(),
                seen.signature,
                max(0.0, time.time() - seen.newest),
                expected=max(of_study, default=None),
                lacking=sum(number for number in lacking if number > 0),
                handled=self._was_handled(folder.name, seen.signature),
                rests=self._rests(folder.name, seen.signature),
            )

    def key(self, study: str) -> str:
        """The pseudonym of a study, by its Study Instance UID: the name of its folder."""
        return pseudonym(self._secret or b"", "study", study)

    def _was_handled(self, name: str, signature: str) -> bool:
        try:
            return self._state(name, "handled").read_text(encoding="ascii") == signature
        except (OSError, UnicodeDecodeError):
            return False

    def _rests(self, name: str, signature: str) -> bool:
        tries, since = self._failures(name, signature)
        pause = min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2 ** min(tries - 1, MOST_DOUBLINGS))
        return tries > 0 and since < pause

    def _failures(self, name: str, signature: str) -> tuple[int, float]:
        """How often this content failed, and how many seconds ago for the last time."""
        path = self._state(name, "failed")
        try:
            content, _, tries = path.read_text(encoding="ascii").partition(" ")
            return (int(tries) if content == signature else 0), age_seconds(path)
        except (OSError, ValueError):
            return 0, 0.0

    def _state(self, name: str, kind: str) -> Path:
        """A file of what is known of a study; its folder's name may be a patient's."""
        return self.folder / STATE / f"{self._digest(name)}.{kind}"

    def _states(self, name: str) -> list[Path]:
        """What there is of them."""
        return list((self.folder / STATE).glob(f"{self._digest(name)}.*"))

    @staticmethod
    def _digest(name: str) -> str:
        return hashlib.sha256(os.fsencode(name)).hexdigest()[:32]

    def _bring_back(self, away: Path, folder: Path) -> None:
        """Put files back to where others may have come in between."""
        for path in [path for path in away.rglob("*") if path.is_file()]:
            place = folder / path.relative_to(away)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
        shutil.rmtree(away)

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


@dataclass(frozen=True)
class _Look:
    """What a folder holds.

    Attributes:
        of_series: How many files of each series, by the first part of their names.
        signature: As of `Arrival`.
        newest: When the last change was, in seconds since the epoch.
        has_link: Whether something in it is a link.
    """

    of_series: Counter[str]
    signature: str
    newest: float
    has_link: bool


def _look(folder: Path) -> _Look:
    state, newest, of_series, has_link = hashlib.sha256(), 0.0, Counter[str](), False
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        has_link |= stat.S_ISLNK(about.st_mode)
        if stat.S_ISREG(about.st_mode):
            of_series[path.name.partition("-")[0]] += 1
            name = str(path.relative_to(folder))
            state.update(f"{name!r} {about.st_size} {about.st_ctime_ns}\n".encode())
        newest = max(newest, about.st_ctime)
    return _Look(of_series, state.hexdigest(), newest, has_link)


def _appear(beside: str, path: str, data: bytes) -> None:
    """Give a whole file its name, unless the same is there.

    Housekeeping may take a folder away that was just made, once.
    """
    for _ in range(3):
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
    raise FileNotFoundError(errno.ENOENT, "the folder of a study vanishes again and again")


def _series_name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:SERIES_DIGITS]
