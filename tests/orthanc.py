"""A real PACS on loopback: Debian's Orthanc with its DICOMweb plugin, in a folder of its own."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.programs import program

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
TITLE = "ORTHANC"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Orthanc:
    """Where it listens.

    Attributes:
        dicom, web: Its ports.
        commitment: The port at which it believes that we wait for storage commitment.
    """

    dicom: int
    web: int
    commitment: int

    @property
    def node(self) -> str:
        return f"{TITLE}@127.0.0.1:{self.dicom}"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.web}"

    def get(self, path: str) -> httpx.Response:
        answer = httpx.get(f"{self.address}/{path}", trust_env=False, timeout=30)
        answer.raise_for_status()
        return answer

    def files(self) -> dict[str, bytes]:
        """SOP Instance UID to the file, of everything it holds."""
        return {
            one["MainDicomTags"]["SOPInstanceUID"]: self.get(f"instances/{one['ID']}/file").content
            for one in self.get("instances?expand").json()
        }

    def put(self, file: bytes) -> None:
        answer = httpx.post(f"{self.address}/instances", content=file, trust_env=False, timeout=30)
        answer.raise_for_status()

    def clear(self) -> None:
        for one in self.get("patients").json():
            httpx.delete(f"{self.address}/patients/{one}", trust_env=False).raise_for_status()


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Start it, wait until it answers, and end it."""
    command = program("Orthanc", "orthanc")
    one = Orthanc(free_port(), free_port(), free_port())
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": one.web,
        "DicomPort": one.dicom,
        "DicomAet": TITLE,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"medseg": ["MEDSEG", "127.0.0.1", one.commitment]},
        "Plugins": [str(PLUGIN)] if PLUGIN.exists() else [],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [command, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        for _ in range(300):
            try:
                one.get("system")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise AssertionError((folder / "orthanc.log").read_text(encoding="utf-8"))
        yield one
    finally:
        process.terminate()
        process.wait(timeout=30)
