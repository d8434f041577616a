"""The report as a tagged PDF (PDF/UA-1, ISO 14289-1) with its fonts inside.

WeasyPrint draws it with Pango, which is a Debian package and not on every machine. Without it, or
without the font, there is no PDF and a flag that says so: Pango takes the process down where it
finds no font at all, so that is looked up before.
"""

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator
from types import ModuleType

from medseg.core.report import Report
from medseg.core.study import QualityFlag
from medseg.report.html import PAPER_FONT, render_for_paper

NO_PDF = "no-pdf"


def missing() -> QualityFlag | None:
    """Why no PDF can be made on this machine, or None."""
    said = io.StringIO()
    try:
        # WeasyPrint prints its own advice and warns of libraries that it could do without.
        with contextlib.redirect_stdout(said), warnings.catch_warnings(action="ignore"):
            from weasyprint.text import ffi
    except (ImportError, OSError):
        return _flag("the libraries Pango and HarfBuzz, which draw it, are not installed")
    if _matched(ffi) != PAPER_FONT:
        return _flag(f"the font {PAPER_FONT} is not installed")
    return None


def render_pdf(report: Report) -> bytes:
    """The report as a PDF; equal reports give equal bytes where libharfbuzz-subset is installed.

    Its dates are left out and its identifier is made from its content, because both would differ
    between two runs. It loads nothing: only pictures within the page are taken.

    Raises:
        ValueError: A number is not finite.
        OSError: `missing` says why.
    """
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    page = render_for_paper(report)
    inside_alone = URLFetcher(allowed_protocols=["data"])
    with _silent(logging.getLogger("weasyprint")):
        pdf: bytes = HTML(string=page, url_fetcher=inside_alone).write_pdf(
            pdf_variant="pdf/ua-1",
            pdf_identifier=hashlib.sha256(page.encode()).digest()[:16],
        )
    return pdf


@contextlib.contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Log nothing: it would quote letters that the font lacks, which may be those of a name."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _matched(libraries: ModuleType) -> str:
    """The font family that fontconfig finds for `PAPER_FONT`; empty where it has no font."""
    ffi, fontconfig = libraries.ffi, libraries.fontconfig
    installed = fontconfig.FcInitLoadConfigAndFonts()
    wanted = ffi.gc(fontconfig.FcPatternCreate(), fontconfig.FcPatternDestroy)
    fontconfig.FcPatternAddString(wanted, b"family", PAPER_FONT.encode())
    fontconfig.FcConfigSubstitute(installed, wanted, fontconfig.FcMatchPattern)
    fontconfig.FcDefaultSubstitute(wanted)
    found = fontconfig.FcFontMatch(installed, wanted, ffi.new("FcResult *"))
    fontconfig.FcConfigDestroy(installed)
    if found == ffi.NULL:
        return ""
    found = ffi.gc(found, fontconfig.FcPatternDestroy)
    family = ffi.new("FcChar8 **")
    fontconfig.FcPatternGetString(found, b"family", 0, family)
    return bytes(ffi.string(family[0])).decode()


def _flag(reason: str) -> QualityFlag:
    return QualityFlag(
        NO_PDF,
        f"No PDF of this report was made, because {reason}. Install the Debian packages "
        "libpango-1.0-0, libpangoft2-1.0-0, libharfbuzz-subset0 and fonts-dejavu-core, then run "
        "the study again. No number depends on it.",
    )
