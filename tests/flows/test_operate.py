"""`medseg operate` alone: a study that is sent to it comes back to the PACS, and no name stays.

Its server is its own, not that of the other flow tests: what is tested are real processes.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from pydicom import dcmread

from medseg import run_folder
from medseg.phantom.body import small_phantom
from medseg.phantom.study import PHANTOM_PATIENT, write_study
from medseg.worklist import audit
from tests import orthanc, postgres
from tests.programs import program

pytestmark = pytest.mark.timeout(600)

CANARY = dataclasses.replace(PHANTOM_PATIENT, name="CANARY^TEST", patient_id="CANARY-ID")


@dataclass(frozen=True)
class Operated:
    """What runs, and where.

    Attributes:
        process: `medseg operate`.
        folder: Of its settings.
        pacs: Who gets the results.
        database: Address of the PostgreSQL.
        web, dicom: Ports of the pages and of the receiver.
        said: What it said when it was running.
    """

    process: "subprocess.Popen[bytes]"
    folder: Path
    pacs: orthanc.Orthanc
    database: str
    web: int
    dicom: int
    said: dict[str, object]

    def ask(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """POST with the password, and with the token that Prefect wants against forged requests."""
        with self.client() as client:
            token = client.get("csrf-token", params={"client": "test"}).json()["token"]
            own = {"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token}
            return client.post(path, json={}, headers={**own, **(headers or {})})

    def client(self) -> httpx.Client:
        user, _, password = (self.folder / "home" / "login").read_text().strip().partition(":")
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.web}/api/",
            auth=(user, password),
            trust_env=False,
            timeout=30,
        )


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("operate")
    web, dicom = orthanc.free_port(), orthanc.free_port()
    with (
        postgres.running() as database,
        orthanc.running(tmp_path_factory.mktemp("orthanc")) as pacs,
    ):
        settings = {
            "home": "home",
            "inbox": "inbox",
            "runs": "runs",
            "send_to": pacs.node,
            "quiet_seconds": 1,
            "port": web,
            "receiver": {"port": dicom},
        }
        (folder / "operate.yaml").write_text(yaml.safe_dump(settings))
        with subprocess.Popen(
            [sys.executable, "-m", "medseg", "operate", folder / "operate.yaml", "--json"],
            stdout=subprocess.PIPE,
            env={**os.environ, "MEDSEG_DATABASE_URL": database},
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            said: dict[str, object] = {}
            for line in process.stdout:
                said = json.loads(line)
                if said["state"] == "running":
                    break
            yield Operated(process, folder, pacs, database, web, dicom, said)
            process.terminate()
            process.wait(60)


def wait(what: Callable[[], object], seconds: float) -> object:
    """What a function returns as soon as it is true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(1)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def run(operated: Operated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a study that was sent by C-STORE; nothing else was done."""
    source = tmp_path_factory.mktemp("CANARY-scanner")
    write_study(source, small_phantom(), CANARY)
    command = [program("storescu", "dcmtk"), "+sd", "+r", "127.0.0.1", str(operated.dicom), source]
    subprocess.run(command, check=True, capture_output=True)
    runs = operated.folder / "runs"
    (record,) = wait(lambda: list(runs.glob(f"*/{run_folder.RUN_RECORD}")), 240)  # type: ignore[misc]
    wait(lambda: '"action": "send"' in (runs / audit.LOG).read_text(), 120)
    return Path(record).parent


def test_a_schedule_fires_and_the_results_reach_the_pacs(operated: Operated, run: Path) -> None:
    assert operated.said["database"] == "PostgreSQL"
    made = {path.name: path for path in (run / run_folder.DICOM).glob("*.dcm")}
    kinds = {dcmread(path).Modality for path in made.values()}
    assert {"SEG", "SR"} <= kinds
    kept = {str(dcmread(path).SOPInstanceUID) for path in made.values()}
    assert kept == set(operated.pacs.files())
    log = [json.loads(line) for line in (run.parent / audit.LOG).read_text().splitlines()]
    assert [line["action"] for line in log] == ["delineate", "send"]


def test_a_name_is_nowhere_but_in_the_objects_for_the_pacs(operated: Operated, run: Path) -> None:
    wait(lambda: b"watch-inbox" in postgres.dump(operated.database), 30)
    assert b"CANARY" not in postgres.dump(operated.database)
    for path in operated.folder.rglob("*"):
        inside = path.relative_to(operated.folder).parts
        assert "CANARY" not in path.name
        if path.is_file() and run_folder.DICOM not in inside and inside[0] != "inbox":
            assert b"CANARY" not in path.read_bytes(), path
    for what in ("flow_runs", "task_runs", "artifacts", "logs", "events", "deployments"):
        answer = operated.ask(f"{what}/filter")
        assert answer.status_code == 200
        assert "CANARY" not in answer.text


def test_nobody_gets_in_without_the_password(operated: Operated) -> None:
    address = f"http://127.0.0.1:{operated.web}/api"
    for auth in (None, ("medseg", "medseg")):
        for path in ("admin/settings", "csrf-token?client=x", "work_pools/medseg"):
            answer = httpx.get(f"{address}/{path}", auth=auth, trust_env=False)
            assert answer.status_code == 401, path
    login = operated.folder / "home" / "login"
    assert login.stat().st_mode & 0o777 == 0o600
    assert (operated.folder / "home").stat().st_mode & 0o777 == 0o700
    secret = login.read_text().strip().encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret not in path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_a_page_of_somebody_else_gets_nothing(operated: Operated) -> None:
    answer = operated.ask("flows/filter", {"Origin": "http://evil.example"})
    assert answer.headers.get("access-control-allow-origin") != "http://evil.example"
    assert answer.headers.get("access-control-allow-origin") != "*"
    with operated.client() as client:  # a browser sends the password by itself, not the token
        assert client.post("flows/", json={"name": "evil"}).status_code == 403


def family(pid: int) -> set[int]:
    """A process and all that it started."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def test_everything_listens_on_this_machine_alone(operated: Operated) -> None:
    sockets = {
        str(link.readlink())
        for pid in family(operated.process.pid)
        for link in Path(f"/proc/{pid}/fd").glob("*")
        if _is_socket(link)
    }
    listening = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                listening.append(fields[1].partition(":")[0])
    assert len(listening) >= 2
    assert set(listening) <= {"0100007F", "0" * 24 + "01000000"}


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:
        return False


def test_what_dies_is_started_again(operated: Operated) -> None:
    def receivers() -> list[int]:
        return [
            pid
            for pid in family(operated.process.pid)
            if b"receive" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        ]

    (first,) = receivers()
    os.kill(first, signal.SIGKILL)
    (again,) = wait(lambda: [pid for pid in receivers() if pid != first], 60)  # type: ignore[misc]
    assert again != first


def test_it_ends_with_everything_that_it_started(operated: Operated, run: Path) -> None:
    """The last test of the module."""
    ours = family(operated.process.pid)
    operated.process.terminate()
    operated.process.wait(90)
    wait(lambda: not [pid for pid in ours if _lives(pid)], 30)
    assert not [pid for pid in ours if _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False
