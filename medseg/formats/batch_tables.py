"""The door to CSV and Parquet for tables over many runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medseg.formats.tables import cell, line

Cell = str | int | float | bool | None

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would run (OWASP, CSV injection)."""


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Cell]]) -> None:
    """Write rows as CSV; a text that a spreadsheet would take for a formula gets a `'` before it.

    Args:
        path: The new file.
        columns: Names of the columns, in order.
        rows: Column to value.
    """
    cells = [[cell(_harmless(row[column])) for column in columns] for row in rows]
    text = "".join(line(one) for one in (columns, *cells))
    path.write_text(text, encoding="utf-8", newline="")


def write_parquet(
    path: Path, columns: Mapping[str, type], rows: Sequence[Mapping[str, Cell]]
) -> None:
    """Write rows as Parquet.

    Args:
        path: The new file.
        columns: Column to the type of its values, which may all be None.
        rows: Column to value.
    """
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([pa.field(name, kinds[kind]) for name, kind in columns.items()])
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    pq.write_table(table, path, compression="zstd")


def _harmless(value: Cell) -> Cell:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
