"""A decoder that crashes, hangs or unpacks a bomb costs one refusal.

The failures are real: a hook in the reading process kills, stalls or starves it when a file of a
certain name is opened for the first time (its header) or the second (its voxels).
"""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.config import ReadingLimits
from medseg.errors import (
    NotAnImageError,
    ResourceError,
    SeriesChoiceError,
    SourceNotFoundError,
    UnreadableFileError,
)
from medseg.formats import handover
from medseg.ingest import guard
from medseg.ingest.choice import judge
from medseg.ingest.inspect import inspect as inspect_here
from medseg.ingest.select import explain
from tests import dicom_series
from tests.dicom_series import GRID, STORED, example
from tests.unit.ingest.test_select import MASK, nifti, pet, protocol

HOOK = """
import errno, os, resource, signal, sys, time

if "CANARY_MEMORY" in os.environ:
    resource.setrlimit(resource.RLIMIT_AS, 2 * (int(os.environ["CANARY_MEMORY"]),))

def hook(event, details, opened={}):
    name = os.path.basename(str(details[0])) if event == "open" else ""
    if not name.startswith("CANARY-"):
        return
    how, when = name.split("-")[1:]
    opened[name] = opened.get(name, 0) + 1
    if opened[name] < int(when):
        return
    if how == "memory":
        bytearray(2**31)
    while how == "spin":
        pass
    if how == "sleep":
        time.sleep(1000)
    if how in errno.errorcode.values():
        raise OSError(getattr(errno, how), "CANARY")
    if how == "bug":
        raise AssertionError("CANARY")
    os.kill(os.getpid(), getattr(signal, how, 0))

sys.addaudithook(hook)
"""

QUICK = ReadingLimits(seconds=2, waiting=60)
IMPATIENT = ReadingLimits(seconds=5, waiting=4)


@pytest.fixture
def failing(tmp_path, monkeypatch) -> None:
    """Reading processes fail at files called CANARY-how-when."""
    folder = tmp_path / "hook"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOOK)
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{inherited}")


def three_series(folder: Path, name: str) -> Path:
    """A CT, an MR with one file of that name, and a PET, each in a folder of its own."""
    dicom_series.write(folder / "a", example("CT"))
    dicom_series.write(folder / "b", example("MR", SeriesNumber=5))
    (folder / "b" / "file4").rename(folder / "b" / name)
    dicom_series.write(folder / "c", example("PT", SeriesNumber=7, Units="GML"))
    return folder


def test_the_answer_is_that_of_this_process(tmp_path):
    source = three_series(tmp_path / "ä b", "file4")
    gap = example("MR", SeriesNumber=8)
    del gap[4]
    dicom_series.write(source / "d", gap)
    nib.save(nib.Nifti1Image(STORED, GRID.affine), source / "volume.nii.gz")
    (source / "notes.txt").write_text("notes")
    found = guard.inspect(source)
    assert found == inspect_here(source)
    assert [one.outcome for one in found.series] == ["ok", "ok", "ok", "refused", "ok"]
    with pytest.raises(SourceNotFoundError):
        guard.inspect(tmp_path / "missing")


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGABRT", "spin", "memory"])
def test_a_failure_over_one_series_refuses_it_and_no_other(tmp_path, failing, how):
    source = three_series(tmp_path / "source", f"CANARY-{how}-2")
    found = guard.inspect(source, QUICK)
    assert [one.outcome for one in found.series] == ["ok", "refused", "ok"]
    assert found.series[1].error == "UnreadableFileError"
    assert found.series[1].modality == "MR"
    assert "CANARY" not in str(found)
    assert found.series[::2] == inspect_here(source).series[::2]


def test_a_failure_over_a_header_refuses_what_lies_beside_it(tmp_path, failing):
    source = three_series(tmp_path / "source", "CANARY-SIGSEGV-1")
    found = guard.inspect(source)
    assert [one.outcome for one in found.series] == ["ok", "refused", "ok"]
    assert "damaged" in (found.series[1].problem or "")


@pytest.mark.slow
def test_a_decoder_that_sleeps_is_ended(tmp_path, failing):
    path = tmp_path / "CANARY-sleep-2"
    nib.save(nib.Nifti1Image(STORED, GRID.affine), tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(path)
    (only,) = guard.inspect(path, IMPATIENT).series
    assert (only.outcome, only.error) == ("refused", "UnreadableFileError")


def test_who_is_killed_from_outside_lacked_a_machine(tmp_path, failing):
    source = three_series(tmp_path / "source", "CANARY-SIGKILL-2")
    with pytest.raises(ResourceError, match="memory"):
        guard.inspect(source)


@pytest.mark.parametrize("how", ["EIO", "ESTALE", "EMFILE", "ENOENT"])
@pytest.mark.parametrize("when", [1, 2])
def test_a_storage_that_fails_for_a_moment_is_no_fault_of_the_file(tmp_path, failing, how, when):
    source = three_series(tmp_path / "in", f"CANARY-{how}-{when}")
    with pytest.raises(ResourceError) as caught:
        guard.inspect(source, QUICK)
    assert "CANARY" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_a_fault_of_the_study(tmp_path, failing):
    found = guard.inspect(three_series(tmp_path / "in", "CANARY-EACCES-1"), QUICK)
    assert [one.outcome for one in found.series] == ["ok", "refused", "ok"]


def test_a_machine_that_grants_less_than_the_limit_is_at_fault_and_not_the_file(
    tmp_path, failing, monkeypatch
):
    """The same lack of memory, in the middle of a series' pixels, with and without a full machine.

    What asks for too much within the limit is `test_a_failure_over_one_series_refuses_it`.
    """
    source = three_series(tmp_path / "source", "CANARY-memory-2")
    monkeypatch.setenv("CANARY_MEMORY", str(900 * 2**20))
    with pytest.raises(ResourceError, match="ran out of memory"):
        guard.inspect(source)


def test_a_bug_of_ours_refuses_and_is_logged_without_its_text(tmp_path, failing, caplog):
    source = three_series(tmp_path / "source", "CANARY-bug-2")
    found = guard.inspect(source)
    assert [one.outcome for one in found.series] == ["ok", "refused", "ok"]
    assert "AssertionError" in caplog.text
    assert "CANARY" not in caplog.text + str(found)


def test_a_study_is_handed_on_and_errors_keep_their_class(tmp_path, failing):
    dicom_series.write(tmp_path / "one", pet())
    stages = tmp_path / "stages"
    stages.mkdir()
    rules = protocol()
    assert guard.hand_on(tmp_path / "one", stages, rules, {}) == rules
    study = handover.read_study(stages)
    assert np.array_equal(study.series["pet"].volume.data, STORED)
    assert study.choice["protocol"] == "asked for by the user"
    dicom_series.write(tmp_path / "two" / "a", pet())
    dicom_series.write(tmp_path / "two" / "b", pet(SeriesNumber=8))
    with pytest.raises(SeriesChoiceError, match="equally well"):
        guard.hand_on(tmp_path / "two", stages, rules, {})
    (tmp_path / "one" / "file4").rename(tmp_path / "one" / "CANARY-SIGSEGV-2")
    with pytest.raises(UnreadableFileError):
        guard.hand_on(tmp_path / "one", stages, rules, {})


def test_a_choice_is_explained_as_in_this_process(tmp_path, failing):
    dicom_series.write(tmp_path / "a", pet())
    dicom_series.write(tmp_path / "b", pet(SeriesNumber=8))
    found = guard.explain(tmp_path, protocol())
    assert found.plain() == explain(judge(tmp_path), protocol()).plain()
    assert isinstance(found.refusal, SeriesChoiceError)
    (tmp_path / "a" / "file4").rename(tmp_path / "a" / "CANARY-SIGSEGV-1")
    refusal = guard.explain(tmp_path, protocol()).refusal
    assert isinstance(refusal, UnreadableFileError)
    with pytest.raises(SourceNotFoundError):
        guard.explain(tmp_path / "missing", protocol())
    nifti(tmp_path / "mask.nii.gz", MASK)
    found = guard.explain(tmp_path / "mask.nii.gz", protocol())
    assert found.plain() == explain(judge(tmp_path / "mask.nii.gz"), protocol()).plain()
    assert isinstance(found.refusal, NotAnImageError)


def test_the_sites_secret_names_the_study_that_is_handed_on(tmp_path):
    dicom_series.write(tmp_path / "study", pet(PatientID="7", StudyInstanceUID="1.2.9"))
    names = []
    for secret in (b"a secret of a site", b"another site's one", None):
        stages = tmp_path / f"stages{len(names)}"
        stages.mkdir()
        guard.hand_on(tmp_path / "study", stages, protocol(), {}, secret)
        names.append(handover.read_study(stages).patient_key)
    assert names[2] is None
    assert None not in names[:2]
    assert names[0] != names[1]


def bomb(path: Path, shape: tuple[int, int, int]) -> None:
    """A NIfTI file of zeros, true to its header."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header.set_zooms((0.7, 0.8, 0.9))
    header.set_sform(np.diag([0.7, 0.8, 0.9, 1]), 1)
    header["vox_offset"] = 352
    with gzip.open(path, "wb", 1) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(shape[2]):
            file.write(bytes(shape[0] * shape[1]))


def test_a_header_that_claims_more_than_its_file_can_hold_is_refused_unread(tmp_path):
    bomb(tmp_path / "bomb.nii.gz", (700, 600, 410))
    bomb(tmp_path / "mask.nii.gz", (300, 310, 200))
    begin = time.process_time()
    sparse, claims = sorted(inspect_here(tmp_path).series, key=lambda one: one.outcome)
    assert time.process_time() - begin < 8
    assert (claims.error, sparse.shape) == ("UnreadableFileError", (300, 310, 200))
    assert "more than an image can be compressed" in (claims.problem or "")


def test_the_limits_grow_with_the_source_and_end():
    limits = ReadingLimits()
    assert limits.memory_bytes(2**20) < 1.1 * 2**30
    whole_body = 512 * 512 * 1000 * 2
    assert limits.memory_bytes(whole_body) == 8 * 2**30
    assert limits.memory_bytes(whole_body // 10) > 6 * 512 * 512 * 1000
    assert limits.cpu_seconds(2**20) == 10
    assert limits.cpu_seconds(2**40) == 900


def test_the_reading_process_dies_with_its_parent(tmp_path, failing):
    source = three_series(tmp_path / "source", "CANARY-sleep-1")
    code = "import sys, pathlib; from medseg.ingest.guard import inspect; "
    code += "inspect(pathlib.Path(sys.argv[1]))"
    parent = subprocess.Popen([sys.executable, "-c", code, str(source)])
    try:
        child = _until(lambda: _children(parent.pid))[0]
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert _until(lambda: not Path(f"/proc/{child}").exists())


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_ended_while_a_file_is_read_leaves_nothing(tmp_path, failing, sent, code):
    source = three_series(tmp_path / "source", "CANARY-sleep-1")
    command = "from medseg.cli import main; main()"
    arguments = ["delineate", str(source), str(tmp_path / "made" / "run")]
    with subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        # A shell's background job ignores Ctrl-C, and so does what a test started in one starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as parent:
        child = _until(lambda: _children(parent.pid))[0]
        os.killpg(parent.pid, sent) if sent == signal.SIGINT else parent.send_signal(sent)
        said = parent.communicate()[1]
    assert parent.returncode == code
    assert not Path(f"/proc/{child}").exists()
    assert not (tmp_path / "made").exists()
    assert "Traceback" not in said


def _until(found, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.1)
    pytest.fail("waited in vain")


def _children(pid: int) -> list[str]:
    """Reading processes of a parent, once they are confined: what starts ignores no Ctrl-C."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = path.read_text().split() if path.exists() else []
    return [one for one in children if _ignored(one) >> (signal.SIGINT - 1) & 1]


def _ignored(pid: str) -> int:
    """The signals that a process ignores, a bit each (proc_pid_status(5), SigIgn)."""
    path = Path(f"/proc/{pid}/status")
    status = path.read_text() if path.exists() else "SigIgn: 0"
    return int(status.partition("SigIgn:")[2].split()[0], 16)
