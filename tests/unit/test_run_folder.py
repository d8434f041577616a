import errno
from pathlib import Path

import pytest

from medseg import run_folder
from medseg.errors import InputError, ResourceError, RunFolderError


def test_a_run_folder_appears_only_when_the_block_succeeds(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with run_folder.staged(run) as work:
        (work / "a").write_text("1")
        (work / run_folder.STAGES / "handed-on").write_text("2")
        assert not run.exists()
    assert sorted(path.name for path in run.iterdir()) == ["a", "manifest.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_run_folder_is_as_readable_as_any_other_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with run_folder.staged(tmp_path / "run"):
        pass
    assert (tmp_path / "run").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("error", [InputError("a", "b"), ValueError("bug"), KeyboardInterrupt()])
def test_a_failed_run_leaves_nothing_behind_and_keeps_its_error(
    tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)), run_folder.staged(tmp_path / "made" / "for" / "it") as work:
        (work / "half").write_text("1")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_folder_is_refused_and_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "report.html").write_text("mine")
    with pytest.raises(RunFolderError), run_folder.staged(run):
        pytest.fail("the block must not run")
    assert (run / "report.html").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_folder_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(RunFolderError), run_folder.staged(run):
        run.mkdir()
        (run / "report.html").write_text("theirs")
    assert (run / "report.html").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), MemoryError()])
def test_a_full_disk_and_a_full_memory_are_errors_of_the_machine(
    tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(ResourceError), run_folder.staged(tmp_path / "run"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError), run_folder.staged(tmp_path / "file" / "run"):
        pytest.fail("the block must not run")
