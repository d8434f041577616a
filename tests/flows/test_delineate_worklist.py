"""A worklist as a flow: everything is done once, a fault stops nobody, and no name gets out."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_API_URL

from medseg import manifest, run_folder
from medseg.phantom.body import small_phantom
from medseg.phantom.study import PHANTOM_PATIENT, write_study
from medseg.worklist import audit, batch, lease, listing, work
from medseg.worklist.fingerprint import ListedStudy, fingerprint
from medseg.worklist.outcome import Outcome, StudyOutcome
from pipelines import artifacts
from pipelines.delineate_worklist import delineate_worklist


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("CANARY-inbox")
    for name in ("CANARY-1", "CANARY-2"):
        patient = dataclasses.replace(PHANTOM_PATIENT, name="CANARY^TEST", patient_id=name)
        write_study(folder / name, small_phantom(), patient)
    (folder / "CANARY-3").mkdir()
    (folder / "CANARY-3" / "letter.txt").write_text("CANARY")
    return folder


def rows_of(folder: Path, runs: Path) -> tuple[str, tuple[StudyOutcome, ...]]:
    state = delineate_worklist(folder, runs, return_state=True)
    return str(state.name), state.result(raise_on_failure=False)


@pytest.fixture(scope="module")
def runs(prefect_server: Path, studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worklist") / "runs"
    name, rows = rows_of(studies, folder)
    assert name == "CompletedWithFailures"
    assert [row.outcome for row in rows] == [Outcome.DONE, Outcome.DONE, Outcome.REFUSED]
    return folder


def test_every_study_has_a_whole_run_folder_that_its_content_names(
    runs: Path, studies: Path
) -> None:
    digests = [fingerprint(ListedStudy(1, studies / f"CANARY-{n}")) for n in (1, 2)]
    assert {
        path.name for path in runs.glob("[!.]*") if (path / run_folder.RUN_RECORD).exists()
    } == {work.run_name(digest) for digest in digests}
    assert all(manifest.is_whole(runs / work.run_name(digest), digest) for digest in digests)
    assert {path.name for path in (runs / lease.FOLDER).iterdir()} == {lease.MUTEX}
    assert audit.check(runs).broken_at is None


def test_what_is_done_is_not_done_again_and_what_is_damaged_is(runs: Path, studies: Path) -> None:
    _, rows = rows_of(studies, runs)
    assert [row.outcome for row in rows] == [
        Outcome.ALREADY_DONE,
        Outcome.ALREADY_DONE,
        Outcome.REFUSED,
    ]
    (runs / rows[0].run / run_folder.REPORT_HTML).unlink()
    _, rows = rows_of(studies, runs)
    assert [row.outcome for row in rows] == [
        Outcome.REDONE,
        Outcome.ALREADY_DONE,
        Outcome.REFUSED,
    ]


def test_the_artifacts_show_every_study_with_a_link(runs: Path) -> None:
    own = artifacts._key(runs)  # other worklists were done on the same server
    with get_client(sync_client=True) as client:
        found = {
            one.type: one for one in client.read_artifacts() if one.key and one.key.endswith(own)
        }
    assert str(found["markdown"].data).count("[report](file:") == 2
    assert "no image" in str(found["markdown"].data)
    assert found["progress"].data == 100
    assert "refused" in str(found["table"].data)


def test_a_study_that_took_too_long_is_named_by_its_content_on_the_page_and_in_the_log(
    prefect_server: Path, studies: Path, tmp_path: Path
) -> None:
    runs, folder = tmp_path / "runs", tmp_path / "list"  # the operator's own name, which is kept
    shutil.copytree(studies / "CANARY-1", folder)
    state = delineate_worklist(folder, runs, None, None, 0.1, return_state=True)
    rows = state.result(raise_on_failure=False)
    assert {row.outcome for row in rows} == {Outcome.TIMED_OUT}
    assert f"{len(rows)} of {len(rows)} need a look." in (runs / batch.INDEX).read_text()
    noted = [json.loads(line) for line in (runs / audit.LOG).read_text().splitlines()]
    digests = [fingerprint(study) for study in listing.studies(folder)]
    assert [one["fingerprint"] for one in noted] == digests


COMMAND = "from pipelines.__main__ import app; import sys; sys.exit(app(sys.argv[1:]) or 0)"


def test_two_worklists_at_once_do_each_study_once(
    prefect_server: Path, studies: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, "worklist", studies, tmp_path / "runs", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    said = [json.loads(one.communicate()[0]) for one in both]
    assert [one.returncode for one in both] == [3, 3]
    lines = (tmp_path / "runs" / audit.LOG).read_text().splitlines()
    done = [json.loads(line)["fingerprint"] for line in lines if '"done"' in line]
    assert len(done) == len(set(done)) == 2
    for one in said:
        assert sum(one["counts"].get(name, 0) for name in ("done", "already-done")) == 2


def test_no_name_gets_out_but_into_the_objects_for_the_pacs(
    prefect_server: Path, runs: Path, studies: Path
) -> None:
    assert any(b"CANARY" in path.read_bytes() for path in studies.rglob("*") if path.is_file())
    for path in runs.rglob("*"):
        if run_folder.DICOM not in path.relative_to(runs).parts:
            assert "CANARY" not in path.name
            assert not path.is_file() or b"CANARY" not in path.read_bytes(), path
    assert list(runs.rglob("*.dcm"))
    assert list((runs / batch.FOLDER).iterdir())
    database = PREFECT_API_DATABASE_CONNECTION_URL.value()
    path = Path(
        str(
            database.get_secret_value() if hasattr(database, "get_secret_value") else database
        ).rpartition(":///")[2]
    )
    stored = b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))
    # The folder that the operator named is a parameter of the flow; the studies in it are not.
    for name in (b"CANARY^TEST", b"CANARY-1", b"CANARY-2", b"CANARY-3"):
        assert name not in stored
