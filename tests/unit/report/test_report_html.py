"""The page: offline, complete, escaped, and with the numbers of the table."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest

from medseg.core.measurements import Measurement
from medseg.core.report import Finding, Report
from medseg.core.study import QualityFlag
from medseg.formats import tables
from medseg.report.columns import columns
from medseg.report.html import render
from tests.unit.report.test_report_build import ROWS, built

VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)> & \u2028 \'"'


class Page(HTMLParser):
    """A page as nested elements, with what the tests ask of it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.cells: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self._table = ""
        self._in_cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = found.get("id", "")
        if tag == "tr":
            self.cells.setdefault(self._table, []).append([])
        if tag in {"td", "th"}:
            self.cells[self._table][-1].append("")
            self._in_cell = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        if tag in {"td", "th"}:
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._in_cell:
            self.cells[self._table][-1][-1] += data

    def attributes(self, name: str) -> list[str]:
        return [found[name] for _, found in self.elements if name in found]

    def tags(self, tag: str) -> list[dict[str, str]]:
        return [found for name, found in self.elements if name == tag]


@cache
def report() -> Report:
    return built(
        [replace(ROWS[0], touches_edge=True), *ROWS[1:]],
        size_limit_mm3=ROWS[2].volume_mm3,
        flags=(
            QualityFlag("doubt", "Something is doubtful."),
            QualityFlag("touches-edge", "Lesion 1 reaches the edge of the acquired volume."),
        ),
    )


@cache
def page() -> str:
    return render(report())


def data_of(text: str) -> dict[str, object]:
    """The numbers as an acceptance check reads them."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    values: dict[str, object] = json.loads(found.group(1))
    return values


def test_the_page_is_well_formed_and_every_element_is_closed() -> None:
    parsed = Page(page())
    assert parsed.open == []
    assert page().startswith("<!DOCTYPE html>")
    assert parsed.tags("html") == [{"lang": "en"}]
    identifiers = parsed.attributes("id")
    assert len(identifiers) == len(set(identifiers))


def test_nothing_is_loaded_and_one_script_of_ours_runs() -> None:
    text = page()
    parsed = Page(text)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?(?!#|data:image/png;base64,)[^\"'> ]+", text)
    assert not re.findall(r"url\(|@import", text)
    assert set(re.findall(r"https?://[^\"'> ]+", text)) == {"http://www.w3.org/2000/svg"}
    kinds = [found.get("type") for found in parsed.tags("script")]
    assert kinds == ["application/json", "application/json", None]
    assert not re.findall(r"\beval\(|innerHTML|fetch\(|new Function|import\(", text)
    assert not [name for _, found in parsed.elements for name in found if name.startswith("on")]
    assert not parsed.attributes("style")
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {
        t for t, _ in parsed.elements
    }


def test_the_policy_allows_this_style_and_this_script_and_nothing_else() -> None:
    text = page()
    digests = []
    for tag in ("style", "script"):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert found is not None
        digests.append(base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode())
    (policy,) = [
        found["content"]
        for found in Page(text).tags("meta")
        if found.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digests[0]}'",
        f"script-src 'sha256-{digests[1]}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_it_says_that_it_is_not_for_diagnostic_use_on_top_at_the_end_and_in_print() -> None:
    text = page()
    body = text[text.index("<body>") :]
    assert body.index("Not for diagnostic use") < body.index("<h1>")
    assert "Not for diagnostic use" in body[body.index("<footer>") :]
    assert '@top-center { content: "Not for diagnostic use"' in text


def test_doubts_stand_before_the_numbers() -> None:
    text = page()
    assert text.index("Something is doubtful.") < text.index('id="summary"')
    assert "Lesion 1 reaches the edge" in text


def test_the_data_block_holds_the_rows_of_instances_json() -> None:
    data = data_of(page())
    rows = [finding.measurement for finding in report().lesions]
    assert data["lesions"] == json.loads(json.dumps(tables.plain(rows)))
    assert data["counting_rule"] == "cc26-peaks"


def test_the_numbers_of_the_page_are_those_of_the_table() -> None:
    cells = Page(page()).cells
    counted = {line[0]: line[1:] for line in cells["lesion-table"][1:]}
    below = {line[0]: line[1:] for line in cells["below-table"][1:]}
    assert set(counted) == {"1", "3"}
    assert set(below) == {"2"}
    for finding in report().lesions:
        row = finding.measurement
        shown = (below if finding.below_size_limit else counted)[str(row.instance)]
        assert float(shown[0]) * 1000 == pytest.approx(row.volume_mm3, abs=5)
        longest, short = shown[1].split(" × ")
        assert float(longest) == pytest.approx(row.longest_axial_diameter_mm, abs=0.051)
        assert float(short) == pytest.approx(row.short_axis_mm, abs=0.051)
        assert float(shown[2]) == pytest.approx(row.max_diameter_3d_mm, abs=0.051)
        assert [float(n) for n in shown[3:6]] == pytest.approx(
            [row.intensity_max, row.intensity_mean, row.suv_peak or 0], abs=0.0051
        )
        assert float(shown[6]) == pytest.approx(row.total_lesion_glycolysis, abs=0.051)
        assert shown[7] == f"42 / {row.slice_instance_number}"
        assert (shown[8] == "yes") == (row.longest_axial_diameter_mm >= 10)
        assert position(shown[9]) == pytest.approx(
            (row.centroid_r_mm, row.centroid_a_mm, row.centroid_s_mm), abs=0.051
        )


def position(said: str) -> list[float]:
    """`L 1.0 · A 2.0 · I 3.0` as RAS+."""
    signs = {"R": 1, "L": -1, "A": 1, "P": -1, "S": 1, "I": -1}
    parts = [part.split(" ") for part in said.split(" · ")]
    return [signs[letter] * float(number) for letter, number in parts]


def test_the_summary_counts_what_is_above_the_limit_and_says_how_many_are_not() -> None:
    text = " ".join(" ".join(Page(page()).text).split())
    counted = [f.measurement for f in report().lesions if not f.below_size_limit]
    total = sum(row.volume_mm3 for row in counted) / 1000
    assert f"Lesions 2 Total volume {total:.2f} mL" in text
    assert "Total TLG 25.0 g" in text
    assert "listed apart and not counted: 1 here." in text
    assert text.count("cc26-peaks") == 2  # once for the reader, once in the data block


def test_every_number_has_a_unit_in_its_heading() -> None:
    header = Page(page()).cells["lesion-table"][0]
    assert header == [
        "No.",
        "Volume (mL)",
        "Longest × short axis (mm)",
        "3D diameter (mm)",
        "SUVmax (g/mL)",
        "SUVmean (g/mL)",
        "SUVpeak (g/mL)",
        "TLG (g)",
        "Series / image",
        "Measurable, ≥\N{NO-BREAK SPACE}10.0\N{NO-BREAK SPACE}mm",
        "Position (mm)",
        "Remark",
    ]


def test_row_and_pictures_of_a_lesion_lead_to_each_other() -> None:
    parsed = Page(page())
    links = {href.removeprefix("#") for href in parsed.attributes("href") if href[0] == "#"}
    assert links <= set(parsed.attributes("id"))
    assert {f"{kind}-{n}" for kind in ("lesion", "row") for n in (1, 2, 3)} <= links
    leading = [found["href"] for found in parsed.tags("a") if "aria-label" not in found]
    for number in (1, 2, 3):  # its number in both projections, too
        assert leading.count(f"#lesion-{number}") == 2


def test_tables_and_pictures_can_be_read_aloud() -> None:
    parsed = Page(page())
    assert all(found.get("scope") in {"col", "row"} for found in parsed.tags("th"))
    assert len(parsed.tags("caption")) == len(parsed.tags("table"))
    roles = [found["role"] for found in parsed.tags("svg")]
    # The overview leads to the lesions, so it is no mere picture.
    assert roles == ["group"] * 2 + ["img"] * 9
    assert len(parsed.tags("title")) == 1 + len(parsed.tags("svg"))
    assert len(parsed.tags("main")) == len(parsed.tags("h1")) == 1


def test_confidence_is_a_column_where_the_model_is_calibrated_and_one_sentence_where_not() -> None:
    assert "confidence is not calibrated" in page()
    findings = tuple(
        replace(f, measurement=replace(f.measurement, confidence=0.875)) for f in report().lesions
    )
    text = render(replace(report(), lesions=findings))
    assert "not calibrated" not in text
    parsed = Page(text)
    column = parsed.cells["lesion-table"][0].index("Confidence (0–1)")
    assert parsed.cells["lesion-table"][1][column] == "0.88"


def hostile_report() -> Report:
    """A report whose every text tries to be more than a text."""
    rows = [replace(ROWS[0], organ=HOSTILE, structure=HOSTILE), *ROWS[1:]]
    base = report()
    return replace(
        base,
        title=HOSTILE,
        language='en"><script>alert(1)</script>',
        series=(HOSTILE,),
        identification=((HOSTILE, HOSTILE),),
        flags=(QualityFlag(HOSTILE, HOSTILE),),
        method=(HOSTILE,),
        lesions=tuple(
            replace(f, measurement=row) for f, row in zip(base.lesions, rows, strict=True)
        ),
        run=replace(base.run, settings={HOSTILE: [HOSTILE]}, choice={HOSTILE: HOSTILE}),
    )


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    text = render(hostile_report())
    parsed = Page(text)
    assert parsed.open == []
    assert len(parsed.tags("script")) == 3
    assert not parsed.tags("img")
    assert not [name for _, found in parsed.elements for name in found if name.startswith("on")]
    assert "".join(parsed.text).count(HOSTILE) >= 9
    lesions = data_of(text)["lesions"]
    assert isinstance(lesions, list)
    assert lesions[0]["organ"] == HOSTILE


def test_equal_reports_give_equal_pages_and_no_page_holds_a_time() -> None:
    base = report()
    later = replace(
        base, run=replace(base.run, timings_seconds={"segment": 1.5}, peak_memory_mib=7)
    )
    assert render(base) == render(later) == page()
    assert "987.25" not in page()


def test_nothing_found_is_said_in_words() -> None:
    text = render(replace(report(), lesions=(), overview=(), size_limit_mm3=0))
    parsed = Page(text)
    assert "No lesion was counted." in text
    assert "lesion-table" not in parsed.cells
    assert "not calibrated" not in text
    assert data_of(text)["lesions"] == []


def test_organs_are_a_table_where_there_are_any() -> None:
    assert "This protocol delineates no organs." in page()
    names = {"parotid_left": "Parotid gland, left", "new_organ": "new organ"}
    rows = [
        replace(ROWS[0], kind="organ", structure=name, instance=n)
        for n, name in enumerate(names, 1)
    ]
    findings = tuple(Finding(row, (), below_size_limit=False) for row in rows)
    text = render(replace(report(), organs=findings))
    parsed = Page(text)
    assert [line[0] for line in parsed.cells["organ-table"][1:]] == list(names.values())
    assert "Organs 2" in " ".join(" ".join(parsed.text).split())
    nothing = render(replace(report(), organs=findings, lesions=()))
    assert "whether it looks for lesions at all" in nothing
    assert "whether it looks for lesions at all" not in render(replace(report(), lesions=()))


def test_what_made_the_numbers_is_on_the_page() -> None:
    text = page()
    for said in ("ab" * 32, "cd" * 32, "ef" * 32, "The only PET.", "medseg 0.1", "report.window"):
        assert said in text


def cell(rows: list[Measurement], heading: str) -> tuple[str, ...]:
    return next(column.cells for column in columns(rows) if column.heading == heading)


def test_a_small_lesion_gets_a_digit_more() -> None:
    tiny = replace(ROWS[0], volume_mm3=15.4)
    assert cell([tiny, replace(ROWS[1], volume_mm3=1234.0)], "Volume") == ("0.015", "1.234")
    assert cell([replace(ROWS[1], volume_mm3=1234.0)], "Volume") == ("1.23",)


def test_columns_without_a_single_value_are_left_out_and_partial_ones_stay() -> None:
    assert not {"Organ", "Confidence", "Remark"} & {c.heading for c in columns(ROWS)}
    assert cell([replace(ROWS[0], organ="lung_left"), ROWS[1]], "Organ") == ("lung left", "")
    known = columns([replace(ROWS[0], organ="liver")], titles={"liver": "Liver"})[0]
    assert (known.heading, known.cells) == ("Organ", ("Liver",))
    assert columns([]) == ()


def test_ct_is_measured_in_hounsfield_units() -> None:
    titles = [c.title for c in columns([replace(ROWS[0], intensity_unit="HU")])]
    assert titles[3:6] == ["Mean (HU)", "SD (HU)", "Maximum (HU)"]
