"""A worklist on Dask: workers share the studies, and one that is lost costs nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ThreadPoolTaskRunner

from medseg import manifest
from medseg.errors import SettingsError
from medseg.worklist import lease
from pipelines import runners
from tests.flows.test_delineate_worklist import COMMAND
from tests.worklists import half_made, leases, noted, write_phantoms

STUDIES = 4


def test_without_an_address_studies_are_done_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(runners.ADDRESS, raising=False)
    assert isinstance(runners.chosen(), ThreadPoolTaskRunner)


@pytest.mark.parametrize("address", ["local:", "local:0", "local:65", "local:two", "node"])
def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(runners.ADDRESS, address)
    with pytest.raises(SettingsError):
        runners.chosen()


def test_a_worker_that_is_killed_in_a_study_loses_nothing(
    prefect_server: Path, tmp_path: Path
) -> None:
    write_phantoms(tmp_path / "studies", STUDIES)
    runs = tmp_path / "runs"
    flow = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "worklist", tmp_path / "studies", runs, "--json"],
        env={
            **os.environ,
            "PREFECT_API_URL": PREFECT_API_URL.value(),
            runners.ADDRESS: "local:2",
        },
        stdout=subprocess.PIPE,
    )
    until = time.monotonic() + 120
    while not any((runs / ".work").glob("*/run*")) and time.monotonic() < until:
        assert flow.poll() is None
        time.sleep(0.02)
    owners = {
        json.loads(path.read_bytes())["pid"]
        for path in (runs / lease.FOLDER).iterdir()
        if path.name != lease.MUTEX
    }
    killed = owners.pop()
    os.kill(killed, signal.SIGKILL)
    out, _ = flow.communicate(timeout=240)
    assert flow.returncode == 0
    said = json.loads(out)
    assert sum(said["counts"].values()) == STUDIES
    assert set(said["counts"]) <= {"done", "already-done"}
    assert all(manifest.is_whole(runs / row["run"], row["fingerprint"]) for row in said["studies"])
    assert sorted(row["fingerprint"] for row in said["studies"]) == sorted(
        entry["fingerprint"] for entry in noted(runs)
    )
    assert leases(runs) == 0
    assert half_made(runs) == 0
