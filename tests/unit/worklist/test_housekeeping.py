"""What is old goes; the latest result of a study, and what is being made, stay."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.worklist import audit, batch, lease, records, work
from medseg.worklist.housekeeping import DAY_SECONDS, Removed, keep_house
from medseg.worklist.outcome import Outcome, StudyOutcome

NEW = StudyOutcome(
    1, "a" * 64, Outcome.DONE, run="a" * 16, study_key="one", ended="2026-11-26T00:00:00+00:00"
)
OLD = replace(NEW, fingerprint="b" * 64, run="b" * 16, ended="2026-11-01T00:00:00+00:00")
OTHER = replace(OLD, fingerprint="c" * 64, run="c" * 16, study_key="two")


def aged(path: Path, days: float) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "file").write_text("x")
    then = time.time() - days * DAY_SECONDS
    os.utime(path, (then, then))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for row in (NEW, OLD, OTHER):
        records.write(tmp_path, row)
        aged(tmp_path / row.run, 40)
    return tmp_path


def kept(runs: Path, days: float = 30) -> Removed:
    return keep_house(runs, damaged_days=days, superseded_days=days, tables_days=days)


def test_an_old_run_that_has_a_later_one_goes_and_the_log_says_so(runs: Path) -> None:
    assert kept(runs).superseded == 1
    assert not (runs / OLD.run).exists()
    assert (runs / NEW.run).exists()
    assert (runs / OTHER.run).exists()
    assert {row.run for row in records.every(runs)} == {NEW.run, OTHER.run}
    assert '"remove"' in (runs / audit.LOG).read_text()
    assert "superseded" not in (runs / batch.INDEX).read_text()
    assert kept(runs).superseded == 0


def test_a_run_goes_as_it_came_at_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it is removed, it is no run folder any more; the next night does the rest."""

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medseg.worklist.housekeeping.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        kept(runs)
    monkeypatch.undo()
    assert not (runs / OLD.run).exists()
    assert {row.run for row in records.every(runs)} == {NEW.run, OTHER.run}


def test_the_record_of_an_old_run_that_is_gone_goes_too(runs: Path) -> None:
    shutil.rmtree(runs / OLD.run)
    assert kept(runs).superseded == 1
    assert {row.run for row in records.every(runs)} == {NEW.run, OTHER.run}


def test_a_young_one_stays(runs: Path) -> None:
    assert kept(runs, 60).superseded == 0
    assert (runs / OLD.run).exists()


def test_damaged_runs_and_tables_go_by_their_age(runs: Path) -> None:
    for folder in (work.DAMAGED, batch.FOLDER):
        aged(runs / folder / "old", 31)
        aged(runs / folder / "young", 29)
    found = kept(runs)
    assert (found.damaged, found.tables) == (1, 1)
    assert [path.name for path in (runs / work.DAMAGED).iterdir()] == ["young"]


def test_what_is_being_made_stays_and_what_the_dead_left_goes(runs: Path) -> None:
    aged(runs / work.WORK / ("d" * 64), 0)
    aged(runs / work.WORK / ("e" * 64), 0)
    with lease.held(runs, "d" * 64):
        assert kept(runs).half_made == 1
        assert [path.name for path in (runs / work.WORK).iterdir()] == ["d" * 64]
        assert not lease.is_free(runs, "d" * 64)


def test_there_may_be_nothing_yet(tmp_path: Path) -> None:
    assert kept(tmp_path / "none") == Removed(0, 0, 0, 0, 0)
