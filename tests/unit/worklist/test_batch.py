"""Tables and page of a worklist say what became of each study, and run nothing."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from medseg.worklist import batch, page, records
from medseg.worklist.outcome import Outcome, Sent, StudyOutcome, exit_code
from tests.programs import program
from tests.unit.report.test_report_in_a_browser import OPTIONS, WCAG

HOSTILE = "=cmd|' /C calc'!A0<script>alert(1)</script>\"onload=\"x"

ROWS = (
    StudyOutcome(
        1,
        "a" * 64,
        Outcome.DONE,
        run="a" * 16,
        study_key=HOSTILE,
        protocol=HOSTILE,
        lesions=12,
        organs=0,
        flags=(HOSTILE, "touches-edge"),
        seconds=5.7,
        peak_memory_mib=715.3,
        ended="2026-11-26T09:23:03+00:00",
    ),
    StudyOutcome(
        2,
        "b" * 64,
        Outcome.REFUSED,
        error="NoImageError",
        problem=HOSTILE,
        remedy="Do that.",
        ended="2026-11-26T09:24:03+00:00",
    ),
    StudyOutcome(3, "c" * 64, Outcome.TIMED_OUT, ended="2026-11-26T09:22:03+00:00"),
)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for row in ROWS:
        records.write(tmp_path, row)
    batch.write(tmp_path, ROWS)
    return tmp_path


def test_the_three_tables_hold_every_row_and_no_formula(runs: Path) -> None:
    (folder,) = (runs / batch.FOLDER).iterdir()
    with (folder / batch.TABLE_CSV).open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["outcome"] for row in table] == ["done", "refused", "timed-out"]
    assert not [text for row in table for text in row.values() if text.startswith(("=", "+", "@"))]
    assert table[0]["study_key"] == "'" + HOSTILE
    typed = pq.read_table(folder / batch.TABLE_PARQUET).to_pylist()
    assert [row["lesions"] for row in typed] == [12, None, None]
    whole = json.loads((folder / batch.TABLE_JSON).read_bytes())
    assert whole["counts"] == {"done": 1, "refused": 1, "timed-out": 1}
    assert whole["exit_code"] == 75
    assert whole["studies"][1] == json.loads(json.dumps(asdict(ROWS[1])))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome.DONE, Outcome.REDONE, Outcome.ALREADY_DONE], 0),
        ([Outcome.DONE, Outcome.REFUSED], 3),
        ([Outcome.REFUSED, Outcome.TIMED_OUT], 75),
        ([Outcome.RESOURCE, Outcome.SETTINGS_ERROR, Outcome.REFUSED], 4),
        ([Outcome.SETTINGS_ERROR, Outcome.MODEL_ERROR], 5),
        ([Outcome.MODEL_ERROR, Outcome.CRASHED], 1),
        ([Outcome.BUSY], 75),
    ],
)
def test_the_exit_code_is_that_of_the_gravest_outcome(outcomes: list[Outcome], code: int) -> None:
    assert exit_code([StudyOutcome(1, "", outcome) for outcome in outcomes]) == code


def test_results_that_a_pacs_did_not_take_need_a_look() -> None:
    row = replace(ROWS[0], sent=Sent.FAILED)
    assert not row.is_good
    assert exit_code([row]) == 75


def test_a_record_comes_back_as_it_was_and_one_that_was_cut_is_none(runs: Path) -> None:
    assert records.read(runs, "a" * 64) == ROWS[0]
    path = runs / records.FOLDER / f"{'a' * 64}.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert records.read(runs, "a" * 64) is None
    assert len(list(records.every(runs))) == 2


def test_a_study_that_could_not_even_be_read_is_on_the_page_of_its_worklist(runs: Path) -> None:
    lost = StudyOutcome(7, "", Outcome.REFUSED, error="SourceNotFoundError", problem="Not there.")
    batch.write(runs, (*ROWS, lost))
    text = (runs / batch.INDEX).read_text()
    assert "3 of 4 need a look." in text
    assert "number 7" in text
    assert "Not there." in text


def test_an_earlier_run_of_the_same_study_is_marked() -> None:
    old = replace(ROWS[0], fingerprint="d" * 64, run="d" * 16, ended="2026-11-25T09:00:00+00:00")
    assert page.render([ROWS[0], old], "now").count("superseded") == 1
    assert "superseded" not in page.render([ROWS[0]], "now")


@pytest.mark.slow
def test_the_page_opens_asks_for_nothing_can_be_read_aloud_filtered_and_sorted(runs: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium", "chromium"), args=OPTIONS
        )
        view = browser.new_page()
        asked: list[str] = []
        said: list[str] = []
        view.on("request", lambda request: asked.append(request.url))
        view.on("console", lambda message: said.append(message.text))
        view.on("dialog", lambda _: said.append("a dialog"))
        address = (runs / batch.INDEX).as_uri()
        view.goto(address)
        rows = view.locator("tbody tr")
        assert rows.count() == 3
        assert view.locator("strong.look").first.inner_text() == "2 of 3 need a look."
        assert HOSTILE in rows.nth(1).inner_text()
        view.select_option("#outcome", "!")
        assert view.locator("tbody tr:visible").count() == 2
        view.fill("#text", "do that")
        assert view.locator("#shown").inner_text() == "1 of 3"
        view.fill("#text", "")
        view.select_option("#outcome", "")
        view.get_by_role("button", name="Time (s)").click()
        assert "timed-out" in rows.nth(0).inner_text() or "refused" in rows.nth(0).inner_text()
        found = Axe().run(view, options={"runOnly": {"type": "tag", "values": WCAG}})
        assert found.response["violations"] == []
        assert view.locator("a").first.get_attribute("href") == f"{'a' * 16}/report.html"
        browser.close()
    assert asked == [address]
    assert said == []
