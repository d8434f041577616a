"""The log shows what was changed in it, and survives writers who die."""

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.cli import app
from medseg.errors import RunFolderError
from medseg.worklist import audit


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for number in range(5):
        audit.append(tmp_path, {"action": "delineate", "fingerprint": str(number) * 64})
    return tmp_path


def test_a_log_as_it_was_written_is_whole_and_says_who_and_when(runs: Path) -> None:
    found = audit.check(runs)
    assert (found.lines, found.broken_at) == (5, None)
    first = json.loads((runs / audit.LOG).read_text().splitlines()[0])
    assert first["before"] == "0" * 64
    assert {"time", "user", "host", "action", "fingerprint"} <= first.keys()


@pytest.mark.parametrize(
    ("change", "at"),
    [
        (lambda lines: [lines[0].replace("delineate", "send", 1), *lines[1:]], 2),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: lines[:-1], 5),
        (lambda lines: lines[:-2], 4),
        (lambda lines: [*lines[:-1], lines[-1].replace("4" * 64, "4" * 63 + "5", 1)], 6),
        (lambda lines: [*lines[:2], "{", *lines[3:]], 3),
        (lambda _: [], 1),
    ],
)
def test_a_line_that_was_changed_removed_or_put_in_shows(
    runs: Path, change: Callable[[list[str]], list[str]], at: int
) -> None:
    lines = (runs / audit.LOG).read_text().splitlines()
    (runs / audit.LOG).write_text("".join(f"{line}\n" for line in change(lines)))
    assert audit.check(runs).broken_at == at


def test_an_account_without_a_name_is_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, whose image knows no name of the account that it runs as."""
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    audit.append(tmp_path, {"action": "delineate"})
    assert json.loads((tmp_path / audit.LOG).read_text())["user"] == str(2**31 - 7)


def test_half_a_line_of_a_writer_who_died_is_cut_off(runs: Path) -> None:
    with (runs / audit.LOG).open("a") as log:
        log.write('{"action": "del')
    audit.append(runs, {"action": "delineate"})
    found = audit.check(runs)
    assert (found.lines, found.broken_at) == (6, None)


def test_a_writer_who_died_before_the_head_was_noted_breaks_nothing(runs: Path) -> None:
    before = (runs / audit.HEAD).read_text()
    audit.append(runs, {"action": "delineate"})
    (runs / audit.HEAD).write_text(before)
    assert audit.check(runs).broken_at is None


def _write(runs: Path, writer: int) -> None:
    for _ in range(20):
        audit.append(runs, {"action": "delineate", "writer": writer})


def test_writers_at_once_make_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = audit.check(tmp_path)
    assert (found.lines, found.broken_at) == (80, None)


def test_the_command_says_where_the_chain_breaks(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app(["audit", str(runs)]) == 0
    assert "5 lines" in capsys.readouterr().out
    lines = (runs / audit.LOG).read_text().splitlines(keepends=True)
    (runs / audit.LOG).write_text("".join(lines[1:]))
    assert app(["audit", str(runs), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["broken_at"] == 1
    with pytest.raises(RunFolderError):
        app(["audit", str(runs / "none")])
