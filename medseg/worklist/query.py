"""A worklist that an archive is asked for: its studies are found, and retrieved where they lack."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pydantic import Field

from medseg import config, run_folder, sending
from medseg.formats.dicom_association import Caller, Node
from medseg.formats.dicom_find import FoundSeries, find_series
from medseg.formats.dicom_get import get_series
from medseg.formats.storage import age_seconds
from medseg.inbox import Inbox
from medseg.site_secret import load_site_secret

logger = logging.getLogger(__name__)

BESIDE = ".medseg-"
"""Begins the name of a folder in which a study arrives, beside the studies."""

KILLED_SECONDS = 86_400.0
"""Age of such a folder from which on nobody is at it: a study takes minutes."""


class Query(config.Settings):
    """What an archive is asked for, and where its studies are kept."""

    archive: str
    """AET@HOST:PORT."""

    keys: dict[str, str] = Field(min_length=1)
    """Keywords of DICOM at the level of the study, and what they must match:
    `StudyDate: 20261101-`."""

    folder: Path
    """Where the studies are kept, relative to the query; none is retrieved twice."""

    title: str = "MEDSEG"
    """Our own application entity title."""

    timeout_seconds: float = Field(default=60, gt=0)
    """Longest wait for an answer."""


def retrieved(path: Path) -> Iterator[Path]:
    """Retrieve the studies of a query that are not there as the archive has them.

    Args:
        path: A query, a YAML file.

    Yields:
        The folder of each study. One that did not arrive whole is at a path where there is nothing,
        so that it ends as a refusal of its own; the next worklist asks for it again.

    Raises:
        SettingsError: The query is none.
        PacsUnreachableError: The archive does not answer.
        PacsRefusalError: It refuses the query.
        ResourceError: The disk is full.
    """
    query = config.load(Query, str(path), "")
    archive = sending.parse_node(query.archive)
    caller = Caller(query.title, query.timeout_seconds)
    series = find_series(archive, caller, query.keys)
    folder = path.parent / query.folder
    with run_folder.machine_faults():
        folder.mkdir(parents=True, exist_ok=True)
        _clear_killed(folder)
        for _, found in groupby(series, key=lambda one: one.study):
            yield _retrieved(list(found), folder, archive, caller)


def _retrieved(wanted: list[FoundSeries], folder: Path, archive: Node, caller: Caller) -> Path:
    with tempfile.TemporaryDirectory(prefix=BESIDE, dir=folder) as beside:
        inbox = Inbox(Path(beside), load_site_secret())
        name = inbox.key(wanted[0].study)
        counts = [one.images for one in wanted]
        images = None if None in counts else sum(one for one in counts if one is not None)
        if images is not None and _files(folder / name) == images:
            return folder / name
        whole = get_series(archive, caller, wanted, inbox.keep)
        arrived = inbox.folder / name
        if not whole or _files(arrived) == 0 or images not in (None, _files(arrived)):
            logger.warning("a study of the query did not arrive whole, and is left out")
            return folder / f"{name}.incomplete"
        if (folder / name).exists():
            shutil.move(folder / name, inbox.folder / "old")
        arrived.rename(folder / name)
        return folder / name


def _clear_killed(folder: Path) -> None:
    """Remove what a retrieval left that was killed; another's that goes on is younger."""
    for path in folder.glob(f"{BESIDE}*"):
        if age_seconds(path) > KILLED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
