"""Prefect's server for a benchmark, in a folder of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from pipelines.settings import TELEMETRY_OFF
from tests.orthanc import free_port


@contextmanager
def server(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run it for as long as the block lasts; the flows of this process and its children use it."""
    port = str(free_port())
    os.environ |= {
        **TELEMETRY_OFF,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", port]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(process, f"http://127.0.0.1:{port}/api/health")
            yield process
        finally:
            process.terminate()


def _wait(process: "subprocess.Popen[bytes]", address: str) -> None:
    while process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(address, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    raise SystemExit("the server died before it answered")
