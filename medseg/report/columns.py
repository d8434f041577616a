"""Measurements as the columns of a table for people: rounded, each with its unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from medseg.core.measurements import MM3_PER_ML, Measurement
from medseg.core.volume import IntensityUnit
from medseg.report.planes import place

SMALL_ML = 0.1
"""A table with a smaller lesion gives its volumes with a digit more."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: What it holds.
        unit: The unit of its numbers, or empty.
        cells: One text for each row.
        numeric: Whether its cells are numbers, to be aligned.
        detail: Whether paper, which is narrow, leaves it to the lesion's own lines.
    """

    heading: str
    unit: str
    cells: tuple[str, ...]
    numeric: bool = True
    detail: bool = False

    @property
    def title(self) -> str:
        """Heading and unit."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def said(self, row: int) -> str:
        """A cell with its unit, for running text."""
        return f"{self.cells[row]} {self.unit}".rstrip()


def columns(
    rows: Sequence[Measurement],
    series_number: int | None = None,
    measurable_mm: float | None = None,
    titles: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Column, ...]:
    """The columns for instances of one kind and unit; those that would be empty are left out.

    Args:
        rows: The instances.
        series_number: The number of their series in the PACS.
        measurable_mm: The longest axial diameter from which on a lesion is measurable; None where
            there is no such limit.
        titles: Structure to its name in a report.
    """
    if not rows:
        return ()
    volumes = [row.volume_mm3 / MM3_PER_ML for row in rows]
    made = [
        _words("Organ", [row.organ and titled(row.organ, titles) for row in rows]),
        _column("Volume", "mL", 3 if min(volumes) < SMALL_ML else 2, volumes),
        Column("Longest × short axis", "mm", tuple(_axes(row) for row in rows)),
        _column("3D diameter", "mm", 1, [row.max_diameter_3d_mm for row in rows], detail=True),
        *_intensities(rows),
        _column("Confidence", "0–1", 2, [row.confidence for row in rows]),
        _images(rows, series_number),
        *_measurable(rows, measurable_mm),
        Column("Position", "mm", tuple(_place(row) for row in rows), numeric=False, detail=True),
        _words("Remark", ["reaches the edge" if row.touches_edge else None for row in rows]),
    ]
    return tuple(column for column in made if any(column.cells))


def titled(structure: str, titles: Mapping[str, str]) -> str:
    """A structure as a reader says it."""
    return titles.get(structure, structure.replace("_", " "))


def rounded(value: float | None, digits: int) -> str:
    """A number with that many decimals; None is empty."""
    return "" if value is None else f"{value:.{digits}f}"


def _intensities(rows: Sequence[Measurement]) -> tuple[Column, ...]:
    unit = rows[0].intensity_unit
    mean = [row.intensity_mean for row in rows]
    highest = [row.intensity_max for row in rows]
    if unit == IntensityUnit.SUV:
        return (
            _column("SUVmax", "g/mL", 2, highest),
            _column("SUVmean", "g/mL", 2, mean, detail=True),
            _column("SUVpeak", "g/mL", 2, [row.suv_peak for row in rows]),
            _column("TLG", "g", 1, [row.total_lesion_glycolysis for row in rows]),
        )
    said = "arbitrary unit" if unit == IntensityUnit.ARBITRARY else unit
    return (
        _column("Mean", said, 1, mean),
        _column("SD", said, 1, [row.intensity_std for row in rows], detail=True),
        _column("Maximum", said, 1, highest),
    )


def _images(rows: Sequence[Measurement], series_number: int | None) -> Column:
    """Where a PACS shows the slice of the longest diameter."""
    numbers = [rounded(row.slice_instance_number, 0) for row in rows]
    if series_number is None:
        return Column("Image", "", tuple(numbers))
    both = (f"{series_number} / {number}" if number else "" for number in numbers)
    return Column("Series / image", "", tuple(both))


def _measurable(rows: Sequence[Measurement], limit_mm: float | None) -> list[Column]:
    if limit_mm is None:
        return []
    met = (row.longest_axial_diameter_mm >= limit_mm for row in rows)
    cells = tuple("yes" if one else "no" for one in met)
    return [
        Column(
            f"Measurable, ≥\N{NO-BREAK SPACE}{limit_mm:.1f}\N{NO-BREAK SPACE}mm",
            "",
            cells,
            numeric=False,
        )
    ]


def _column(
    heading: str, unit: str, digits: int, values: Sequence[float | None], *, detail: bool = False
) -> Column:
    cells = tuple(rounded(value, digits) for value in values)
    return Column(heading, unit, cells, detail=detail)


def _words(heading: str, cells: Sequence[str | None]) -> Column:
    return Column(heading, "", tuple(cell or "" for cell in cells), numeric=False)


def _axes(row: Measurement) -> str:
    return f"{row.longest_axial_diameter_mm:.1f} × {row.short_axis_mm:.1f}"


def _place(row: Measurement) -> str:
    return place((row.centroid_r_mm, row.centroid_a_mm, row.centroid_s_mm))
