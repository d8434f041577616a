"""The report as one HTML file that loads nothing, and as the page of which the PDF is made."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from medseg.core.measurements import MM3_PER_ML
from medseg.core.report import COUNTING_RULES, NOT_FOR_DIAGNOSTIC_USE, Finding, Report
from medseg.core.volume import IntensityUnit
from medseg.formats import tables
from medseg.report import drawing
from medseg.report.columns import Column, columns, rounded, titled
from medseg.report.template import content_policy, filled, inline
from medseg.report.viewer import packed

PACKAGE = "medseg.report"
TEMPLATE = "report.html.j2"
SCREEN_STYLES = ("report.css", "screen.css", "print.css")
PAPER_STYLES = ("report.css", "print.css", "pdf.css")

SCRIPTS = ("sorting.js", "viewer.js")

PRESETS = (("lung", -1350, 150), ("bone", -450, 1050), ("brain", 0, 80), ("liver", -10, 150))
"""Usual windows of a CT in HU: name, and the intensities that are black and white."""

PAPER_FONT = "DejaVu Sans"
"""Of every text on paper, so that the machine's other fonts change nothing."""


@dataclass(frozen=True)
class Table:
    """Findings and their columns, for the template.

    Attributes:
        findings: The rows.
        columns: What is said of them.
    """

    findings: tuple[Finding, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Total:
    """One number of the summary.

    Attributes:
        name: What was summed up.
        value: Rounded.
        unit: Its unit, or empty for a count.
    """

    name: str
    value: str
    unit: str


def render(report: Report) -> str:
    """The report as a page; equal reports give equal pages.

    The page holds no times: they and the peak memory alone differ between two runs of a study, and
    are in `run.json`. Its numbers are also in the element `#data`, as in `instances.json`.

    Raises:
        ValueError: A number is not finite.
    """
    style, script = inline(PACKAGE, *SCREEN_STYLES), inline(PACKAGE, *SCRIPTS)
    names = {
        one.measurement.instance: titled(one.measurement.structure, report.titles)
        for one in report.organs
    }
    return _filled(
        report,
        style=style,
        svg=Markup,
        policy=content_policy(style, script),
        script=script,
        data=_json(_data(report)),
        slices=_json(packed(report.slices, names)),
        presets=PRESETS if report.slices.unit == IntensityUnit.HU else (),
    )


def render_for_paper(report: Report) -> str:
    """The same content as a page without what paper cannot do: viewer, sorting and data.

    Raises:
        ValueError: A number is not finite.
    """

    def svg(picture: str) -> Markup:
        return Markup(picture.replace(drawing.FONT, PAPER_FONT))  # noqa: S704  (our own drawing)

    return _filled(report, style=inline(PACKAGE, *PAPER_STYLES), svg=svg, policy="", script="")


def _filled(report: Report, **special: object) -> str:
    """The template with a report, and with what differs between screen and paper."""
    counted = tuple(finding for finding in report.lesions if not finding.below_size_limit)
    below = tuple(finding for finding in report.lesions if finding.below_size_limit)
    return filled(
        PACKAGE,
        TEMPLATE,
        report=report,
        disclaimer=NOT_FOR_DIAGNOSTIC_USE,
        totals=_totals(counted, len(report.organs)),
        counting_rule=COUNTING_RULES.get(report.run.counting_rule, ""),
        counted=_lesions(report, counted),
        below=_lesions(report, below),
        titled=titled,
        organs=Table(report.organs, columns([one.measurement for one in report.organs])),
        calibrated=any(finding.measurement.confidence is not None for finding in report.lesions),
        settings=list(_flat(report.run.settings)),
        **special,
    )


def _json(values: object) -> Markup:
    return htmlsafe_json_dumps(values, allow_nan=False, ensure_ascii=False)


def _lesions(report: Report, findings: Sequence[Finding]) -> Table:
    rows = [finding.measurement for finding in findings]
    return Table(
        tuple(findings), columns(rows, report.series_number, report.measurable_mm, report.titles)
    )


def _totals(counted: Sequence[Finding], organs: int) -> list[Total]:
    """The numbers of the summary, of the counted lesions and of the organs where there are any."""
    rows = [finding.measurement for finding in counted]
    totals = [Total("Lesions", str(len(rows)), "")]
    if organs:
        totals.append(Total("Organs", str(organs), ""))
    if not rows:
        return totals
    millilitres = sum(row.volume_mm3 for row in rows) / MM3_PER_ML
    largest = max(row.longest_axial_diameter_mm for row in rows)
    totals.append(Total("Total volume", rounded(millilitres, 2), "mL"))
    totals.append(Total("Longest diameter", rounded(largest, 1), "mm"))
    glycolysis = [row.total_lesion_glycolysis for row in rows]
    known = [value for value in glycolysis if value is not None]
    if len(known) == len(rows):
        highest = max(row.intensity_max for row in rows)
        totals.append(Total("Total TLG", rounded(sum(known), 1), "g"))
        totals.append(Total("Highest SUVmax", rounded(highest, 2), "g/mL"))
    return totals


def _flat(settings: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and their values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            yield f"{above}{name}", shown


def _data(report: Report) -> dict[str, object]:
    """The numbers of the page for machines."""
    return {
        "lesions": tables.plain([finding.measurement for finding in report.lesions]),
        "organs": tables.plain([finding.measurement for finding in report.organs]),
        "study_key": report.study_key,
        "counting_rule": report.run.counting_rule,
        "size_limit_mm3": report.size_limit_mm3,
        "identity": report.run.identity,
        "flags": [{"code": flag.code, "message": flag.message} for flag in report.flags],
    }
