"""The PDF: the page's content, tagged, with its fonts, and the same bytes every time."""

import logging
import os
import re
import subprocess
import sys
import zlib
from ctypes.util import find_library
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.report import pdf
from medseg.report.html import render_for_paper
from tests.programs import program
from tests.unit.report.test_report_html import Page, hostile_report, report

without_pango = pytest.mark.skipif(
    pdf.missing() is not None and os.environ.get("MEDSEG_REQUIRE_REALDATA") != "1",
    reason="Pango or DejaVu is not installed",
)


without_subsets = pytest.mark.skipif(
    find_library("harfbuzz-subset") is None and os.environ.get("MEDSEG_REQUIRE_REALDATA") != "1",
    reason="libharfbuzz-subset0 is not installed, and what cuts fonts instead differs every time",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pdf") / "report.pdf"
    path.write_bytes(pdf.render_pdf(report()))
    return path


DETAILS = {"3D diameter (mm)", "SUVmean (g/mL)", "Position (mm)", "Remark"}
"""Columns that the table leaves out on paper, and one whose words may stand on two lines."""


def said_by(name: str, path: Path, *options: str) -> str:
    command = [program(name, "poppler-utils"), *options, str(path)]
    if name == "pdftotext":
        command.append("-")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def streams(path: Path) -> list[bytes]:
    """The compressed parts of a PDF, unpacked: its objects are in them."""
    parts = re.findall(rb"stream\n(.*?)\nendstream", path.read_bytes(), re.DOTALL)
    return [zlib.decompress(part) for part in parts if part[:1] == b"x"]


def text_of(path: Path) -> str:
    return " ".join(said_by("pdftotext", path, "-layout").split())


@without_subsets
@without_pango
def test_equal_reports_give_equal_bytes_in_another_process(made: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from tests.unit.report.test_report_html import report\n"
        "from medseg.report import pdf\n"
        "pathlib.Path(sys.argv[1]).write_bytes(pdf.render_pdf(report()))\n"
    )
    again = tmp_path / "again.pdf"
    environment = {**os.environ, "PYTHONHASHSEED": "4321", "TZ": "Asia/Tokyo"}
    subprocess.run(
        [sys.executable, "-c", code, str(again)],
        check=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    )
    assert again.read_bytes() == made.read_bytes()
    other = replace(report(), title="Another title")
    assert pdf.render_pdf(other) != made.read_bytes()


@without_pango
def test_it_is_tagged_in_its_language_and_holds_no_date(made: Path) -> None:
    said = said_by("pdfinfo", made)
    assert re.search(r"Tagged: +yes", said)
    assert re.search(r"JavaScript: +no", said)
    assert "Date" not in said
    assert re.search(r"Title: +Lesions on PET", said)
    metadata = said_by("pdfinfo", made, "-meta")
    assert "<pdfuaid:part>1" in metadata or 'pdfuaid:part="1"' in metadata
    assert any(b"/Lang (en)" in stream for stream in streams(made))
    structure = said_by("pdfinfo", made, "-struct")
    for tag in ("H1", "H2", "Table", "TH", "TD", "Figure", "Link"):
        assert re.search(rf"^ *{tag}\b", structure, re.MULTILINE), tag


@without_pango
def test_every_font_is_embedded_and_is_the_one_that_was_looked_up(made: Path) -> None:
    lines = said_by("pdffonts", made).splitlines()[2:]
    assert lines
    for line in lines:
        name, *rest = line.split()
        assert "DejaVu-Sans" in name
        assert rest[-5:-2] == ["yes", "yes", "yes"]  # embedded, subset, unicode


@without_pango
def test_it_says_what_the_page_says(made: Path) -> None:
    said = text_of(made)
    page = Page(render_for_paper(report()))
    for table in ("lesion-table", "below-table"):
        # What is too wide for paper stands with the lesion's pictures.
        kept = [n for n, name in enumerate(page.cells[table][0]) if name not in DETAILS]
        for line in page.cells[table][1:]:
            assert " ".join(line[n] for n in kept).strip() in said
        for row in report().lesions:
            assert f"SUVmean {row.measurement.intensity_mean:.2f} g/mL" in said
    assert "Something is doubtful." in said
    assert "Counting rule cc26-peaks" in said
    pages = int(re.search(r"Pages: +(\d+)", said_by("pdfinfo", made))[1])  # type: ignore[index]
    assert said.count("Not for diagnostic use") >= pages + 2
    for number in (1, 2, 3):
        assert f"Lesion {number} · coronal" in said


@without_pango
def test_nothing_is_said_of_the_style_sheet_or_the_pictures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from weasyprint import HTML

    with caplog.at_level(logging.WARNING, "weasyprint"):
        HTML(string=render_for_paper(report())).render()
    assert caplog.messages == []


@without_pango
def test_hostile_text_is_text_loads_nothing_and_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "hostile.pdf"
    with caplog.at_level(logging.DEBUG):
        path.write_bytes(pdf.render_pdf(hostile_report()))
    assert not [line for line in caplog.records if line.name == "weasyprint"]
    assert '<script>alert("x")</script>' in text_of(path)
    assert re.search(r"JavaScript: +no", said_by("pdfinfo", path))
    assert not any(b"/URI" in stream for stream in streams(path))


def in_a_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout


def test_without_pango_a_flag_says_what_to_install() -> None:
    code = (
        "import cffi\n"
        "def absent(self, name, flags=0): raise OSError(f'cannot load library {name!r}')\n"
        "cffi.FFI.dlopen = absent\n"
        "from medseg.report import pdf\n"
        "print(pdf.missing())"
    )
    said = in_a_process(code)
    assert said.startswith("QualityFlag(code='no-pdf'")
    assert "Pango" in said
    assert "libpango-1.0-0" in said


@without_pango
def test_without_the_font_a_flag_says_so_and_the_process_lives(tmp_path: Path) -> None:
    settings = tmp_path / "fonts.conf"
    settings.write_text("<fontconfig><dir>/nowhere</dir></fontconfig>")
    code = "from medseg.report import pdf\nprint(pdf.missing())"
    said = in_a_process(code, FONTCONFIG_FILE=str(settings))
    assert "font DejaVu Sans is not installed" in said
    assert "fonts-dejavu-core" in said
