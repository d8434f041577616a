"""Tables, page and label maps, parsed again and held against the table and the voxels."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import numpy as np

from medseg.config import load_structures
from medseg.core.instances import InstanceMap
from medseg.core.measurements import COLUMNS, MM3_PER_ML, Measurement
from medseg.formats import fhir, nifti, tables
from medseg.verify.truth import expect

UNITS = {"volume_mm3": "mm3", "longest_axial_diameter_mm": "mm", "surface_area_mm2": "mm2"}
"""Columns whose unit Parquet must name."""

SIDES = {"left": "7771000", "right": "24028007"}
"""Codes in SNOMED CT."""


def check_labels(path: Path, labelled: InstanceMap) -> None:
    """Hold a label map on disk against the one in memory, voxel by voxel.

    Raises:
        MismatchError: It is another one.
    """
    labels, geometry = nifti.read_labels(path)
    expect(geometry.matches(labelled.geometry), "it lies elsewhere")
    expect(np.array_equal(labels, labelled.labels), "its labels are others")


def check_csv(path: Path, rows: Sequence[Measurement]) -> None:
    """Hold a CSV table against the rows.

    Raises:
        MismatchError: A row or a number differs.
    """
    found = list(csv.DictReader(StringIO(path.read_text(encoding="utf-8"), newline="")))
    expect(len(found) == len(rows), "it holds another number of rows")
    for cells, row in zip(found, rows, strict=True):
        expect(tuple(cells) == COLUMNS, "its columns are others")
        for column, cell in cells.items():
            same = _same(cell, getattr(row, column))
            expect(same, f"{column} of {row.kind} {row.instance} differs")


def check_parquet(path: Path, rows: Sequence[Measurement]) -> None:
    """Hold a Parquet table against the rows, and the units that it names.

    Raises:
        MismatchError: A row, a number or a unit differs.
    """
    found, units = tables.read_parquet(path)
    wanted = [{column: getattr(row, column) for column in COLUMNS} for row in rows]
    expect(found == wanted, "a row or a number differs")
    expect({name: units.get(name) for name in UNITS} == UNITS, "a unit differs")


def check_page(path: Path, rows: Sequence[Measurement]) -> None:
    """Hold the numbers of the report, embedded and in its tables, against the rows of the lesions.

    Raises:
        MismatchError: A lesion or a number differs.
    """
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    expect(page.data, "it holds no numbers")
    found = json.loads(page.data)["lesions"]
    wanted = json.loads(json.dumps([asdict(row) for row in rows if row.kind == "lesion"]))
    expect(len(found) == len(wanted), "it holds another number of lesions")
    for shown, row in zip(found, wanted, strict=True):
        known = {name: shown.get(name) for name in row}
        expect(known == row, f"a number of lesion {row['instance']} differs")
    lesions = {row.instance: row for row in rows if row.kind == "lesion"}
    expect(page.rows.keys() == lesions.keys(), "its tables show other lesions")
    for number, row in lesions.items():
        cells, ml = page.rows[number], row.volume_mm3 / MM3_PER_ML
        axes = f"{row.longest_axial_diameter_mm:.1f} × {row.short_axis_mm:.1f}"
        said = axes in cells and not cells.isdisjoint((f"{ml:.2f}", f"{ml:.3f}"))
        expect(said, f"the table shows another size of lesion {number}")


def check_fhir(path: Path, rows: Sequence[Measurement]) -> None:
    """Hold a FHIR Bundle against the rows of the lesions: numbers, units, organ and side.

    Raises:
        MismatchError: A lesion, a number or a unit differs.
    """
    found = fhir.read_fhir(path)
    wanted = {row.tracking_uid: row for row in rows if row.kind == "lesion"}
    expect(found.keys() == wanted.keys(), "it holds other lesions")
    structures, sites = load_structures(), fhir.read_sites(path)
    for uid, numbers in found.items():
        row = wanted[uid]
        sizes = {
            "118565006": (row.volume_mm3, "mm3"),
            "103339001": (row.longest_axial_diameter_mm, "mm"),
            "103340004": (row.short_axis_mm, "mm"),
        }
        unit = {"SUV": "g/ml{SUVbw}", "HU": "[hnsf'U]"}.get(row.intensity_unit)
        if unit is not None:
            sizes |= {
                "373098007": (row.intensity_mean, unit),
                "56851009": (row.intensity_max, unit),
            }
        expect(numbers == sizes, f"a number or a unit of lesion {row.instance} differs")
        site = [] if row.organ is None else [structures[row.organ].code.value]
        if row.organ is not None and structures[row.organ].laterality != "none":
            site.append(SIDES[structures[row.organ].laterality])
        expect(sites[uid] == site, f"lesion {row.instance} lies in another region or side")


class _Page(HTMLParser):
    """Collects the text of the element `#data`, and the cells of each lesion's row."""

    def __init__(self) -> None:
        super().__init__()
        self.data = ""
        self.rows: dict[int, set[str]] = {}
        self._is_inside = False
        self._cells: set[str] | None = None
        self._cell: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter an element."""
        identifier = dict(attrs).get("id") or ""
        self._is_inside = tag == "script" and identifier == "data"
        if tag == "tr":
            number = identifier.removeprefix("row-")
            self._cells = self.rows.setdefault(int(number), set()) if number.isdecimal() else None
        if tag == "td":
            self._cell = ""

    def handle_data(self, data: str) -> None:
        """Keep what stands in it."""
        if self._is_inside:
            self.data += data
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag: str) -> None:
        """Leave it."""
        if tag == "script":
            self._is_inside = False
        if tag == "td" and self._cell is not None:
            if self._cells is not None:
                self._cells.add(self._cell.strip())
            self._cell = None


def _same(cell: str, value: object) -> bool:
    """Whether a cell of CSV says a value."""
    if value is None:
        return cell == ""
    if isinstance(value, bool):
        return cell == ("true" if value else "false")
    if isinstance(value, float):
        return float(cell) == value
    return cell == str(value)
