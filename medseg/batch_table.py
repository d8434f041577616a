"""Many runs in one table: a row for each instance, or for each study."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from medseg import run_folder
from medseg.core.measurements import COLUMNS, MM3_PER_ML, Measurement
from medseg.errors import RunFolderError
from medseg.formats import batch_tables, tables
from medseg.formats.batch_tables import Cell

Rows = Literal["instances", "studies"]

RUN_COLUMNS: Mapping[str, type] = {
    "run": str,
    "study_key": str,
    "patient_key": str,
    "protocol": str,
    "identity": str,
}
"""Name of the run folder, pseudonyms, protocol, and digest of what determines the labels."""

INSTANCE_COLUMNS = {**RUN_COLUMNS, **{name: tables.value_type(name) for name in COLUMNS}}

STUDY_COLUMNS = {
    **RUN_COLUMNS,
    "lesions": int,
    "lesion_volume_ml": float,
    "largest_lesion_ml": float,
    "organs": int,
    "counting_rule": str,
    "flags": str,
    "seconds": float,
    "peak_memory_mib": float,
}


def collect(paths: Sequence[Path], rows: Rows) -> list[dict[str, Cell]]:
    """The rows of many runs, in the order of their folders' names.

    Args:
        paths: Run folders, or folders that hold run folders at any depth.
        rows: What a row stands for.

    Raises:
        RunFolderError: There is no run folder in one of them.
        UnreadableFileError: The table of a run cannot be read.
    """
    made = _instance_rows if rows == "instances" else _study_rows
    return [row for run in _runs(paths) for row in made(run)]


def write(path: Path, rows: Rows, table: Sequence[Mapping[str, Cell]]) -> None:
    """Write what `collect` returned, as Parquet where the file's name says so, else as CSV.

    Raises:
        RunFolderError: The file cannot be written there.
    """
    columns = STUDY_COLUMNS if rows == "studies" else INSTANCE_COLUMNS
    with run_folder.whole_file(path) as beside:
        if path.suffix == ".parquet":
            batch_tables.write_parquet(beside, columns, table)
        else:
            batch_tables.write_csv(beside, tuple(columns), table)


def _runs(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        found = sorted(record.parent for record in path.rglob(run_folder.RUN_RECORD))
        if not found:
            raise RunFolderError(
                "There is no run folder in one of the given folders, so no table was made.",
                "Give folders that `medseg delineate` made, or the folder that holds them.",
            )
        yield from found


def _about(run: Path) -> tuple[dict[str, Cell], Mapping[str, object]]:
    """What every row of a run begins with, and the run's record."""
    try:
        record = json.loads((run / run_folder.RUN_RECORD).read_bytes())
        return {
            "run": run.name,
            "study_key": record["study_key"],
            "patient_key": record["patient_key"],
            "protocol": record["settings"]["name"],
            "identity": record["identity"],
        }, record
    except (OSError, ValueError, KeyError, TypeError):
        raise RunFolderError(
            "The record of a run cannot be read, so no table was made.",
            "Run its study again; a run folder must not be changed by hand.",
        ) from None


def _instance_rows(run: Path) -> list[dict[str, Cell]]:
    about, _ = _about(run)
    found = tables.read_json(run / run_folder.TABLE_JSON)
    return [{**about, **{name: getattr(one, name) for name in COLUMNS}} for one in found]


def _study_rows(run: Path) -> list[dict[str, Cell]]:
    about, record = _about(run)
    found = tables.read_json(run / run_folder.TABLE_JSON)
    volumes = [one.volume_mm3 / MM3_PER_ML for one in found if one.kind == "lesion"]
    flags = [str(flag["code"]) for flag in record["flags"]]  # type: ignore[attr-defined]
    timings: Mapping[str, float] = record["timings_seconds"]  # type: ignore[assignment]
    return [
        {
            **about,
            "lesions": len(volumes),
            "lesion_volume_ml": sum(volumes),
            "largest_lesion_ml": max(volumes, default=0.0),
            "organs": _count(found, "organ"),
            "counting_rule": str(record["counting_rule"]),
            "flags": " ".join(sorted(set(flags))),
            "seconds": round(sum(timings.values()), 3),
            "peak_memory_mib": float(str(record["peak_memory_mib"])),
        }
    ]


def _count(rows: Sequence[Measurement], kind: str) -> int:
    return sum(row.kind == kind for row in rows)
