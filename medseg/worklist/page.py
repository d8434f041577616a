"""All studies of a folder of runs as one page that loads nothing: what an operator looks at."""

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.report.template import content_policy, filled, inline
from medseg.run_folder import REPORT_HTML
from medseg.worklist.outcome import StudyOutcome, counts

PACKAGE = "medseg.worklist"
TEMPLATE = "index.html.j2"


@dataclass(frozen=True)
class Line:
    """A study on the page.

    Attributes:
        row: What became of it.
        report: Address of its report relative to the page, or "".
        must_look: Whether a person must.
        superseded: Whether a later run of the same study is there too.
    """

    row: StudyOutcome
    report: str
    must_look: bool
    superseded: bool


def render(rows: Sequence[StudyOutcome], made: str) -> str:
    """The page; every text of it is escaped.

    Args:
        rows: A row for each study, the latest first.
        made: When, for the reader.
    """
    style = inline("medseg.report", "report.css", "screen.css") + inline(PACKAGE, "index.css")
    script = inline("medseg.report", "sorting.js") + inline(PACKAGE, "index.js")
    lines = _lines(rows)
    return filled(
        PACKAGE,
        TEMPLATE,
        lines=lines,
        counts=list(counts(rows).items()),
        must_look=sum(line.must_look for line in lines),
        made=made,
        style=style,
        script=script,
        policy=content_policy(style, script),
    )


def _lines(rows: Sequence[StudyOutcome]) -> list[Line]:
    seen: set[str] = set()
    lines: list[Line] = []
    for row in rows:
        report = f"{row.run}/{REPORT_HTML}" if row.run else ""
        lines.append(Line(row, report, not row.is_good, row.study_key in seen))
        seen |= {row.study_key} - {""}
    return lines
