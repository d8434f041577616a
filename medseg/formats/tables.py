"""The door to CSV, JSON and Parquet: the lesion table, one row for each instance.

All three hold the same rows in the same order, each number to its last bit, and two writes of the
same rows are equal byte for byte. JSON holds the end points of the diameters too.

| | None | bool | float |
| --- | --- | --- | --- |
| CSV | empty | `true`, `false` | the shortest text that reads back as the same number |
| JSON | `null` | `true`, `false` | the same |
| Parquet | null | BOOLEAN | DOUBLE |
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Literal, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from medseg.core.measurements import COLUMNS, Measurement
from medseg.errors import UnreadableFileError

Row = dict[str, object]
"""A row as JSON holds it: every field of `Measurement`, in order."""

UNITS = {
    "_mm3": "mm3",
    "_mm2": "mm2",
    "_mm": "mm",
    "suv_peak": "g/mL",
    "total_lesion_glycolysis": "g",
    "voxel_count": "1",
    "sphericity": "1",
    "confidence": "1",
}
"""End of a column's name to its unit, the longest first."""


SCHEMA = Path(__file__).with_name("instances.schema.json")
"""JSON Schema of `instances.json`, for readers in other languages."""


@dataclass(frozen=True)
class Table:
    """What `instances.json` holds."""

    instances: tuple[Measurement, ...]


def write_csv(path: Path, rows: Sequence[Measurement]) -> None:
    """Write the columns of `instances.csv`: UTF-8, comma, line feed, a header line.

    Raises:
        ValueError: A number is not finite.
    """
    path.write_text(as_csv(rows), encoding="utf-8", newline="")


def as_csv(rows: Sequence[Measurement]) -> str:
    """The text of `instances.csv`; as `write_csv`."""
    cells = [[cell(row[column]) for column in COLUMNS] for row in plain(rows)]
    return "".join(line(one) for one in (COLUMNS, *cells))


def write_json(path: Path, rows: Sequence[Measurement]) -> None:
    """Write `{"instances": [rows]}` with the ends of every diameter in RAS+ mm.

    Raises:
        ValueError: A number is not finite.
    """
    path.write_text(as_json(rows), encoding="utf-8")


def as_json(rows: Sequence[Measurement]) -> str:
    """The text of `instances.json`; as `write_json`."""
    text = json.dumps({"instances": plain(rows)}, indent=1, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def write_parquet(path: Path, rows: Sequence[Measurement]) -> None:
    """Write the columns of `instances.csv`, typed; a field's metadata names its unit.

    Raises:
        ValueError: A number is not finite.
    """
    table = pa.Table.from_pylist(
        [{column: row[column] for column in COLUMNS} for row in plain(rows)], schema=schema()
    )
    pq.write_table(table, path, compression="zstd")


def read_json(path: Path) -> tuple[Measurement, ...]:
    """Read what `write_json` wrote; columns that a later medseg added are passed over.

    Raises:
        UnreadableFileError: It is not such a table.
    """
    try:
        rows = TypeAdapter(Table).validate_json(path.read_bytes(), strict=True).instances
        plain(rows)
    except (OSError, ValueError) as error:
        named = _faults(error) if isinstance(error, ValidationError) else ""
        raise UnreadableFileError(
            f"The table of instances cannot be read{named}, so none of its numbers can be used.",
            "Run the study again, or give the instances.json of a complete run folder.",
        ) from None
    return rows


def read_confidences(path: Path) -> dict[int, float]:
    """The confidence of each lesion of a table as CSV, ours or one with `instance,confidence`.

    Rows of organs and rows without a confidence are passed over.

    Raises:
        UnreadableFileError: It is not such a table, or a confidence is not a number in 0..1.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                (int(row["instance"]), float(row["confidence"]))
                for row in csv.DictReader(file)
                if row.get("kind", "lesion") == "lesion" and row["confidence"]
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        rows = [(0, -1.0)]
    if not all(0 <= confidence <= 1 for _, confidence in rows):
        raise UnreadableFileError(
            "The table of confidences cannot be read, so no lesion has one.",
            "Give a CSV file with the columns instance and confidence, which is 0 to 1.",
        )
    return dict(rows)


def read_parquet(path: Path) -> tuple[list[Row], dict[str, str]]:
    """Read the rows of a Parquet table, and the unit that each column names.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no Parquet table.
    """
    table = pq.read_table(path)
    units = {
        field.name: field.metadata[b"unit"].decode()
        for field in table.schema
        if field.metadata and b"unit" in field.metadata
    }
    return table.to_pylist(), units


def plain(rows: Sequence[Measurement]) -> list[Row]:
    """The rows as JSON holds them, in order.

    Raises:
        ValueError: A number is not finite, so that JSON could not hold it.
    """
    values = [asdict(row) for row in rows]
    json.dumps(values, allow_nan=False)
    return values


def json_schema() -> dict[str, object]:
    """The JSON Schema of `instances.json`, a file beside this module (`SCHEMA`).

    Columns that a later medseg added are allowed.
    """
    made = TypeAdapter(Table).json_schema(mode="serialization")
    row = made["$defs"]["Measurement"]
    for name, field in row["properties"].items():
        field.pop("title", None)
        unit = column_unit(name)
        if unit is not None:
            field["description"] = f"Unit: {unit}"
    row["description"] = "One lesion or organ. Positions are RAS+ mm."
    made["description"] = "What instances.json of a medseg run folder holds."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def value_type(column: str) -> type:
    """The type of the values of a column that are not None."""
    kind = {field.name: field.type for field in fields(Measurement)}[column]
    return _bare(kind)


def schema() -> pa.Schema:
    """Parquet's schema of the table: type, nullability and unit of every column."""
    by_name = {field.name: field.type for field in fields(Measurement)}
    return pa.schema([_field(column, by_name[column]) for column in COLUMNS])


def _field(column: str, kind: object) -> pa.Field:
    """Parquet's field for a field of `Measurement`."""
    bare = _bare(kind)
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    unit = column_unit(column)
    metadata = {} if unit is None else {"unit": unit}
    nullable = isinstance(kind, UnionType)
    return pa.field(column, types[bare], nullable=nullable, metadata=metadata)


def _bare(kind: object) -> type:
    """The type of a field without None; a Literal of texts is a text."""
    parts = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    bare = next(part for part in parts if part is not type(None))
    return str if get_origin(bare) is Literal else bare


def column_unit(column: str) -> str | None:
    """The unit of a column's numbers; None where it holds none."""
    if column.startswith("intensity_") and column != "intensity_unit":
        return "as in the column intensity_unit"
    if column.endswith("_ends_mm"):
        return "mm, RAS+"
    return next((unit for end, unit in UNITS.items() if column.endswith(end)), None)


def cell(value: object) -> str:
    """A value as CSV holds it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return float.__repr__(value) if isinstance(value, float) else str(value)


def line(cells: Sequence[str]) -> str:
    """Cells as one line of CSV."""
    line = StringIO(newline="")
    # Before Python 3.13 a carriage return in a cell is quoted only where lines end with one.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()[:-2] + "\n"


def _faults(error: ValidationError) -> str:
    """The columns at fault, without their values."""
    columns = {str(part) for fault in error.errors() for part in fault["loc"][2:3]}
    return f" (at fault: {', '.join(sorted(columns))})" if columns else ""
