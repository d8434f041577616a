"""The flow writes what the library writes, and keeps a patient's name to itself."""

import dataclasses
import json
import logging
import sqlite3
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

from medseg import manifest, run_folder, stages
from medseg.errors import InputError
from medseg.phantom.body import small_phantom
from medseg.phantom.study import PHANTOM_PATIENT, write_study
from medseg.report import pdf
from pipelines.delineate_study import delineate_study

CANARY = dataclasses.replace(PHANTOM_PATIENT, name="CANARY^TEST", patient_id="CANARY-ID")


@pytest.fixture(scope="module")
def canary_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input") / "study"
    write_study(folder, small_phantom(), CANARY)
    assert any(b"CANARY" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return folder


@pytest.fixture(scope="module")
def flow_run(
    prefect_server: Path, canary_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("flow") / "run"
    assert delineate_study(canary_study, run) == run / run_folder.REPORT_HTML
    return run


@pytest.fixture(scope="module")
def command_run(canary_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("command") / "run"
    stages.delineate(canary_study, run)
    return run


def contents(run: Path) -> dict[str, bytes]:
    files = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file()
    }
    record = json.loads(files[run_folder.RUN_RECORD])
    assert record.pop("timings_seconds").keys() == {
        "ingest",
        "segment",
        "measure",
        "report",
        "export",
        "verify",
    }
    assert record.pop("peak_memory_mib") > 0
    files[run_folder.RUN_RECORD] = json.dumps(record).encode()
    whole = json.loads(files[manifest.FILE])
    del whole["files"][run_folder.RUN_RECORD]
    files[manifest.FILE] = json.dumps(whole).encode()
    return files


def test_the_flow_writes_what_the_command_writes(flow_run: Path, command_run: Path) -> None:
    by_flow, by_command = contents(flow_run), contents(command_run)
    assert by_flow.keys() == by_command.keys()
    assert sorted(by_flow) == sorted(
        [
            run_folder.LESIONS,
            run_folder.ORGANS,
            run_folder.TABLE_CSV,
            run_folder.TABLE_JSON,
            run_folder.TABLE_PARQUET,
            run_folder.FHIR,
            run_folder.REPORT_HTML,
            *([run_folder.REPORT_PDF, run_folder.DICOM_REPORT] if pdf.missing() is None else []),
            run_folder.RUN_RECORD,
            manifest.FILE,
            run_folder.DICOM_LESIONS,
            run_folder.DICOM_MEASUREMENTS,
            run_folder.DICOM_STRUCTURES,
        ]
    )
    assert [name for name in by_flow if by_flow[name] != by_command[name]] == []
    assert len(json.loads(by_flow[run_folder.TABLE_JSON])["instances"]) > 0


def test_no_output_but_the_objects_for_the_pacs_names_the_patient(
    flow_run: Path, command_run: Path
) -> None:
    for run in (flow_run, command_run):
        for path in run.rglob("*"):
            assert "CANARY" not in path.name
            if path.suffix == ".dcm":
                assert b"CANARY^TEST" in path.read_bytes()
                continue
            assert path.is_dir() or b"CANARY" not in path.read_bytes()
            if path.suffix == ".gz":
                import gzip

                assert b"CANARY" not in gzip.decompress(path.read_bytes())


def test_prefects_database_does_not_name_the_patient(flow_run: Path) -> None:
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    path = Path(url.split("///")[-1])
    with sqlite3.connect(path) as database:
        dump = "\n".join(database.iterdump())
    assert "delineate-study" in dump, "this is not the database of the flow's run"
    assert "CANARY" not in dump


def test_a_refused_study_names_no_patient_and_leaves_nothing(
    prefect_server: Path,
    canary_study: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(canary_study, broken)
    for path in [path for path in broken.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[:-2000])
    caplog.set_level(logging.DEBUG)
    for run in (stages.delineate, delineate_study):
        with pytest.raises(InputError) as caught:
            run(broken, tmp_path / "run")
        assert "CANARY" not in str(caught.value)
    assert "CANARY" not in caplog.text
    out, err = capfd.readouterr()
    assert "CANARY" not in out + err
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_refusal_is_no_traceback_and_a_bug_of_ours_is_one(
    prefect_server: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pipelines.__main__ import keep_refusals_short

    keep_refusals_short()
    with pytest.raises(InputError):
        delineate_study(tmp_path / "missing", tmp_path / "run")
    assert "prefect.flow_runs" in [record.name for record in caplog.records]
    assert not [record for record in caplog.records if record.exc_info]

    def bug(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pipelines.delineate_study.line", bug)
    with pytest.raises(AssertionError):
        delineate_study(tmp_path / "missing", tmp_path / "run")
    assert [record for record in caplog.records if record.exc_info]


def test_a_second_run_writes_the_same_bytes(
    canary_study: Path, command_run: Path, tmp_path: Path
) -> None:
    stages.delineate(canary_study, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(command_run)


def test_the_notebook_runs_and_its_changed_setting_changes_the_lesions(
    prefect_server: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = Path(__file__).parents[2] / "notebooks" / "rerun_a_study.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    shown = "".join(
        output.text for cell in cells for output in cell.outputs if output.output_type == "stream"
    )
    volumes: dict[str, float] = {}
    for line in shown.splitlines():
        if line.startswith(("as-shipped:", "stricter:")):
            run = line.split(":")[0]
            volumes[run] = 0.0
        elif line.startswith("  ") and " mL, " in line:
            volumes[run] += float(line.split(":")[1].split(" mL")[0])
    assert volumes["as-shipped"] > volumes["stricter"] > 0
    assert "settings.segment.foreground_threshold: 0.42 -> 0.8" in shown
