"""A report that is asked to name the patient does, and nothing else of the run does."""

import dataclasses
import gzip
import logging
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread

from medseg import config, run_folder, stages
from medseg.config import Protocol
from medseg.formats.dicom_identification import identification
from medseg.formats.dicom_source import DicomSource, source_of
from medseg.phantom.body import small_phantom
from medseg.phantom.study import PHANTOM_PATIENT, write_study
from medseg.report import pdf
from tests import dicom_series, pacs
from tests.programs import program
from tests.unit.report.test_report_html import data_of

CANARY = dataclasses.replace(PHANTOM_PATIENT, name="CANARY^TEST", patient_id="CANARY-ID")
NAMED = (run_folder.REPORT_HTML, run_folder.REPORT_PDF)


def identified(named: bool = True) -> Protocol:
    protocol = config.load_protocol("pet-lesions")
    report = protocol.report.model_copy(update={"pseudonymised": not named})
    return protocol.model_copy(update={"report": report})


@pytest.fixture(scope="module")
def logged() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, logged: list[str]) -> Path:
    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    source, handler = tmp_path_factory.mktemp("in") / "study", Kept()
    write_study(source, small_phantom(), CANARY)
    root = logging.getLogger()
    root.addHandler(handler)
    level, root.level = root.level, logging.DEBUG
    try:
        folder = tmp_path_factory.mktemp("out") / "run"
        stages.delineate(source, folder, identified())
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    return folder


def test_the_head_of_page_and_pdf_names_patient_and_study(run: Path) -> None:
    text = (run / run_folder.REPORT_HTML).read_text(encoding="utf-8")
    assert "<dt>Patient</dt><dd>CANARY, TEST</dd>" in text
    assert "<dt>Patient ID</dt><dd>CANARY-ID</dd>" in text
    assert text.index("CANARY") < text.index("<main>")
    assert "CANARY" not in text[text.index("<main>") :]
    assert "CANARY" not in str(data_of(text))
    if pdf.missing() is None:
        command = [program("pdftotext", "poppler-utils"), str(run / run_folder.REPORT_PDF), "-"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "CANARY, TEST" in said
        assert dcmread(run / run_folder.DICOM_REPORT).BurnedInAnnotation == "YES"


def test_nothing_else_of_the_run_names_the_patient(run: Path, logged: list[str]) -> None:
    others = [path for path in run.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    others = [path for path in others if path.name not in NAMED]
    assert len(others) >= 6
    for path in others:
        content = path.read_bytes()
        assert b"CANARY" not in (gzip.decompress(content) if path.suffix == ".gz" else content)
    assert len(logged) > 8
    assert not [line for line in logged if "CANARY" in line]


def test_a_source_that_names_no_patient_is_flagged_where_a_name_was_asked_for(
    tmp_path: Path,
) -> None:
    named, flag = stages._identification(tmp_path, identified())
    assert named == ()
    assert flag is not None
    assert flag.code == "patient-not-named"
    assert stages._identification(tmp_path, identified(named=False)) == ((), None)


def test_names_and_dates_are_written_as_people_do_and_damaged_ones_are_left_out(
    tmp_path: Path,
) -> None:
    tags = {
        "PatientName": "=Bédard^Zoé^^Dr.=X^Y",
        "PatientBirthDate": "19770707",
        "PatientID": ["a", "b"],
        "PatientSex": "",
    }
    datasets = pacs.series(pacs.oblique(), **tags)
    source = source_of(pacs.read_stack(dicom_series.write(tmp_path / "in", datasets)))
    assert isinstance(source, DicomSource)
    said = dict(identification(source))
    assert said["Patient"] == "Bédard, Zoé, Dr."
    assert said["Born"] == "1977-07-07"
    assert "Sex" not in said
