"""Names that somebody else chose are text, wherever they come: never a path, a tag or a command."""

import ast
import re
from pathlib import Path

import pytest

from medseg.worklist import listing
from medseg.worklist.fingerprint import fingerprint
from medseg.worklist.outcome import Outcome, StudyOutcome
from pipelines import artifacts

HERE = Path(__file__).parents[3]

NAMES = (
    "-rf",
    "--protocol=x",
    "a\nb",
    "'; touch CANARY; '",
    "$(touch CANARY)",
    "`touch CANARY`",
    "=cmd|'x'!A0",
    "<script>alert(1)<script>",
    "\u202egnp.dcm",
    "a\udcffb",
)


def test_a_link_among_the_studies_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "a.dcm").write_bytes(b"x")
    studies = tmp_path / "studies"
    (studies / "own").mkdir(parents=True)
    (studies / "link").symlink_to(secret)
    (studies / "a.dcm").symlink_to(secret / "a.dcm")
    assert [one.source.name for one in listing.studies(studies)] == ["own"]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_name_is_a_study_and_in_no_output(tmp_path: Path, name: str) -> None:
    for place in ("one", "two"):
        folder = tmp_path / place / (name if place == "one" else "plain")
        folder.mkdir(parents=True)
        (folder / (name if place == "one" else "plain")).write_bytes(b"the same bytes")
    (hostile,), (plain,) = (listing.studies(tmp_path / place) for place in ("one", "two"))
    assert name not in repr(hostile.number)
    assert fingerprint(hostile) == fingerprint(plain)


def test_an_artifact_holds_no_link_and_no_tag_of_somebody_else(tmp_path: Path) -> None:
    text = "[x](http://evil) ![x](http://evil) <img src=x onerror=alert(1)> | **b** `c`\n| new row"
    row = StudyOutcome(1, "a" * 64, Outcome.REFUSED, study_key=text, problem=text, remedy=text)
    summary = artifacts.summary(tmp_path, [row])
    (line,) = [one for one in summary.splitlines() if "evil" in one]
    assert not re.search(r"(?<!\\)[<>*`!\]\[]", line)
    assert len(re.findall(r"(?<!\\)\|", line)) == 5
    assert len(summary.splitlines()) == len(
        artifacts.summary(tmp_path, [StudyOutcome(1, "a" * 64, Outcome.DONE)]).splitlines()
    )


def test_nothing_goes_through_a_shell() -> None:
    for path in [*(HERE / "medseg").rglob("*.py"), *(HERE / "pipelines").rglob("*.py")]:
        for call in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(call, ast.Call):
                assert not [word.arg for word in call.keywords if word.arg == "shell"], path
                assert ast.unparse(call.func) not in {
                    "os.system",
                    "os.popen",
                    "subprocess.getoutput",
                    "eval",
                    "exec",
                }, path
