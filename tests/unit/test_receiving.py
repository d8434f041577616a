"""A real sender on loopback: what comes is kept byte for byte, and nobody stops the receiver."""

import errno
import socket
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import CTImageStorage, ModalityPerformedProcedureStep, Verification

from medseg.errors import SettingsError
from medseg.formats import dicom_receive
from medseg.formats.dicom_receive import (
    ConflictError,
    Header,
    Listening,
    NotUnderstoodError,
    read_header,
    receiving,
)
from medseg.inbox import INCOMING, Inbox
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study
from medseg.receiving import certificates, is_loopback
from tests.programs import program


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "study"
    write_study(folder, small_phantom())
    return folder


@contextmanager
def listening(inbox: Inbox, chosen: Listening | None = None) -> Iterator[int]:
    with receiving(chosen or Listening(port=0), inbox.keep, inbox.performed) as port:
        yield port


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def data_set(path: Path) -> bytes:
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def by_uid(paths: list[Path]) -> dict[str, bytes]:
    return {str(dcmread(path).SOPInstanceUID): data_set(path) for path in paths}


def storescu(port: int, *sources: Path) -> int:
    command = [program("storescu", "dcmtk"), "-R", "+sd", "+r", "127.0.0.1", str(port), *sources]
    return subprocess.run(command, check=False, capture_output=True).returncode


@pytest.mark.slow
def test_what_storescu_sends_is_kept_byte_for_byte_and_once(study: Path, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, b"secret" * 4)
    with listening(inbox) as port:
        assert storescu(port, study) == 0
        assert storescu(port, study) == 0
    (one,) = inbox.arrivals()
    assert by_uid(files(one.folder)) == by_uid(files(study))
    assert not list((tmp_path / INCOMING).iterdir())
    assert one.files == len(files(study))


@pytest.mark.slow
def test_a_kept_file_is_one_that_pydicom_reads(study: Path, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    with listening(inbox) as port:
        storescu(port, study)
    (one,) = inbox.arrivals()
    kept = dcmread(files(one.folder)[0])
    assert kept.file_meta.MediaStorageSOPInstanceUID == kept.SOPInstanceUID
    assert kept.file_meta.MediaStorageSOPClassUID == kept.SOPClassUID
    assert kept.pixel_array.size


def send(port: int, *data_sets: Dataset, title: str = "ANY", own: str = "SENDER") -> list[int]:
    entity = AE(ae_title=own)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=title)
    assert association.is_established
    answers = [association.send_c_store(one).get("Status", -1) for one in data_sets]
    association.release()
    return answers


def some_slice(**values: object) -> Dataset:
    one = Dataset()
    one.file_meta = Dataset()  # type: ignore[assignment]
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    for name, value in values.items():
        setattr(one, name, value)
    return one


def test_a_data_set_that_says_not_where_it_belongs_is_not_taken(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    lost = some_slice()
    del lost.StudyInstanceUID
    with listening(inbox) as port:
        assert send(port, lost, some_slice()) == [0xC000, 0]
    (one,) = inbox.arrivals()
    assert one.files == 1


def test_a_count_of_a_wrong_length_is_not_understood_and_no_fault_of_ours() -> None:
    one = some_slice()
    data = b"".join(
        struct.pack("<HH2sH", group, number, kind, len(value)) + value
        for group, number, kind, value in (
            (0x0008, 0x0018, b"UI", b"1.2.3.50"),
            (0x0020, 0x000D, b"UI", b"1.2.3.40"),
            (0x0020, 0x000E, b"UI", b"1.2.3.41"),
            (0x0054, 0x0081, b"US", b"abc"),  # Number of Slices
        )
    )
    with pytest.raises(NotUnderstoodError):
        read_header(data, one.file_meta.TransferSyntaxUID, "1.2.3.50")


def test_another_data_set_of_the_same_uid_is_refused_and_the_first_kept(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    first = some_slice(PatientComments="first")
    other = some_slice(SOPInstanceUID=first.SOPInstanceUID, PatientComments="other")
    with listening(inbox) as port:
        assert send(port, first, other, first) == [0, 0xC001, 0]
    (one,) = inbox.arrivals()
    assert dcmread(files(one.folder)[0]).PatientComments == "first"


def test_a_full_disk_is_told_to_the_sender_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox(tmp_path, None)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medseg.inbox.os.link", full)
    with listening(inbox) as port:
        assert send(port, some_slice()) == [0xA700]
    assert not list((tmp_path / INCOMING).iterdir())


def test_a_disk_on_which_not_even_a_file_can_be_made_is_told_as_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medseg.inbox.open", full, raising=False)
    with pytest.raises(OSError, match="No space") as told:
        Inbox(tmp_path, None).keep(b"", b"a", header(1))
    assert told.value.errno == errno.ENOSPC


def test_titles_that_are_not_known_are_hung_up_on(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    chosen = Listening(port=0, title="US", called=True, calling=("SCANNER",))
    with listening(inbox, chosen) as port:
        for own, title in (("SCANNER", "THEM"), ("OTHER", "US")):
            entity = AE(ae_title=own)
            entity.add_requested_context(Verification)
            assert entity.associate("127.0.0.1", port, ae_title=title).is_rejected
        assert send(port, some_slice(), title="US", own="SCANNER") == [0]


def test_the_receiver_outlives_who_sends_no_dicom(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    rubbish = [b"", b"\x01\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff" + b"x" * 99]
    with listening(inbox) as port:
        for number in range(40):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
                one.sendall(rubbish[number % 4])
        # Who does not ask for an association holds one of twenty places for a few seconds.
        time.sleep(dicom_receive.GREETING_SECONDS + 1)
        assert send(port, some_slice()) == [0]


def test_a_deflated_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, False
    one = some_slice(PatientComments="x" * 10)
    del one.file_meta
    one.add_new(0x7FE00010, "OW", bytes(200_000_000))
    write_dataset(target, one)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(target.getvalue()) + packer.flush()
    read: list[int] = []
    inflated = dicom_receive._inflated

    def watched(data: bytes) -> bytes:
        read.append(len(inflated(data)))
        return inflated(data)

    monkeypatch.setattr(dicom_receive, "_inflated", watched)
    header = dicom_receive.read_header(packed, DeflatedExplicitVRLittleEndian, one.SOPInstanceUID)
    assert header.study == "1.2.3"
    assert read[0] <= dicom_receive.MOST_HEADER_BYTES


def test_a_modality_that_says_what_it_made_is_believed(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    began, ended, step, series = Dataset(), Dataset(), Dataset(), Dataset()
    step.StudyInstanceUID = "1.2.3"
    began.ScheduledStepAttributesSequence = Sequence([step])
    began.PerformedProcedureStepStatus = "IN PROGRESS"
    series.ReferencedImageSequence = Sequence([Dataset(), Dataset(), Dataset()])
    ended.PerformedProcedureStepStatus = "COMPLETED"
    ended.PerformedSeriesSequence = Sequence([series])
    uid = generate_uid()
    entity = AE()
    entity.add_requested_context(ModalityPerformedProcedureStep)
    with listening(inbox) as port:
        association = entity.associate("127.0.0.1", port)
        assert association.send_n_create(began, ModalityPerformedProcedureStep, uid)[0].Status == 0
        assert association.send_n_set(ended, ModalityPerformedProcedureStep, uid)[0].Status == 0
        association.release()
        send(port, some_slice(), some_slice())
        (one,) = inbox.arrivals()
        assert (one.files, one.expected) == (2, 3)
        assert not replace(one, quiet_seconds=1e6).is_complete(0)
        send(port, some_slice())
    (one,) = inbox.arrivals()
    assert one.is_complete(1e6)


def header(number: int, series: str = "1", **counts: int | None) -> Header:
    whole = {"expected_in_study": None, "expected_in_series": None, **counts}
    return Header("1.2.3", series, f"{series}.{number}", **whole)


def test_without_a_count_a_study_is_complete_after_a_quiet_time(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    inbox.keep(b"", b"a", header(1))
    (one,) = inbox.arrivals()
    assert not one.is_complete(60)
    assert one.is_complete(0)


def test_a_series_that_says_that_it_has_more_is_waited_for(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    inbox.keep(b"", b"a", header(1, "1", expected_in_series=2))
    inbox.keep(b"", b"b", header(1, "2"))
    (one,) = inbox.arrivals()
    assert (one.lacking, one.is_complete(0)) == (1, False)
    inbox.keep(b"", b"c", header(2, "1", expected_in_series=2))
    (one,) = inbox.arrivals()
    assert (one.lacking, one.is_complete(0)) == (0, True)


def test_a_late_slice_opens_a_handled_study_again(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    inbox.keep(b"", b"a", header(1))
    (one,) = inbox.arrivals()
    inbox.handled(one)
    assert next(inbox.arrivals()).handled
    inbox.keep(b"", b"b", header(2))
    assert not next(inbox.arrivals()).handled


def test_the_same_slice_twice_changes_nothing_and_another_is_refused(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)
    inbox.keep(b"", b"a", header(1))
    before = next(inbox.arrivals()).signature
    inbox.keep(b"", b"a", header(1))
    assert next(inbox.arrivals()).signature == before
    with pytest.raises(ConflictError):
        inbox.keep(b"", b"b", header(1))


def test_threads_that_keep_at_once_lose_nothing(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, None)

    def some(series: str) -> None:
        for number in range(50):
            inbox.keep(b"", f"{series}{number}".encode(), header(number, series))

    threads = [threading.Thread(target=some, args=(str(n),)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert next(inbox.arrivals()).files == 200


def test_a_uid_that_is_a_path_stays_in_the_inbox(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", None)
    inbox.keep(b"", b"a", Header("../../x", "/etc/passwd", "../y\0", None, None))
    assert [path.name for path in tmp_path.iterdir()] == ["inbox"]
    assert next(inbox.arrivals()).files == 1


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("none")
    for given in ((None, tmp_path / "a.pem", None), (tmp_path / "a.pem", None, None)):
        with pytest.raises(SettingsError):
            certificates(*given)
    assert certificates(None, None, None) is None


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pacs", False)],  # noqa: S104
)
def test_an_address_is_of_this_machine_alone_or_not(host: str, own: bool) -> None:
    assert is_loopback(host) is own


@pytest.mark.parametrize("instance", ["1.2.3", "1.2.34"])
def test_the_quick_answer_is_what_pynetdicom_would_answer(instance: str) -> None:
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo = 513
    answer.AffectedSOPClassUID = CTImageStorage
    answer.AffectedSOPInstanceUID = instance
    answer.Status = dicom_receive.SUCCESS
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    (piece,) = message.encode_msg(1, 16384)
    assert piece.presentation_data_value_list == [(1, dicom_receive.stored(answer))]
