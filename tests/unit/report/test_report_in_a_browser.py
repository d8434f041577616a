"""The page in Chromium: it opens, asks for nothing, can be read aloud, and its script works."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from medseg.report.html import render
from tests.programs import program
from tests.unit.report.test_report_build import ROWS
from tests.unit.report.test_report_html import hostile_report, report

pytestmark = pytest.mark.slow

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@dataclass
class Opened:
    """A page, with what it asked for and what went wrong."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = program("chromium", "chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield chromium
        chromium.close()


def opened(browser: Browser, file: Path, *, script: bool = True) -> Opened:
    page = browser.new_page(java_script_enabled=script, viewport={"width": 1280, "height": 900})
    found = Opened(page)
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.goto(file.as_uri())
    if script:
        page.locator("#cursor:not(:empty)").wait_for()
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(report()), encoding="utf-8")
    return path


@pytest.fixture
def there(browser: Browser, file: Path) -> Iterator[Opened]:
    found = opened(browser, file)
    yield found
    found.page.close()


def test_it_asks_for_nothing_complains_of_nothing_and_breaks_no_rule_of_wcag(
    there: Opened, file: Path
) -> None:
    found = Axe().run(there.page, options={"runOnly": WCAG}).response
    assert len(found["passes"]) > 15
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    assert [url for url in there.asked if not url.startswith("data:")] == [file.as_uri()]
    assert there.complaints == []


def test_hostile_text_runs_nothing_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(render(hostile_report()), encoding="utf-8")
    said: list[str] = []
    there = opened(browser, path)
    there.page.on("dialog", lambda dialog: said.append(dialog.message))
    there.page.reload()
    there.page.wait_for_timeout(200)
    assert said == there.complaints == []
    there.page.close()


def test_the_policy_stops_a_script_and_a_load_that_are_not_ours(there: Opened) -> None:
    blocked: list[str | None] = []
    there.page.on("requestfailed", lambda request: blocked.append(request.failure))
    there.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'run'";
            document.body.append(script);
            const picture = new Image();
            picture.src = "https://127.0.0.1:9/x.png";
            document.body.append(picture);
        }"""
    )
    there.page.wait_for_timeout(200)
    assert there.page.title() != "run"
    assert len([line for line in there.complaints if "Content Security Policy" in line]) == 2
    assert blocked == ["csp"]


def column(page: Page, heading: int) -> list[str]:
    rows = page.locator("#lesion-table tbody tr")
    return [rows.nth(n).locator("td, th").nth(heading).inner_text() for n in range(rows.count())]


def test_a_heading_sorts_its_table_by_number_with_the_keyboard_too(there: Opened) -> None:
    heading = there.page.locator("#lesion-table thead th").nth(1)
    before = [float(text) for text in column(there.page, 1)]
    heading.locator("button").focus()
    for sense in ("ascending", "descending"):
        there.page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == sense
        values = [float(text) for text in column(there.page, 1)]
        assert values == sorted(before, reverse=sense == "descending")
    there.page.locator("#lesion-table thead th button").first.click()
    assert column(there.page, 0) == ["1", "3"]
    assert heading.get_attribute("aria-sort") is None


def position(page: Page) -> list[float]:
    """Where the viewer's cursor is, RAS+."""
    said = page.locator("#cursor").inner_text().split(" mm")[0]
    signs = {"R": 1, "L": -1, "A": 1, "P": -1, "S": 1, "I": -1}
    return [signs[part[0]] * float(part[2:]) for part in said.split(" · ")]


def grey(page: Page, plane: str, x: float, y: float) -> int:
    """A pixel of a canvas, at a share of its width and height."""
    red: int = page.evaluate(
        """([plane, x, y]) => {
            const canvas = document.getElementById(`view-${plane}`);
            const pen = canvas.getContext("2d");
            return pen.getImageData(x * canvas.width, y * canvas.height, 1, 1).data[0];
        }""",
        [plane, x, y],
    )
    return red


def test_a_lesion_leads_to_its_slices_and_back_to_its_row(there: Opened) -> None:
    page = there.page
    for row in ROWS:
        page.locator(f".to-viewer[data-lesion='{row.instance}']").click()
        place = (row.centroid_r_mm, row.centroid_a_mm, row.centroid_s_mm)
        assert position(page) == pytest.approx(place, abs=5)
        assert page.locator("#cursor-lesion").inner_text() == f"lesion {row.instance}"
        value = page.locator("#cursor").inner_text().split("about ")[1].split(" SUV")[0]
        assert 7 < float(value) <= 9
        page.locator("#cursor-lesion").click()
        assert page.url.endswith(f"#row-{row.instance}")


def test_the_planes_are_linked_and_in_radiological_convention(there: Opened) -> None:
    page = there.page
    page.locator(".to-viewer[data-lesion='1']").click()
    for plane, across, down in (("axial", (0, -1), (1, -1)), ("coronal", (0, -1), (2, -1))):
        canvas = page.locator(f"#view-{plane}")
        box = canvas.bounding_box()
        assert box is not None
        canvas.click(position={"x": box["width"] * 0.25, "y": box["height"] * 0.25})
        first = position(page)
        canvas.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.75})
        second = position(page)
        # To the right is to the patient's left, down is to the back or the feet.
        for axis, sense in (across, down):
            assert (second[axis] - first[axis]) * sense > 20


def test_the_hot_lesion_is_dark_where_the_cursor_says_and_its_mirror_place_is_not(
    there: Opened,
) -> None:
    page = there.page
    page.locator(".to-viewer[data-lesion='1']").click()
    size = page.evaluate("JSON.parse(document.getElementById('slices').textContent).size")
    at = page.evaluate("JSON.parse(document.getElementById('slices').textContent).places['1']")
    x, y = ((at[axis] + 0.2) / size[axis] for axis in (0, 1))  # beside the lines of the cursor
    assert grey(page, "axial", x, y) < 60
    assert grey(page, "axial", 1 - x, y) > 150
    page.locator("#high").fill("100")
    assert grey(page, "axial", x, y) > 200


def test_keys_go_through_the_slices_and_turn_the_outlines_off(there: Opened) -> None:
    page = there.page
    canvas = page.locator("#view-axial")
    page.locator(".to-viewer[data-lesion='1']").click()
    canvas.focus()
    before = position(page)
    number = int(canvas.get_attribute("aria-valuenow") or 0)
    page.keyboard.press("ArrowDown")
    assert int(canvas.get_attribute("aria-valuenow") or 0) == number + 1
    assert position(page)[2] < before[2]
    page.keyboard.press("Home")
    assert canvas.get_attribute("aria-valuenow") == "1"
    page.keyboard.press("ArrowUp")
    assert canvas.get_attribute("aria-valuenow") == "1"
    page.locator(".to-viewer[data-lesion='1']").click()
    drawn = page.evaluate("document.getElementById('view-axial').toDataURL()")
    canvas.focus()
    page.keyboard.press("o")
    assert not page.locator("#lesion-outlines").is_checked()
    assert page.evaluate("document.getElementById('view-axial').toDataURL()") != drawn


def test_without_a_script_all_but_sorting_and_viewer_is_there(browser: Browser, file: Path) -> None:
    there = opened(browser, file, script=False)
    page = there.page
    assert page.locator("#viewer-body").is_hidden()
    assert page.locator("#viewer-absent").is_visible()
    assert page.locator("thead button").count() == 0
    assert not page.locator(".to-viewer").first.is_visible()
    assert column(page, 0) == ["1", "3"]
    page.locator("#lesion-table a").first.click()
    assert page.url.endswith("#lesion-1")
    assert page.locator("#lesion-1 svg").first.is_visible()
    assert there.complaints == []
    page.close()
