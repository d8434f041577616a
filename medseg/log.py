"""How a process logs: text for people or JSON for machines, never a name."""

import json
import logging
import os
from datetime import UTC, datetime

from medseg.errors import SettingsError

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

LOG_FORMATS = {"text": "%(asctime)s %(levelname)s %(name)s: %(message)s", "json": ""}


def begin_log() -> None:
    """Log as MEDSEG_LOG (level) and MEDSEG_LOG_FORMAT (text or json) say.

    Raises:
        SettingsError: One of them says something else.
    """
    level = os.environ.get("MEDSEG_LOG", "warning").lower()
    if level not in LOG_LEVELS:
        raise SettingsError(
            f"MEDSEG_LOG is '{level}', which is no level of detail.",
            f"Set it to one of {', '.join(LOG_LEVELS)}.",
        )
    kind = os.environ.get("MEDSEG_LOG_FORMAT", "text").lower()
    if kind not in LOG_FORMATS:
        raise SettingsError(
            f"MEDSEG_LOG_FORMAT is '{kind}', which is no format of a log.",
            f"Set it to one of {', '.join(LOG_FORMATS)}.",
        )
    logging.basicConfig(level=level.upper(), format=LOG_FORMATS["text"])
    if kind == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())


class JsonLines(logging.Formatter):
    """A log line as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level, logger and message; of an error the type, which names nobody."""
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            said["error"] = record.exc_info[0].__name__
        return json.dumps(said)
