"""Logs as text and as JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.errors import SettingsError
from medseg.log import begin_log

LINES = """
import logging
from medseg.log import begin_log
begin_log()
logging.getLogger("medseg.x").warning("study %d: %s", 3, "refused")
try:
    raise ValueError("CANARY")
except ValueError:
    logging.getLogger("medseg.x").exception("a bug")
"""


def test_json_logs_are_an_object_a_line_and_of_an_error_say_its_type_alone(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", LINES],
        env={"MEDSEG_LOG_FORMAT": "json"},
        capture_output=True,
        check=True,
    ).stderr
    first, second = (json.loads(line) for line in said.splitlines())
    assert (first["level"], first["logger"], first["message"]) == (
        "WARNING",
        "medseg.x",
        "study 3: refused",
    )
    assert second["error"] == "ValueError"
    assert b"CANARY" not in said


@pytest.mark.parametrize("name", ["MEDSEG_LOG", "MEDSEG_LOG_FORMAT"])
def test_another_format_or_level_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "xml")
    with pytest.raises(SettingsError, match="xml"):
        begin_log()
