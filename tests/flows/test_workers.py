"""One worklist on two workers of a work pool: they share its studies, and one may be lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL

from medseg import manifest
from medseg.worklist import batch, lease
from tests.worklists import half_made, leases, noted, write_phantoms

STUDIES = 12
"""Enough that a worker finds some left that begins some 15 s after the other: where both ask for
the same run at first, one of them asks again only then."""

POOL = "medseg-shared"
HERE = Path(__file__).parents[2]


@contextmanager
def workers(count: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Workers with their flows, each in a session of its own, so that it can be killed whole."""
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--limit", "1"]
    started = [
        subprocess.Popen(command, env=environment, start_new_session=True) for _ in range(count)
    ]
    try:
        yield started
    finally:
        for one in started:
            kill(one)


def kill(worker: "subprocess.Popen[bytes]") -> None:
    """SIGKILL a worker and the flow that it runs: what a machine that is lost looks like."""
    for pid in descendants(worker.pid) if worker.poll() is None else ():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    worker.wait()


def descendants(pid: int) -> list[int]:
    """A process and all below it; a worker starts its flows in sessions of their own."""
    below = Path(f"/proc/{pid}/task/{pid}/children")
    own = below.read_text().split() if below.exists() else []
    return [pid, *(one for child in own for one in descendants(int(child)))]


def deployed() -> str:
    """The deployment of `prefect.yaml` that may run on many workers at once."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = ["deploy", "--name", "shared", "--pool", POOL]
    subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *command],
        env=environment,
        cwd=HERE,
        check=True,
    )
    return "delineate-worklist/shared"


def state(run: UUID) -> str:
    with get_client(sync_client=True) as client:
        return str(client.read_flow_run(run).state_name)


def owners(runs: Path) -> set[int]:
    """Processes that are at a study."""
    folder = runs / lease.FOLDER
    found = folder.glob("[0-9a-f]*") if folder.is_dir() else ()
    pids = set()
    for path in found:
        try:
            pids.add(int(json.loads(path.read_bytes())["pid"]))
        except FileNotFoundError:
            continue
    return pids


@pytest.mark.timeout(600)
def test_two_workers_share_a_worklist_and_one_does_what_the_lost_one_left(
    prefect_server: Path, tmp_path: Path
) -> None:
    write_phantoms(tmp_path / "studies", STUDIES)
    runs = tmp_path / "runs"
    parameters = {"worklist": str(tmp_path / "studies"), "runs": str(runs)}
    name = deployed()
    both = [run_deployment(name, parameters=parameters, timeout=0).id for _ in range(2)]
    with workers(2) as started:
        until = time.monotonic() + 300
        while len(owners(runs)) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert owners(runs) <= {pid for one in started for pid in descendants(one.pid)}
        kill(started[0])
        while "Completed" not in {state(one) for one in both}:
            assert time.monotonic() < until
            time.sleep(1)
    (table,) = (runs / batch.FOLDER).glob(f"*/{batch.TABLE_JSON}")
    said = json.loads(table.read_bytes())
    assert sum(said["counts"].values()) == STUDIES
    assert set(said["counts"]) <= {"done", "already-done"}
    assert all(manifest.is_whole(runs / row["run"], row["fingerprint"]) for row in said["studies"])
    times = Counter(line["fingerprint"] for line in noted(runs))
    assert times == Counter(row["fingerprint"] for row in said["studies"])
    assert leases(runs) == 0
    assert half_made(runs) == 0
