"""An inbox that is looked at: complete studies are done once, late slices open them again."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from medseg.formats.dicom_receive import Header, file_beginning
from medseg.inbox import Inbox
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study
from medseg.worklist import audit
from medseg.worklist.outcome import Outcome, Sent, StudyOutcome
from pipelines.watch_inbox import settle, watch_inbox
from tests import orthanc


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orthanc.Orthanc]:
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as one:
        yield one


def looked_at(inbox: Path, runs: Path, **more: object) -> tuple[StudyOutcome, ...]:
    state = watch_inbox(inbox, runs, **{"quiet_seconds": 0, **more}, return_state=True)
    rows: tuple[StudyOutcome, ...] = state.result(raise_on_failure=False)
    return rows


def receive(inbox: Inbox, path: Path) -> None:
    one = dcmread(path)
    content = path.read_bytes()
    data = content[144 + int.from_bytes(content[140:144], "little") :]
    uids = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    begin = file_beginning(one.SOPClassUID, one.SOPInstanceUID, one.file_meta.TransferSyntaxUID)
    inbox.keep(begin, data, Header(*map(str, uids), None, None))


def test_a_study_is_done_when_it_is_complete_and_again_when_a_late_slice_comes(
    prefect_server: Path, tmp_path: Path
) -> None:
    source, inbox, runs = tmp_path / "source", Inbox(tmp_path / "inbox", None), tmp_path / "runs"
    write_study(source, small_phantom())
    slices = sorted(path for path in source.rglob("*") if path.is_file())
    last = max(
        (path for path in slices if dcmread(path).Modality == "PT"),
        key=lambda path: float(dcmread(path).ImagePositionPatient[2]),
    )
    for path in slices:
        if path != last:
            receive(inbox, path)
    assert looked_at(inbox.folder, runs, quiet_seconds=3600) == ()
    (first,) = looked_at(inbox.folder, runs)
    assert first.outcome is Outcome.DONE
    assert looked_at(inbox.folder, runs) == ()
    for path in (last, slices[0]):
        receive(inbox, path)
    (second,) = looked_at(inbox.folder, runs)
    assert second.outcome is Outcome.DONE
    assert second.fingerprint != first.fingerprint
    lines = (runs / audit.LOG).read_text().splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["done", "done"]


def test_results_reach_the_pacs_once_and_are_tried_again_while_it_is_away(
    prefect_server: Path,
    pacs: orthanc.Orthanc,
    tmp_path: Path,
) -> None:
    inbox, runs = tmp_path / "inbox", tmp_path / "runs"
    write_study(inbox / "study", small_phantom())
    pacs.clear()
    (row,) = looked_at(inbox, runs, send_to=pacs.node)
    assert (row.outcome, row.sent) == (Outcome.DONE, Sent.SENT)
    kinds = {dcmread(path).Modality for path in (runs / row.run / "dicom").glob("*.dcm")}
    assert {"SEG", "SR"} <= kinds
    assert len(pacs.files()) == len(list((runs / row.run / "dicom").glob("*.dcm")))
    pacs.clear()
    shutil.rmtree(inbox / ".state")
    (row,) = looked_at(inbox, runs, send_to=pacs.node)
    assert (row.outcome, row.sent) == (Outcome.ALREADY_DONE, Sent.SENT)
    assert pacs.files() == {}


def test_a_study_that_failed_rests_and_a_look_says_what_it_leaves(
    prefect_server: Path, tmp_path: Path
) -> None:
    """Else one that always fails is tried, told of and noted every minute of every night."""
    place, runs = Inbox(tmp_path / "inbox", None), tmp_path / "runs"
    for study, expected in (("1.2.3", 1), ("1.2.4", 1), ("1.2.5", 2)):
        place.keep(b"", b"x", Header(study, "1", f"{study}.1", expected, None))
    arrivals = list(place.arrivals())
    rows = [
        StudyOutcome(1, "a" * 64, outcome)
        for outcome in (Outcome.CRASHED, Outcome.DONE, Outcome.DONE)
    ]
    by_name = {place.key(study): row for study, row in zip(("1.2.3", "1.2.4"), rows, strict=False)}
    tried = [one for one in arrivals if one.folder.name in by_name]
    settle(place, tried, tuple(by_name[one.folder.name] for one in tried))
    state = watch_inbox(place.folder, runs, return_state=True)
    assert state.message == "nothing new; 1 not complete, 1 to be tried again"
    assert not runs.exists()


def test_an_archive_that_has_more_is_waited_for(
    prefect_server: Path,
    pacs: orthanc.Orthanc,
    tmp_path: Path,
) -> None:
    source, inbox = tmp_path / "source", Inbox(tmp_path / "inbox", None)
    write_study(source, small_phantom())
    slices = sorted(path for path in source.rglob("*") if path.is_file())
    pacs.clear()
    for path in slices:
        pacs.put(path.read_bytes())
    for path in slices[:-1]:
        receive(inbox, path)
    assert looked_at(inbox.folder, tmp_path / "runs", archive=pacs.node) == ()
    (one,) = inbox.arrivals()
    assert (one.files, one.expected) == (len(slices) - 1, len(slices))
    receive(inbox, slices[-1])
    (row,) = looked_at(inbox.folder, tmp_path / "runs", archive=pacs.node, quiet_seconds=3600)
    assert row.outcome is Outcome.DONE
