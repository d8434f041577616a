"""The tables and the page of a worklist."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

from medseg import run_folder
from medseg.formats import batch_tables
from medseg.formats.batch_tables import Cell
from medseg.worklist import page, records
from medseg.worklist.outcome import StudyOutcome, counts, exit_code

FOLDER = "worklists"
"""Among the runs: a folder for each worklist that was done, named by when it ended."""

TABLE_CSV = "worklist.csv"
TABLE_PARQUET = "worklist.parquet"
TABLE_JSON = "worklist.json"

INDEX = "index.html"
"""Among the runs: the page of all studies."""

TYPES: Mapping[str, type] = {
    **{field.name: str for field in fields(StudyOutcome)},
    "number": int,
    "lesions": int,
    "organs": int,
    "seconds": float,
    "peak_memory_mib": float,
}


def write(runs: Path, rows: Sequence[StudyOutcome]) -> Path:
    """Write the tables of a worklist that was done, and the page of all studies anew.

    Args:
        runs: Folder of the runs.
        rows: Of the worklist, in its order.

    Returns:
        The folder of the tables.

    Raises:
        RunFolderError: They cannot be written.
        ResourceError: The disk is full.
    """
    ended = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = runs / FOLDER / f"{ended}-{secrets.token_hex(3)}"
    with run_folder.machine_faults():
        folder.mkdir(parents=True)
    table = [_cells(row) for row in rows]
    with run_folder.whole_file(folder / TABLE_CSV) as beside:
        batch_tables.write_csv(beside, tuple(TYPES), table)
    with run_folder.whole_file(folder / TABLE_PARQUET) as beside:
        batch_tables.write_parquet(beside, TYPES, table)
    with run_folder.whole_file(folder / TABLE_JSON) as beside:
        beside.write_text(json.dumps(plain(rows), indent=1) + "\n", encoding="utf-8")
    write_index(runs, [row for row in rows if not row.fingerprint])
    return folder


def write_index(runs: Path, unread: Sequence[StudyOutcome] = ()) -> None:
    """Write the page of all studies that were ever worked on in a folder of runs.

    Args:
        runs: Folder of the runs.
        unread: Studies of a worklist that could not be read, of which there is no record.

    Raises:
        RunFolderError: It cannot be written.
        ResourceError: The disk is full.
    """
    made = datetime.now(UTC).isoformat(timespec="seconds")
    text = page.render([*unread, *records.every(runs)], made)
    with run_folder.whole_file(runs / INDEX) as beside:
        beside.write_text(text, encoding="utf-8")


def plain(rows: Sequence[StudyOutcome]) -> dict[str, object]:
    """The rows for machines: counts by outcome, the exit code, and every row."""
    return {
        "counts": counts(rows),
        "exit_code": exit_code(rows),
        "studies": [asdict(row) for row in rows],
    }


def _cells(row: StudyOutcome) -> dict[str, Cell]:
    return {
        **asdict(row),
        "outcome": str(row.outcome),
        "sent": str(row.sent),
        "flags": " ".join(row.flags),
    }
