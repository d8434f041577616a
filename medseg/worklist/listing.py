"""A worklist, from what an operator points at to the studies that are to be done."""

import csv
from collections.abc import Iterator
from pathlib import Path

from medseg import config
from medseg.config import Protocol
from medseg.errors import SettingsError, SourceNotFoundError
from medseg.worklist import query
from medseg.worklist.fingerprint import ListedStudy

IMAGES = (".nii", ".nii.gz", ".hdr", ".dcm")
"""Endings of single files below a folder tree that are studies of their own."""

LISTS = (".csv", ".txt")

QUERIES = (".yaml", ".yml")

COLUMNS = ("study", "protocol")


def studies(worklist: Path, protocol: str | None = None) -> tuple[ListedStudy, ...]:
    """List the studies of a worklist.

    Args:
        worklist: A folder, each of whose folders and images is a study; hidden ones are left out.
            Or a list: a .txt file with a path a line, or a .csv file with the columns `study` and
            `protocol`, the second empty or missing where the study chooses. Paths of a list are
            relative to its folder. Or a query of an archive, a .yaml file (`query.Query`), whose
            studies are retrieved.
        protocol: Name of an embedded protocol or a .yaml file, for every study that names none;
            None chooses by what each study holds.

    Returns:
        In the order of the list, or of the names. A study that is not there is listed, so that it
        ends as a refusal of its own.

    Raises:
        SourceNotFoundError: There is nothing at the path, or no study in it.
        SettingsError: The list or query is not one, or names a protocol that there is not.
        PacsUnreachableError: The archive of a query does not answer.
        PacsRefusalError: It refuses the query.
    """
    chosen = None if protocol is None else config.load_protocol(protocol)
    if worklist.is_dir():
        listed = [(path, chosen) for path in _in_folder(worklist)]
    elif worklist.suffix.lower() in LISTS and worklist.is_file():
        listed = [(path, own or chosen) for path, own in _in_list(worklist)]
    elif worklist.suffix.lower() in QUERIES and worklist.is_file():
        listed = [(path, chosen) for path in query.retrieved(worklist)]
    else:
        raise SourceNotFoundError(
            "The worklist is neither a folder, a list nor a query, so nothing was done.",
            "Give a folder of studies, a .csv or .txt file that names them, or a .yaml query.",
        )
    if not listed:
        raise SourceNotFoundError(
            "The worklist holds no study, so nothing was done.",
            "Give a folder that holds a folder or an image for each study, or a list of them.",
        )
    return tuple(ListedStudy(number, source, own) for number, (source, own) in enumerate(listed, 1))


def _in_folder(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir() or path.name.lower().endswith(IMAGES):
            yield path


def _in_list(path: Path) -> Iterator[tuple[Path, Protocol | None]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise _no_list() from None
    if path.suffix.lower() == ".txt":
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                yield path.parent / line.strip(), None
        return
    rows = csv.DictReader(text.splitlines())
    if "study" not in (rows.fieldnames or ()) or set(rows.fieldnames or ()) - set(COLUMNS):
        raise _no_list()
    for row in rows:
        if not row["study"]:
            raise _no_list()
        named = row.get("protocol")
        yield path.parent / row["study"], config.load_protocol(named) if named else None


def _no_list() -> SettingsError:
    return SettingsError(
        "The worklist is a file that is no list, so nothing was done.",
        "Write a path a line (.txt), or the columns `study` and, if you like, `protocol` (.csv).",
    )
