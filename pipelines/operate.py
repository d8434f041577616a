"""One machine that works by itself: server, worker, schedules and receiver, watched over."""

import fcntl
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import httpx

from medseg.errors import ResourceError
from medseg.run_folder import machine_faults
from pipelines import processes
from pipelines.processes import Child
from pipelines.settings import (
    HEARTBEAT_SECONDS,
    POOL,
    TELEMETRY_OFF,
    OperateSettings,
    ReceiverSettings,
    database,
    log_settings,
)

LOOPBACK = "127.0.0.1"

USER = "medseg"
"""Before the password of the server's pages."""

START_SECONDS = 120
"""That the server has to answer; 11 s cold on two cores, far longer beside other work."""

MOST_RESTARTS = 20
WITHIN_SECONDS = 600
"""More restarts in that time are a fault that restarting does not mend. A worker whose server was
killed dies with it."""

Say = Callable[[Mapping[str, object]], None]
"""Told what happens, in words for machines."""


def operate(settings: OperateSettings, say: Say) -> None:
    """Run everything until the process is asked to end.

    Args:
        settings: With absolute paths.
        say: Told what happens.

    Raises:
        ResourceError: Something does not start, or keeps dying.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with machine_faults():
        for folder in (settings.home, settings.home / "logs", settings.inbox, settings.runs):
            folder.mkdir(parents=True, exist_ok=True)
        settings.home.chmod(0o700)
    os.environ.update(environment(settings))
    server, worker, *others = children(settings)
    held = _hold(settings.home)
    processes.adopt()
    try:
        _start(server, settings)
        _wait_until_it_answers(settings)
        _register(settings, say)
        for one in (worker, *others):
            _start(one, settings)
        if settings.receiver is not None:
            _wait_until_it_listens(settings.receiver)
        say(
            {
                "state": "running",
                "ui": f"http://{LOOPBACK}:{settings.port}",
                "login": str(login_file(settings)),
                "database": "PostgreSQL" if database() else "SQLite",
                "receiver": _address(settings.receiver),
            }
        )
        _watch_over(server, worker, others, settings, say)
    finally:
        for one in (*others, worker, server):
            one.end()
        processes.end_orphans(())
        held.close()


def _hold(home: Path) -> IO[str]:
    """Be the only one in a home: another would end the runs of our worker as if it were dead."""
    file = (home / "operate.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ResourceError(
            "Another `medseg operate` is at work with this `home`, so nothing was started.",
            "Stop it first, or give another `home`.",
        ) from None
    return file


def environment(settings: OperateSettings) -> dict[str, str]:
    """Prefect's settings: loopback, password, no telemetry, no open door (decisions 8, 14, 15)."""
    address = f"http://{LOOPBACK}:{settings.port}"
    password = login(settings)
    chosen = {
        **TELEMETRY_OFF,
        **log_settings(),
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_PROFILES_PATH": str(settings.home / "prefect" / "profiles.toml"),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(settings.port),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": address,
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }
    if database() is not None:
        chosen["PREFECT_API_DATABASE_CONNECTION_URL"] = str(database())
    return chosen


def login(settings: OperateSettings) -> str:
    """User and password of the server, made at the first start and kept in a file of its owner."""
    path = login_file(settings)
    # One that a full disk left empty would be no password, and Prefect then asks for none.
    if not path.exists() or not path.read_text(encoding="ascii").strip():
        beside = path.with_name(f".{path.name}")
        beside.unlink(missing_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{USER}:{secrets.token_urlsafe(24)}\n")
        beside.replace(path)
    return path.read_text(encoding="ascii").strip()


def login_file(settings: OperateSettings) -> Path:
    """Where user and password lie."""
    return settings.home / "login"


def children(settings: OperateSettings) -> list[Child]:
    """Server and worker, and the receiver where one is asked for."""
    prefect = [sys.executable, "-m", "prefect"]
    made = [
        Child("server", [*prefect, "server", "start"]),
        Child("worker", [*prefect, "worker", "start", "--pool", POOL, "--limit", "1"]),
    ]
    if settings.receiver is not None:
        made.append(Child("receiver", _receive(settings.inbox, settings.receiver)))
    return made


def _receive(inbox: Path, chosen: ReceiverSettings) -> list[str | Path]:
    command: list[str | Path] = [sys.executable, "-m", "medseg", "receive", inbox]
    command += ["--host", chosen.host, "--port", str(chosen.port), "--title", chosen.title]
    if chosen.called:
        command.append("--called")
    for title in chosen.calling:
        command += ["--calling", title]
    for name in ("tls_certificate", "tls_key", "tls_ca"):
        if getattr(chosen, name) is not None:
            command += [f"--{name.replace('_', '-')}", getattr(chosen, name)]
    return command


def _start(child: Child, settings: OperateSettings) -> None:
    child.start(os.environ, settings.home / "logs")


def _register(settings: OperateSettings, say: Say) -> None:
    from pipelines import automations, deployments

    made = deployments.register(settings)
    automations.register(settings.notify_block)
    say({"state": "registered", "deployments": made, "ended": automations.end_runs_of_the_dead()})


def _watch_over(
    server: Child, worker: Child, others: Sequence[Child], settings: OperateSettings, say: Say
) -> None:
    """Start again what dies, until this process is asked to end."""
    every = (server, worker, *others)

    def end_what_the_worker_left() -> None:
        processes.end_orphans(every)
        _end_runs_of_the_dead()

    while True:
        time.sleep(1)
        processes.bury(every)
        for one in every:
            if not one.is_alive():
                before = end_what_the_worker_left if one is worker else None
                _revive(one, settings, say, before)
                if one is server:
                    _wait_until_it_answers(settings)


def _revive(
    child: Child, settings: OperateSettings, say: Say, before: Callable[[], None] | None
) -> None:
    """Start it again, after a pause that grows; `before` while nothing of it is alive."""
    now = time.monotonic()
    recent = [start for start in child.starts if now - start < WITHIN_SECONDS]
    if len(recent) > MOST_RESTARTS:
        raise ResourceError(
            f"The {child.name} died {len(recent)} times in {WITHIN_SECONDS // 60} minutes, so "
            "everything was stopped.",
            "Its log lies in the folder of the settings' `home`; mend what it says.",
        )
    child.end()  # what it started may still live
    time.sleep(min(30, 2 ** (len(recent) - 1)))
    if before is not None:
        before()
    say({"state": "restarted", "what": child.name, "times": len(child.starts)})
    _start(child, settings)


def _end_runs_of_the_dead() -> None:
    from pipelines import automations

    try:
        automations.end_runs_of_the_dead()
    except httpx.HTTPError:
        return  # the server is away too, and starting it again does the same


def _wait_until_it_answers(settings: OperateSettings) -> None:
    address = f"http://{LOOPBACK}:{settings.port}/api/health"
    user, _, password = login(settings).partition(":")

    def answers() -> bool:
        with suppress(httpx.TransportError):
            found = httpx.get(address, auth=(user, password), trust_env=False)
            return found.status_code == httpx.codes.OK
        return False

    _wait("server", answers)


def _wait_until_it_listens(receiver: ReceiverSettings) -> None:
    def listens() -> bool:
        with suppress(OSError):
            socket.create_connection((receiver.host, receiver.port), timeout=5).close()
            return True
        return False

    _wait("receiver", listens)


def _wait(name: str, is_there: Callable[[], bool]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if is_there():
            return
        time.sleep(0.5)
    raise ResourceError(
        f"The {name} did not answer within {START_SECONDS} s, so everything was stopped.",
        "Its log lies in the folder of the settings' `home`; another program may hold the port.",
    )


def _address(receiver: ReceiverSettings | None) -> str | None:
    return None if receiver is None else f"{receiver.title}@{receiver.host}:{receiver.port}"


def in_words(event: Mapping[str, object]) -> str:
    """What happens, for a person."""
    if event["state"] == "running":
        kind = event["database"]
        lines = [
            f"Running. Pages: {event['ui']} (user and password: {event['login']}).",
            f"Database: {kind}."
            + (
                " For several workers or many studies a day name a PostgreSQL."
                if kind == "SQLite"
                else ""
            ),
        ]
        if event["receiver"]:
            lines.append(f"Studies are received by {event['receiver']}.")
        return "\n".join(lines)
    if event["state"] == "registered":
        names = ", ".join(str(name) for name in event["deployments"])  # type: ignore[attr-defined]
        return f"Scheduled: {names}. Runs of a dead worker that were ended: {event['ended']}."
    return f"The {event['what']} had died, and is started again ({event['times']} times so far)."
