"""A study that hangs, dies or is killed costs itself and nothing else."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medseg.errors import NoImageError, ResourceError, StudyCrashedError, StudyTimedOutError
from medseg.worklist.child import StudyProcess, shared_process


@pytest.fixture
def process() -> Iterator[StudyProcess]:
    with StudyProcess() as made:
        yield made


def hang() -> None:
    time.sleep(600)


def die() -> None:
    os._exit(7)


def starve() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise NoImageError("What is wrong.", "What to do.")


def fail() -> None:
    raise ValueError("CANARY^PATIENT")


def test_the_process_is_kept_from_study_to_study(process: StudyProcess) -> None:
    first = process.call(os.getpid, seconds=60)
    assert first != os.getpid()
    assert process.call(os.getpid, seconds=60) == first


def test_a_study_that_hangs_is_stopped_and_the_next_is_done(process: StudyProcess) -> None:
    before = process.call(os.getpid, seconds=60)
    with pytest.raises(StudyTimedOutError):
        process.call(hang, seconds=1)
    assert process.call(os.getpid, seconds=60) != before


def test_a_study_that_is_killed_is_the_machines_fault(process: StudyProcess) -> None:
    with pytest.raises(ResourceError):
        process.call(starve, seconds=60)
    assert process.call(os.getpid, seconds=60) > 0


def test_a_process_that_dies_by_itself_is_no_fault_of_the_machine(process: StudyProcess) -> None:
    with pytest.raises(StudyCrashedError, match="status 7"):
        process.call(die, seconds=60)


def test_an_error_of_ours_comes_back_as_it_is(process: StudyProcess) -> None:
    with pytest.raises(NoImageError, match=r"What is wrong\. What to do\."):
        process.call(refuse, seconds=60)


def test_a_bug_is_named_by_its_type_alone(process: StudyProcess) -> None:
    with pytest.raises(StudyCrashedError, match="ValueError") as caught:
        process.call(fail, seconds=60)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None


PARENT = """
import os, sys, time
from medseg.worklist.child import StudyProcess, shared_process
if __name__ == "__main__":
    process = StudyProcess()
    print(process.call(os.getpid, seconds=60), flush=True)
    time.sleep(60)
"""


def test_the_process_goes_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        for _ in range(100):
            if not Path(f"/proc/{child}/cmdline").is_file():
                break
            time.sleep(0.1)
    assert not Path(f"/proc/{child}/cmdline").is_file()


def use_the_shared_process() -> None:
    shared_process().call(os.getpid, seconds=60)


def test_a_worker_of_dask_ends_though_its_process_was_kept() -> None:
    worker = multiprocessing.get_context("spawn").Process(target=use_the_shared_process)
    worker.start()
    try:
        worker.join(60)
        assert worker.exitcode == 0
    finally:
        worker.kill()
        worker.join()
