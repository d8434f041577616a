"""All studies of a folder of runs as one page that loads nothing: what an operator looks at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medseg.report.html import content_policy
from medseg.run_folder import REPORT_HTML
from medseg.worklist.outcome import StudyOutcome

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
    style = _text("medseg.report", "report.css", "screen.css") + _text(
        "medseg.worklist", "index.css"
    )
    script = _text("medseg.report", "sorting.js") + _text("medseg.worklist", "index.js")
    environment = Environment(
        loader=PackageLoader("medseg.worklist", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lines = _lines(rows)
    counts = Counter(str(line.row.outcome) for line in lines)
    return environment.get_template(TEMPLATE).render(
        lines=lines,
        counts=sorted(counts.items()),
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


def _text(package: str, *names: str) -> Markup:
    folder = resources.files(package)
    return Markup("".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names))  # noqa: S704
