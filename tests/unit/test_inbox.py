"""What may go from an inbox and what stays; what lies in it is only what was put there."""

import os
import shutil
import time
from pathlib import Path

import pytest

from medseg import inbox as module
from medseg.formats.dicom_receive import Header
from medseg.inbox import GONE, INCOMING, STATE, Arrival, Inbox
from medseg.worklist.housekeeping import DAY_SECONDS, STATE_DAYS, InboxRemoved, keep_inbox
from medseg.worklist.query import BESIDE, _clear_killed


def received(place: Inbox, study: str, number: int = 1, expected: int | None = None) -> None:
    place.keep(b"", b"%d" % number, Header(study, "1", f"{study}.{number}", expected, None))


def only(place: Inbox) -> Arrival:
    (one,) = place.arrivals()
    return one


@pytest.fixture
def place(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "inbox", None)


def in_days(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    then = time.time() + days * DAY_SECONDS
    monkeypatch.setattr("medseg.inbox.time.time", lambda: then)


def test_a_study_that_was_handled_goes_when_it_is_old_and_no_other(
    place: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    received(place, "1.2.3")
    place.handled(only(place))
    received(place, "1.2.4")
    assert keep_inbox(place.folder, 30).received == 0
    in_days(monkeypatch, 31)
    assert keep_inbox(place.folder, None).received == 0
    assert keep_inbox(place.folder, 30).received == 1
    assert only(place).folder.name == place.key("1.2.4")
    assert not list((place.folder / GONE).iterdir())


def test_a_late_slice_keeps_a_study_that_was_handled(
    place: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    received(place, "1.2.3")
    place.handled(only(place))
    received(place, "1.2.3", 2)
    in_days(monkeypatch, 31)
    assert keep_inbox(place.folder, 30).received == 0
    assert only(place).files == 2


def test_a_slice_that_comes_while_a_study_is_removed_brings_it_back(
    place: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    received(place, "1.2.3")
    before = only(place)
    received(place, "1.2.3", 2)
    look = module._look

    def another_comes(folder: Path) -> object:
        received(place, "1.2.3", 3)
        return look(folder)

    monkeypatch.setattr(module, "_look", another_comes)
    assert not place.remove(before)
    monkeypatch.undo()
    assert only(place).files == 3


def test_a_removal_that_was_killed_is_finished(place: Inbox) -> None:
    (place.folder / GONE / "x").mkdir(parents=True)
    (place.folder / GONE / "x" / "file").touch()
    keep_inbox(place.folder, None)
    assert not (place.folder / GONE).exists()


def test_a_folder_that_vanishes_under_the_receiver_is_an_error_and_no_success(
    place: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(FileNotFoundError):
        received(place, "1.2.3")


def test_what_a_source_said_outlives_its_study_for_a_while(
    place: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        received(place, "1.2.3", number, expected=2)
    place.handled(only(place))
    in_days(monkeypatch, 31)
    assert keep_inbox(place.folder, 30) == InboxRemoved(received=1, states=0, incoming=0)
    received(place, "1.2.3", 2, expected=2)
    assert not only(place).is_complete(0)
    shutil.rmtree(only(place).folder)
    in_days(monkeypatch, 31 + STATE_DAYS + 1)
    assert keep_inbox(place.folder, 30).states == 2
    assert not list((place.folder / STATE).iterdir())


def test_what_is_known_of_a_study_that_is_there_stays(
    place: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    received(place, "1.2.3", expected=2)
    in_days(monkeypatch, 1000)
    assert keep_inbox(place.folder, 30) == InboxRemoved(0, 0, 0)
    assert only(place).expected == 2


def test_what_a_killed_receiver_left_goes_after_a_day_and_what_is_being_written_stays(
    place: Inbox,
) -> None:
    for name, hours in (("old", 25), ("young", 23)):
        path = place.folder / INCOMING / name
        path.touch()
        os.utime(path, (0, time.time() - hours * 3600))
    assert keep_inbox(place.folder, None).incoming == 1
    assert [path.name for path in (place.folder / INCOMING).iterdir()] == ["young"]


def test_there_may_be_no_inbox(tmp_path: Path) -> None:
    assert keep_inbox(tmp_path / "none", 30) == InboxRemoved(0, 0, 0)
    assert not (tmp_path / "none").exists()


def test_a_study_with_a_link_in_it_is_left_out(
    place: Inbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "CANARY.dcm"
    secret.touch()
    for name in ("CANARY-of-mine", "other"):
        (place.folder / name / "a").mkdir(parents=True)
        (place.folder / name / "a" / "file").touch()
    (place.folder / "CANARY-of-mine" / "a" / "link").symlink_to(secret)
    assert only(place).folder.name == "other"
    assert "holds a link" in caplog.text
    assert "CANARY" not in caplog.text


def in_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    in_days(monkeypatch, seconds / DAY_SECONDS)


def test_a_study_that_fails_rests_longer_each_time_until_it_changes(
    place: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    received(place, "1.2.3")
    assert not only(place).rests
    for tries, rest in ((1, 60), (2, 120), (3, 240)):
        place.failed(only(place))
        with monkeypatch.context() as patch:
            in_seconds(patch, rest - 20)
            assert only(place).rests, tries
        with monkeypatch.context() as patch:
            in_seconds(patch, rest + 1)
            assert not only(place).rests, tries
    for _ in range(20):
        place.failed(only(place))
    assert only(place).rests
    with monkeypatch.context() as patch:
        in_seconds(patch, 3601)
        assert not only(place).rests
    received(place, "1.2.3", 2)
    assert not only(place).rests


def test_a_study_that_changes_while_it_is_looked_at_is_left_for_the_next_look(
    place: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As rsync changes one, whose files have other names until they are whole."""
    for name in ("CANARY", "other"):
        (place.folder / name).mkdir()
        (place.folder / name / "file").touch()
    lstat = Path.lstat

    def gone(path: Path) -> os.stat_result:
        if path.parent.name == "CANARY":
            raise FileNotFoundError(2, "gone", str(path))
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", gone)
    assert only(place).folder.name == "other"
    assert "CANARY" not in caplog.text


def test_a_study_that_cannot_be_removed_keeps_nobody_from_the_rest(
    place: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("CANARY", "other"):
        (place.folder / name).mkdir()
        (place.folder / name / "file").touch()
    for one in place.arrivals():
        place.handled(one)
    rename = Path.rename

    def not_ours(path: Path, target: Path) -> Path:
        if path.name == "CANARY":
            raise PermissionError(13, "not ours", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", not_ours)
    in_days(monkeypatch, 31)
    assert keep_inbox(place.folder, 30).received == 1
    assert only(place).folder.name == "CANARY"
    assert "EACCES" in caplog.text
    assert "CANARY" not in caplog.text


def test_what_a_killed_retrieval_left_goes_after_a_day(tmp_path: Path) -> None:
    for name, hours in ((f"{BESIDE}old", 25), (f"{BESIDE}young", 23), ("study", 25)):
        (tmp_path / name / "inside").mkdir(parents=True)
        os.utime(tmp_path / name, (0, time.time() - hours * 3600))
    _clear_killed(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{BESIDE}young", "study"]
