"""A study is done once, whatever was there before; one fault stops nobody else."""

import errno
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medseg import manifest, run_folder
from medseg.config import MaskSettings
from medseg.errors import MedsegError, ResourceError, SourceNotFoundError
from medseg.formats import nifti
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study
from medseg.worklist import audit, lease, records, work
from medseg.worklist.child import StudyProcess
from medseg.worklist.fingerprint import ListedStudy, fingerprint
from medseg.worklist.outcome import Outcome, StudyOutcome

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def process() -> Iterator[StudyProcess]:
    with StudyProcess() as made:
        yield made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input") / "study"
    write_study(folder, small_phantom())
    return folder


@pytest.fixture(scope="module")
def study(source: Path) -> ListedStudy:
    """With its own truth as a mask, so that no network has to run."""
    truth = small_phantom().lesions
    path = source.parent / "mask.nii.gz"
    nifti.write_labels(path, truth.labels, truth.geometry)
    return ListedStudy(1, source, mask=MaskSettings(path=path))


@pytest.fixture(scope="module")
def finished(
    study: ListedStudy, process: StudyProcess, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    row = work.do_study(study, runs, process)
    assert (row.outcome, row.problem) == (Outcome.DONE, "")
    return runs


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs"


def test_a_study_is_done_into_a_folder_that_its_content_names(
    study: ListedStudy, finished: Path, process: StudyProcess
) -> None:
    digest = fingerprint(study)
    run = finished / digest[:16]
    assert manifest.is_whole(run, digest)
    record = json.loads((run / run_folder.RUN_RECORD).read_bytes())
    row = work.do_study(study, finished, process)
    assert row.outcome is Outcome.ALREADY_DONE
    assert (row.study_key, row.lesions) == (record["study_key"], 3)
    assert {path.name for path in finished.iterdir() if path.is_dir()} == {
        run.name,
        work.WORK,
        lease.FOLDER,
        records.FOLDER,
    }
    assert not list((finished / work.WORK).iterdir())


def test_a_damaged_run_is_done_again_with_the_same_bytes_and_kept_aside(
    study: ListedStudy, runs: Path, process: StudyProcess
) -> None:
    run = runs / fingerprint(study)[:16]
    whole = (run / run_folder.TABLE_CSV).read_bytes()
    (run / run_folder.TABLE_CSV).write_bytes(whole[:-1])
    row = work.do_study(study, runs, process)
    assert row.outcome is Outcome.REDONE
    assert (run / run_folder.TABLE_CSV).read_bytes() == whole
    (aside,) = (runs / work.DAMAGED).iterdir()
    assert (aside / run_folder.TABLE_CSV).read_bytes() == whole[:-1]


def test_what_a_killed_worklist_left_is_cleared_and_the_study_done(
    study: ListedStudy, process: StudyProcess, tmp_path: Path
) -> None:
    left = tmp_path / work.WORK / fingerprint(study) / ".medseg-x"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    assert work.do_study(study, tmp_path, process).outcome is Outcome.DONE
    assert not list((tmp_path / work.WORK).iterdir())


def test_a_study_that_another_is_at_is_left_to_it(
    study: ListedStudy, process: StudyProcess, tmp_path: Path
) -> None:
    with lease.held(tmp_path, fingerprint(study)):
        assert work.do_study(study, tmp_path, process).outcome is Outcome.BUSY


def test_a_refused_study_is_not_tried_again_until_it_changes(
    process: StudyProcess, tmp_path: Path
) -> None:
    source = tmp_path / "study"
    source.mkdir()
    (source / "letter.txt").write_text("no image")
    listed, runs = ListedStudy(1, source), tmp_path / "runs"
    first = work.do_study(listed, runs, process)
    assert (first.outcome, first.error) == (Outcome.REFUSED, "NoImageError")
    second = work.do_study(listed, runs, process)
    assert replace(second, seconds=0) == replace(first, seconds=0)
    assert second.seconds < first.seconds
    (source / "letter.txt").write_text("still none")
    assert work.do_study(listed, runs, process).fingerprint != first.fingerprint


def test_a_study_that_is_not_there_is_a_row_of_its_own(
    process: StudyProcess, tmp_path: Path
) -> None:
    row = work.do_study(ListedStudy(1, tmp_path / "CANARY"), tmp_path / "runs", process)
    assert (row.outcome, row.error) == (Outcome.REFUSED, "SourceNotFoundError")
    assert "CANARY" not in row.problem + row.remedy


def test_a_study_that_takes_too_long_is_for_another_try(
    study: ListedStudy, process: StudyProcess, tmp_path: Path
) -> None:
    with pytest.raises(ResourceError):
        work.do_study(study, tmp_path, process, limit_seconds=0.2)
    assert not list((tmp_path / work.WORK).iterdir())
    assert lease.is_free(tmp_path, fingerprint(study))


class Meddling(StudyProcess):
    """Another slice comes while the study is done."""

    def delineate(self, study: ListedStudy, run: Path, *_: object) -> None:
        run.mkdir()
        (study.source / "late").write_bytes(b"x")


def test_a_result_of_files_that_changed_meanwhile_is_dropped(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "study")
    listed, runs = ListedStudy(1, tmp_path / "study"), tmp_path / "runs"
    before = fingerprint(listed)
    with Meddling() as process, pytest.raises(ResourceError, match="changed while"):
        work.do_study(listed, runs, process)
    assert not (runs / before[:16]).exists()
    assert lease.is_free(runs, before)


class Hiccup(StudyProcess):
    """The storage of the runs is away for a moment."""

    def delineate(self, *_: object) -> None:
        raise OSError(errno.EIO, "CANARY")


class Away(StudyProcess):
    """The storage of the study is away after it was hashed."""

    def delineate(self, *_: object) -> None:
        raise SourceNotFoundError("There is nothing.", "Look.")


@pytest.mark.parametrize("kind", [Hiccup, Away])
def test_a_storage_that_was_away_for_a_moment_loses_no_study(
    kind: type[StudyProcess], study: ListedStudy, process: StudyProcess, tmp_path: Path
) -> None:
    with kind() as poor:
        try:
            row = work.do_study(study, tmp_path, poor)
            outcome = row.outcome
            assert "CANARY" not in row.problem
        except MedsegError as error:
            outcome = StudyOutcome.failed(1, "", error).outcome
    assert outcome is Outcome.RESOURCE
    assert work.do_study(study, tmp_path, process).outcome is Outcome.DONE


def test_what_was_killed_between_its_run_and_its_note_is_noted_by_the_next(
    study: ListedStudy, runs: Path, process: StudyProcess
) -> None:
    """The next look finds the run, and writes what the dead could not: once."""
    shutil.rmtree(runs / records.FOLDER)
    for name in (audit.LOG, audit.HEAD):
        (runs / name).unlink()
    for _ in range(2):
        assert work.do_study(study, runs, process).outcome is Outcome.ALREADY_DONE
    (noted,) = records.every(runs)
    assert noted.run == fingerprint(study)[:16]
    assert audit.check(runs).lines == 1


def test_a_run_that_only_a_failure_is_noted_of_is_noted_by_the_next(
    study: ListedStudy, runs: Path, process: StudyProcess
) -> None:
    """One worklist failed, another made the run and was killed before its note."""
    digest = fingerprint(study)
    work.note(StudyOutcome(1, digest, Outcome.TIMED_OUT, ended="2026-11-26T00:00:00+00:00"), runs)
    assert work.do_study(study, runs, process).outcome is Outcome.ALREADY_DONE
    (noted,) = records.every(runs)
    assert (noted.outcome, noted.run) == (Outcome.ALREADY_DONE, digest[:16])


def test_renaming_and_moving_a_dicom_study_changes_nothing(source: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(p for p in source.rglob("*") if p.is_file())):
        (tmp_path / f"{number % 3}").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / f"{number % 3}" / f"x{number}")
    assert fingerprint(ListedStudy(1, source)) == fingerprint(ListedStudy(9, tmp_path))


def test_one_changed_byte_is_another_study(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "study")
    some = next(path for path in sorted((tmp_path / "study").rglob("*")) if path.is_file())
    content = bytearray(some.read_bytes())
    content[-1] ^= 1
    some.write_bytes(content)
    assert fingerprint(ListedStudy(1, source)) != fingerprint(ListedStudy(1, tmp_path / "study"))


def test_the_sites_secret_is_part_of_the_identity(source: Path) -> None:
    listed = ListedStudy(1, source)
    assert (
        len({fingerprint(listed), fingerprint(listed, b"a" * 16), fingerprint(listed, b"b" * 16)})
        == 3
    )


def test_a_linked_file_is_part_of_the_study_as_it_is_read(source: Path, tmp_path: Path) -> None:
    """As in data sets of git-annex, whose files are all links."""
    shutil.copytree(source, tmp_path / "store")
    (tmp_path / "study").mkdir()
    for number, path in enumerate(p for p in (tmp_path / "store").rglob("*") if p.is_file()):
        (tmp_path / "study" / f"{number}").symlink_to(path)
    listed = ListedStudy(1, tmp_path / "study")
    assert fingerprint(listed) == fingerprint(ListedStudy(1, source))
    changed = tmp_path / "study" / "0"
    changed.resolve().write_bytes(changed.read_bytes() + b"x")
    assert fingerprint(listed) != fingerprint(ListedStudy(1, source))


def test_a_link_to_a_folder_leads_nowhere(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "study")
    (tmp_path / "study" / "circle").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "study" / "lost").symlink_to(tmp_path / "nothing")
    assert fingerprint(ListedStudy(1, tmp_path / "study")) == fingerprint(ListedStudy(1, source))


def test_both_files_of_a_pair_are_part_of_the_study(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(b"header")
    (tmp_path / "a.img").write_bytes(b"voxels")
    both = {fingerprint(ListedStudy(1, tmp_path / name)) for name in ("a.hdr", "a.img")}
    (tmp_path / "a.img").write_bytes(b"others")
    assert len(both) == 1
    assert fingerprint(ListedStudy(1, tmp_path / "a.hdr")) not in both


def test_a_storage_that_fails_while_a_study_is_hashed_refuses_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Path) -> str:
        raise OSError(errno.ESTALE, "CANARY")

    monkeypatch.setattr("medseg.worklist.fingerprint.file_digest", failing)
    with StudyProcess() as process, pytest.raises(ResourceError) as caught:
        work.do_study(ListedStudy(1, source), tmp_path, process)
    assert "CANARY" not in str(caught.value)
