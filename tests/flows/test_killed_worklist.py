"""A worklist that is killed at random moments and started again: nothing lost, nothing doubled.

`benchmarks/worklist_kills.py` does the same to a hundred studies, flow, worker and server.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from medseg.worklist import work
from tests.worklists import (
    compare,
    do_undisturbed,
    processes_with,
    run_folders,
    write_phantoms,
)

STUDIES = 4

SEED = random.randrange(2**32)  # noqa: S311  another moment in every run


@contextmanager
def running(studies: Path, runs: Path, home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worklist by hand, and its embedded server; what is alive at the end is killed."""
    own = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines", "worklist", studies, runs],
        env={**own, "PREFECT_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until_under_way(runs: Path, done: int, process: "subprocess.Popen[bytes]") -> None:
    """Until so many studies are done and another is being made."""
    until = time.monotonic() + 240
    while len(run_folders(runs)) < done or not any((runs / work.WORK).glob("*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.timeout(600)
def test_a_worklist_that_is_killed_and_started_again_ends_as_if_nothing_had_been(
    tmp_path: Path,
) -> None:
    studies, runs, home = tmp_path / "studies", tmp_path / "runs", tmp_path / "home"
    write_phantoms(studies, STUDIES)
    do_undisturbed(studies, tmp_path / "undisturbed")
    rng = random.Random(SEED)  # noqa: S311
    for done in (0, 2):
        with running(studies, runs, home) as process:
            wait_until_under_way(runs, done, process)
            time.sleep(rng.uniform(0, 2))
            assert process.poll() is None
    with running(studies, runs, home) as process:
        assert process.wait(240) == 0, SEED
    found = compare(studies, tmp_path / "undisturbed", runs)
    assert found.is_as_it_should_be, (SEED, found)
    assert processes_with(f"PREFECT_HOME={home}") == []
