"""A real PostgreSQL on loopback, in a folder of its own, run by a user who is not root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.orthanc import free_port
from tests.programs import program

OWNER = "postgres"


@contextmanager
def running() -> Iterator[str]:
    """Start it, and end it; its address for Prefect."""
    program("pg_dump", "postgresql")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    folder, port = Path(tempfile.mkdtemp(prefix="medseg-postgres-")), free_port()
    as_owner = ["runuser", "-u", OWNER, "--"] if os.geteuid() == 0 else []
    if as_owner:
        owner = pwd.getpwnam(OWNER)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data = str(folder / "data")

    def run(*command: str) -> None:
        subprocess.run([*as_owner, *command], check=True, capture_output=True, cwd="/")

    try:
        run(str(found[-1] / "initdb"), "-D", data, "-A", "trust", "-U", OWNER, "-E", "UTF8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        run(
            str(found[-1] / "pg_ctl"),
            "-D",
            data,
            "-w",
            "-l",
            f"{folder}/log",
            "-o",
            options,
            "start",
        )
        try:
            yield f"postgresql+asyncpg://{OWNER}@127.0.0.1:{port}/postgres"
        finally:
            run(str(found[-1] / "pg_ctl"), "-D", data, "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def dump(address: str) -> bytes:
    """Everything that the database holds, as text."""
    plain = address.replace("+asyncpg", "")
    return subprocess.run(["pg_dump", plain], check=True, capture_output=True).stdout
