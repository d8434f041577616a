"""Results through a real PACS: Orthanc takes them by C-STORE and STOW-RS, and gives them back."""

import base64
import gc
import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.events import Event

from medseg import sending
from medseg.errors import (
    PacsRefusalError,
    PacsUnreachableError,
    RunFolderError,
    SettingsError,
    UnreadableFileError,
)
from medseg.formats import dicom_send
from medseg.formats.dicom_association import Node
from medseg.formats.dicom_send import Patience
from medseg.sending import Sender
from tests import orthanc, pacs

pytestmark = pytest.mark.slow

QUICK = Patience(attempts=3, delay_seconds=0.01, timeout_seconds=20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orthanc.Orthanc]:
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as one:
        yield one


@pytest.fixture
def archive(server: orthanc.Orthanc) -> orthanc.Orthanc:
    server.clear()
    return server


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> pacs.Exported:
    """A run folder as far as sending looks: a record, and the objects."""
    folder = tmp_path_factory.mktemp("run")
    one = pacs.export(folder, pacs.series(pacs.axial()))
    (folder / "run.json").write_text("{}\n", encoding="utf-8")
    return one


@pytest.fixture(scope="module")
def run(exported: pacs.Exported) -> Path:
    return exported.objects.parent


def data_set(content: bytes) -> bytes:
    """What follows the preamble and the file meta information, which a PACS makes its own."""
    meta = dcmread(BytesIO(content), stop_before_pixels=True).file_meta
    return content[144 + int(meta.FileMetaInformationGroupLength) :]


def by_instance(folder: Path) -> dict[str, bytes]:
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    return {str(dcmread(BytesIO(one)).SOPInstanceUID): data_set(one) for one in files}


def test_a_pacs_gives_back_series_and_results_as_they_were_in_one_study(
    exported: pacs.Exported, run: Path, archive: orthanc.Orthanc
) -> None:
    node = sending.parse_node(archive.node)
    slices = [dicom_send.parcel(path) for path in sorted(exported.source.iterdir())]
    assert {one.state for one in dicom_send.store(slices, node, "MEDSEG", QUICK)} == {"stored"}
    done = sending.send(run, archive.node, Sender(patience=QUICK))
    assert [(one.state, one.attempts, one.status) for one in done] == [("stored", 1, 0)] * 5
    sent = {**by_instance(exported.source), **by_instance(exported.objects)}
    assert {uid: data_set(file) for uid, file in archive.files().items()} == sent
    assert len(archive.get("studies").json()) == 1
    assert len(archive.get("patients").json()) == 1


def test_a_web_service_takes_the_same_objects(
    exported: pacs.Exported, run: Path, archive: orthanc.Orthanc
) -> None:
    done = sending.send(run, f"{archive.address}/dicom-web", Sender(patience=QUICK))
    assert [(one.state, one.status) for one in done] == [("stored", 200)] * 5
    back = {uid: data_set(file) for uid, file in archive.files().items()}
    assert back == by_instance(exported.objects)


def test_the_pacs_commits_itself_to_keep_what_it_stored(
    run: Path, archive: orthanc.Orthanc
) -> None:
    sender = Sender(patience=QUICK, commitment=("127.0.0.1", archive.commitment))
    done = sending.send(run, archive.node, sender)
    assert [one.committed for one in done] == [True] * 5


def test_what_the_pacs_lost_before_it_was_asked_is_told(
    run: Path, archive: orthanc.Orthanc
) -> None:
    node = sending.parse_node(archive.node)
    stored = dicom_send.store(sending.parcels(run), node, "MEDSEG", QUICK)
    archive.clear()
    where = ("127.0.0.1", archive.commitment)
    done = dicom_send.commit(stored, node, "MEDSEG", where, QUICK)
    assert [one.committed for one in done] == [False] * 5


def test_sending_twice_leaves_one_copy(run: Path, archive: orthanc.Orthanc) -> None:
    for _ in range(2):
        sending.send(run, archive.node, Sender(patience=QUICK))
    assert len(archive.get("instances").json()) == 5


def test_the_command_prints_what_arrived_and_logs_nobody(
    run: Path, archive: orthanc.Orthanc, tmp_path: Path
) -> None:
    log = tmp_path / "sent.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", "from medseg.cli import main; main()", "send", str(run), "--json",
         "--to", archive.node, "--log", str(log)],
        capture_output=True, text=True, check=False, env={"MEDSEG_LOG": "debug"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    objects = json.loads(done.stdout)["objects"]
    assert {one["state"] for one in objects} == {"stored"}
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line["file"] for line in lines] == [one["file"] for one in objects]
    assert "CANARY" not in done.stdout + done.stderr + log.read_text(encoding="utf-8")


class Moody:
    """A PACS that answers each C-STORE with the next of the given statuses, the last for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked = 0
        self.port = orthanc.free_port()
        self._lock = threading.Lock()

    def take(self, _event: Event) -> int:
        with self._lock:
            status = self.statuses[min(self.asked, len(self.statuses) - 1)]
            self.asked += 1
            return status

    def __enter__(self) -> "Moody":
        entity = AE("MOODY")
        for one in (*pacs_kinds(),):
            entity.add_supported_context(one)
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.take)]
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    @property
    def node(self) -> str:
        return f"MOODY@127.0.0.1:{self.port}"


def pacs_kinds() -> Iterator[str]:
    """Segmentation, Comprehensive 3D SR, RT Structure Set, Encapsulated PDF."""
    yield "1.2.840.10008.5.1.4.1.1.66.4"
    yield "1.2.840.10008.5.1.4.1.1.88.34"
    yield "1.2.840.10008.5.1.4.1.1.481.3"
    yield "1.2.840.10008.5.1.4.1.1.104.1"


def test_a_full_pacs_is_tried_again(run: Path) -> None:
    with Moody(0xA700, 0x0000, 0xA701, 0x0000) as one:
        done = sending.send(run, one.node, Sender(patience=QUICK))
    assert {each.state for each in done} == {"stored"}
    assert sorted(each.attempts for each in done) == [1, 1, 1, 2, 2]


def test_a_pacs_that_stays_full_is_an_error_that_is_retried(run: Path) -> None:
    with Moody(0xA700) as one, pytest.raises(PacsUnreachableError, match="5 of 5 objects in 3"):
        sending.send(run, one.node, Sender(patience=QUICK))
    assert one.asked == 15


def test_a_refusal_is_not_tried_again(run: Path) -> None:
    with Moody(0xA900, 0x0000) as one, pytest.raises(PacsRefusalError, match="1 of 5"):
        sending.send(run, one.node, Sender(patience=QUICK))
    assert one.asked == 5


def test_a_kind_that_the_pacs_does_not_know_is_refused_and_the_rest_arrives(run: Path) -> None:
    kinds = list(pacs_kinds())[:2]
    entity = AE("NARROW")
    for kind in kinds:
        entity.add_supported_context(kind)
    node = Node("NARROW", "127.0.0.1", orthanc.free_port())
    server = entity.start_server(
        (node.host, node.port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)]
    )
    try:
        done = dicom_send.store(sending.parcels(run), node, "MEDSEG", QUICK)
    finally:
        server.shutdown()
    assert {one.parcel.sop_class: one.state for one in done} == {
        kind: "stored" if kind in kinds else "refused" for kind in pacs_kinds()
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_at_home_is_an_error_that_is_retried(run: Path) -> None:
    port = orthanc.free_port()
    for to in (f"PACS@127.0.0.1:{port}", f"http://127.0.0.1:{port}/dicom-web"):
        with pytest.raises(PacsUnreachableError, match="5 of 5") as caught:
            sending.send(run, to, Sender(patience=QUICK))
        assert caught.value.exit_code == 75
    gc.collect()  # pynetdicom forgets to close a socket that did not connect


@pytest.mark.parametrize(
    "to",
    ["127.0.0.1:104", "PACS@host", "PACS@host:0", "PACS@host:99999", "a" * 17 + "@h:1", "@h:1",
     "P\tACS@h:1", "PÄCS@h:1", " @h:1"],
)  # fmt: skip
def test_a_destination_that_is_none_sends_nothing(run: Path, to: str) -> None:
    with pytest.raises(SettingsError, match="nothing was sent"):
        sending.send(run, to, Sender())


def test_what_no_connection_can_be_made_with_sends_nothing(run: Path, tmp_path: Path) -> None:
    node, web = "PACS@127.0.0.1:1", "http://127.0.0.1:1/dicom-web"
    tls, token = ssl.create_default_context(), "abc"
    for to, sender in (
        (node, Sender(title="A" * 17)),
        (node, Sender(title="")),
        (node, Sender(patience=Patience(attempts=0))),
        (node, Sender(patience=Patience(timeout_seconds=0))),
        (node, Sender(commitment=("127.0.0.1", 70000))),
        (node, Sender(token=token)),
        (web, Sender(token=token)),
        (web, Sender(tls=tls)),
    ):
        with pytest.raises(SettingsError, match="nothing was sent"):
            sending.send(run, to, sender)
    with pytest.raises(SettingsError, match="log cannot be written"):
        sending.send(run, node, Sender(), tmp_path / "none" / "log")
    with pytest.raises(SettingsError, match="without its certificate"):
        sending.trusted(None, None, tmp_path / "key.pem")


def test_a_host_that_nobody_knows_is_an_error_that_is_retried(run: Path) -> None:
    with pytest.raises(PacsUnreachableError, match="5 of 5"):
        sending.send(run, "PACS@no.such.host.invalid:104", Sender(patience=QUICK))


def test_a_taken_port_for_commitment_is_told_and_the_objects_are_there(
    run: Path, archive: orthanc.Orthanc
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sender = Sender(patience=QUICK, commitment=taken.getsockname())
        with pytest.raises(PacsUnreachableError, match="stored all 5"):
            sending.send(run, archive.node, sender)
    assert len(archive.get("instances").json()) == 5


def test_a_login_in_an_address_is_used_and_stands_in_no_log(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        to = f"http://reader:sesame@127.0.0.1:{server.server_port}/dicom-web"
        with caplog.at_level(logging.DEBUG), pytest.raises(PacsRefusalError):
            sending.send(run, to, Sender(patience=QUICK), tmp_path / "log")
    finally:
        server.shutdown()
        server.server_close()
    assert set(heard) == {"Basic " + base64.b64encode(b"reader:sesame").decode()}
    assert "/dicom-web" in caplog.text
    assert "sesame" not in caplog.text + (tmp_path / "log").read_text(encoding="utf-8")


def test_what_is_no_run_folder_sends_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a complete run folder"):
        sending.send(tmp_path, "PACS@127.0.0.1:1", Sender())
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunFolderError, match="no DICOM objects"):
        sending.send(tmp_path, "PACS@127.0.0.1:1", Sender())
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "x.dcm").write_bytes(b"no DICOM")
    with pytest.raises(UnreadableFileError, match="no DICOM file"):
        sending.send(tmp_path, "PACS@127.0.0.1:1", Sender())
