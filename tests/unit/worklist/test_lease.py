"""One holder at a time; the dead hold nothing."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from medseg.worklist import lease

STUDY = "a" * 64


def test_a_lease_is_anothers_only_after_it_was_given_back(tmp_path: Path) -> None:
    with lease.held(tmp_path, STUDY) as mine:
        assert mine is not None
        assert mine.is_held()
        assert lease.take(tmp_path, STUDY) is None
        assert not lease.is_free(tmp_path, STUDY)
        assert lease.take(tmp_path, "b" * 64) is not None
    assert lease.is_free(tmp_path, STUDY)
    assert not mine.is_held()
    assert lease.take(tmp_path, STUDY) is not None


def _race(runs: Path, barrier: Barrier, won: Path) -> None:
    barrier.wait()
    if lease.take(runs, STUDY) is not None:
        (won / str(os.getpid())).touch()
        time.sleep(1)


def test_of_many_processes_that_ask_at_once_one_gets_it(tmp_path: Path) -> None:
    (tmp_path / "won").mkdir()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(6)
    racers = [
        context.Process(target=_race, args=(tmp_path / "runs", barrier, tmp_path / "won"))
        for _ in range(6)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(list((tmp_path / "won").iterdir())) == 1


HOLD = """
import sys, time
from pathlib import Path
from medseg.worklist import lease
assert lease.take(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


def test_a_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), STUDY], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert lease.take(tmp_path, STUDY) is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert lease.is_free(tmp_path, STUDY)
    assert lease.take(tmp_path, STUDY) is not None


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def _of_another_machine(path: Path, expires: float) -> None:
    values = json.loads(path.read_bytes())
    path.write_text(json.dumps({**values, "machine": "elsewhere", "expires": expires}))


def test_a_lease_of_another_machine_lasts_until_it_expires(tmp_path: Path) -> None:
    taken = lease.take(tmp_path, STUDY)
    assert taken is not None
    _of_another_machine(taken.path, time.time() + 60)
    assert lease.take(tmp_path, STUDY) is None
    _of_another_machine(taken.path, time.time() - 1)
    assert lease.take(tmp_path, STUDY) is not None
    assert not taken.is_held()
    assert not taken.renew()


def test_who_lost_a_lease_does_not_give_back_the_new_owners(tmp_path: Path) -> None:
    taken = lease.take(tmp_path, STUDY)
    assert taken is not None
    _of_another_machine(taken.path, time.time() + 60)
    taken.release()
    assert not lease.is_free(tmp_path, STUDY)


def test_a_lease_is_renewed_while_the_work_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LASTS_SECONDS", 0.6)
    monkeypatch.setattr(lease, "RENEWED_AFTER_SECONDS", 0.1)
    with lease.held(tmp_path, STUDY) as mine:
        time.sleep(1.5)
        assert mine is not None
        assert mine.is_held()
        assert lease.KEEPER in _threads()
    assert lease.KEEPER not in _threads()


def test_a_lease_outlives_a_disk_that_refuses_one_renewal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LASTS_SECONDS", 2.0)
    monkeypatch.setattr(lease, "RENEWED_AFTER_SECONDS", 0.1)
    with lease.held(tmp_path, STUDY) as mine:
        assert mine is not None
        in_the_way = mine.path.with_name(f".{STUDY}")
        in_the_way.mkdir()
        time.sleep(0.5)
        in_the_way.rmdir()
        time.sleep(2.5)
        assert mine.is_held()


def test_what_a_killed_writer_of_a_lease_left_goes_with_the_next(tmp_path: Path) -> None:
    with lease.held(tmp_path, STUDY) as mine:
        assert mine is not None
        mine.path.with_name(f".{STUDY}").write_text("half")
        assert mine.renew()
    assert [path.name for path in (tmp_path / lease.FOLDER).iterdir()] == [lease.MUTEX]


def test_housekeeping_removes_the_leases_of_the_dead_alone(tmp_path: Path) -> None:
    alive, dead = lease.take(tmp_path, STUDY), lease.take(tmp_path, "b" * 64)
    assert alive is not None
    assert dead is not None
    values = json.loads(dead.path.read_bytes())
    dead.path.write_text(json.dumps({**values, "started": "1"}))
    assert lease.clear_orphans(tmp_path) == 1
    assert alive.is_held()
    assert not dead.path.exists()
