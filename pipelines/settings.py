"""What `medseg operate` runs; configs/operate.yaml is an example with every setting."""

import os
from pathlib import Path

from pydantic import Field, model_validator

from medseg.config import Settings

DATABASE_VARIABLE = "MEDSEG_DATABASE_URL"
"""Environment variable with the address of a PostgreSQL database, which may hold a password."""

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
}
"""In three places, because none of them turns all of it off (PREFECT.md, decision 14)."""

POOL = "medseg"
"""Work pool of our deployments."""

JSON_LOGS = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": "medseg.log.JsonLines",
    "PREFECT_LOGGING_FORMATTERS_JSON_FORMAT": "%(message)s",
}
"""Server, worker and flows log as `MEDSEG_LOG_FORMAT=json` says: each value overrides one of
Prefect's `logging.yml`, whose own JSON has the text of errors."""

HEARTBEAT_SECONDS = 30
"""Between two signs of life of a flow run."""


class ReceiverSettings(Settings):
    """As the options of `medseg receive`."""

    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, lt=65536)
    title: str = "MEDSEG"
    called: bool = False
    calling: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None


class HousekeepingSettings(Settings):
    """How long is kept what is not needed; nothing of it is the latest result of a study."""

    when: str = "30 4 * * *"
    """Cron."""

    damaged_days: float = Field(default=30, ge=0)
    """Run folders that were no longer whole and were done again."""

    superseded_days: float = Field(default=365, ge=0)
    """Run folders of a study that was done again with other content, settings or weights."""

    tables_days: float = Field(default=365, ge=0)
    """Tables of single worklists."""

    inbox_days: float | None = Field(default=None, gt=0)
    """Studies in the inbox that were handled, since the last change to them. None keeps them for
    ever: they may be the only copy. Choose it longer than a late slice may take."""

    flow_runs_days: float = Field(default=30, gt=0)
    """Flow runs in Prefect's database."""


class OperateSettings(Settings):
    """One machine that works by itself. Every path is relative to the settings' folder."""

    home: Path
    """Folder of the server's database, its password and the logs; readable by its owner alone."""

    runs: Path
    """Folder of the run folders."""

    inbox: Path
    """Folder that studies arrive in."""

    worklist: Path | None = None
    """Folder or list of studies that is done every night; None leaves it at the inbox."""

    watch: str = "* * * * *"
    """When the inbox is looked at; cron."""

    nightly: str = "0 2 * * *"
    """When the worklist is done; cron."""

    protocol: str | None = None
    """Name of an embedded protocol or a .yaml file; None chooses by each study."""

    send_to: str | None = None
    """Who gets the results: AET@HOST:PORT or the address of a DICOMweb service."""

    archive: str | None = None
    """AET@HOST:PORT of who is asked how many images a study has."""

    quiet_seconds: float = Field(default=60, ge=0)
    """After which a study is complete whose source does not say how much it is."""

    time_limit_seconds: float = Field(default=3600, gt=0)
    """After which a study is stopped."""

    port: int = Field(default=4200, gt=0, lt=65536)
    """Of Prefect's server, on this machine alone."""

    receiver: ReceiverSettings | None = ReceiverSettings()
    """None receives nothing: something else fills the inbox."""

    housekeeping: HousekeepingSettings = HousekeepingSettings()

    notify_block: str | None = Field(default=None, pattern="^[a-z0-9-]+/[a-z0-9-]+$")
    """TYPE/NAME of a notification block of Prefect, such as slack-webhook/on-call, that is told of
    failures. None shows them in the UI alone."""

    @model_validator(mode="after")
    def _is_a_database(self) -> "OperateSettings":
        if database() is not None and not str(database()).startswith("postgresql+asyncpg://"):
            raise ValueError(f"{DATABASE_VARIABLE} must begin with postgresql+asyncpg://")
        return self

    def below(self, folder: Path) -> "OperateSettings":
        """The same with absolute paths."""
        changes: dict[str, object] = _absolute(self, folder, ("home", "runs", "inbox", "worklist"))
        if self.protocol is not None and self.protocol.endswith((".yaml", ".yml")):
            changes["protocol"] = str((folder / self.protocol).resolve())
        if self.receiver is not None:
            tls = _absolute(self.receiver, folder, ("tls_certificate", "tls_key", "tls_ca"))
            changes["receiver"] = self.receiver.model_copy(update=tls)
        return self.model_copy(update=changes)


def _absolute(settings: Settings, folder: Path, names: tuple[str, ...]) -> dict[str, object]:
    """Those of the named paths that there are, absolute."""
    return {
        name: (folder / path).resolve()
        for name in names
        if (path := getattr(settings, name)) is not None
    }


def log_settings() -> dict[str, str]:
    """What makes Prefect log in the format that the environment asks for."""
    return JSON_LOGS if os.environ.get("MEDSEG_LOG_FORMAT", "").lower() == "json" else {}


def database() -> str | None:
    """Address of the PostgreSQL database that is configured, or None."""
    return os.environ.get(DATABASE_VARIABLE) or None
