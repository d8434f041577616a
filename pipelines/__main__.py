"""Run a flow by hand: `python -m pipelines demo RUN`.

The flows live in importable modules and are only called here (PREFECT.md, decision 1).
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import App, Parameter

from medseg import cli
from medseg.errors import MedsegError
from pipelines.settings import TELEMETRY_OFF, log_settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from medseg.worklist.outcome import StudyOutcome

Json = Annotated[bool, Parameter(negative="")]

app = App(
    name="python -m pipelines",
    help="Run a flow by hand, on the server that Prefect is configured for or an embedded one.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

QUIET = {**TELEMETRY_OFF, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
"""Telemetry off, and time for an embedded server to start on a small machine; what `prefect.toml`
says, for a working directory that has none."""


@app.command
def demo(run: Path, *, seed: int = 0) -> None:
    """Make a phantom study as DICOM files, delineate it, and say what was found.

    Args:
        run: New folder for the outputs. An existing one is refused, never overwritten.
        seed: Another seed is another patient.
    """
    from pipelines.delineate_study import demo as flow

    print(flow(run, seed))


@app.command
def delineate(study: Path, run: Path, *, protocol: str | None = None) -> None:
    """Delineate one study and write its report.

    Args:
        study: Folder of DICOM files, one NIfTI file, or a folder of NIfTI files.
        run: New folder for the outputs. An existing one is refused, never overwritten.
        protocol: Name of an embedded protocol or a .yaml file; without it, chosen by the study.
    """
    from medseg.config import load_protocol
    from pipelines.delineate_study import delineate_study

    chosen = load_protocol(protocol) if protocol is not None else None
    print(delineate_study(study, run, chosen))


@app.command
def worklist(
    studies: Path,
    runs: Path,
    *,
    protocol: str | None = None,
    send_to: str | None = None,
    time_limit_seconds: float = 3600,
    json: Json = False,
) -> int:
    """Delineate every study of a worklist that is not done; docs/operations.md.

    Args:
        studies: A folder of studies, or a .txt or .csv list of them.
        runs: Folder of the run folders, one a study, named by its content.
        protocol: Name of an embedded protocol or a .yaml file; without it, chosen by each study.
        send_to: AET@HOST:PORT or the address of a DICOMweb service that gets the results.
        time_limit_seconds: After which a study is stopped.
        json: Print one JSON object for machines.

    Returns:
        0 where nobody must look, else the exit code of the gravest outcome.
    """
    from pipelines.delineate_worklist import delineate_worklist

    state = delineate_worklist(
        studies, runs, protocol, send_to, time_limit_seconds, return_state=True
    )
    return said(state, runs, json=json)


@app.command
def watch(
    inbox: Path,
    runs: Path,
    *,
    quiet_seconds: float = 60,
    protocol: str | None = None,
    send_to: str | None = None,
    archive: str | None = None,
    time_limit_seconds: float = 3600,
    json: Json = False,
) -> int:
    """Delineate every study of an inbox that is complete; docs/receive.md.

    Args:
        inbox: A folder for each study, as `medseg receive` makes them.
        runs: Folder of the run folders, one a study, named by its content.
        quiet_seconds: After which a study is complete whose source does not say how much it is.
        protocol: Name of an embedded protocol or a .yaml file; without it, chosen by each study.
        send_to: AET@HOST:PORT or the address of a DICOMweb service that gets the results.
        archive: AET@HOST:PORT of who is asked how many images a study has.
        time_limit_seconds: After which a study is stopped.
        json: Print one JSON object for machines.

    Returns:
        As of `worklist`.
    """
    from pipelines.watch_inbox import watch_inbox

    state = watch_inbox(
        inbox,
        runs,
        quiet_seconds,
        protocol,
        send_to,
        archive,
        time_limit_seconds,
        return_state=True,
    )
    return said(state, runs, json=json)


@app.command
def operate(settings: Path, *, json: Json = False) -> None:
    """Run server, worker, schedules and receiver on this machine until stopped.

    Args:
        settings: Such as configs/operate.yaml; docs/operations.md.
        json: Print one JSON object a line for machines.
    """
    from json import dumps

    from medseg.config import load
    from pipelines import operate as supervisor
    from pipelines.settings import OperateSettings

    chosen = load(OperateSettings, str(settings), "operate").below(settings.resolve().parent)

    def say(event: Mapping[str, object]) -> None:
        print(dumps(event) if json else supervisor.in_words(event), flush=True)

    supervisor.operate(chosen, say)


def said(state: "State[Any]", runs: Path, *, json: bool) -> int:
    """Print what became of a worklist; the exit code of the gravest outcome."""
    from medseg.terminal import as_json
    from medseg.worklist import batch, outcome

    rows: object = state.result(raise_on_failure=False)
    if isinstance(rows, Exception):
        raise rows
    found = cast("tuple[StudyOutcome, ...]", rows)
    if json:
        print(as_json(batch.plain(found)))
    else:
        print(f"{state.message}\nAll studies: {runs / batch.INDEX}")
    return outcome.exit_code(found)


@app.command
def train(settings: Path, *, out: Path = Path("training-runs")) -> None:
    """Train a model; a run that was cut off resumes from its last checkpoint.

    Args:
        settings: Such as configs/training/pet-lesions.yaml.
        out: Folder of the runs; this run's is named after its settings.
    """
    from pipelines.train_model import train_model

    print(train_model(settings, out))


def keep_refusals_short() -> None:
    """Leave out what Prefect logs of an error of ours: the command ends with its two sentences."""

    def tells_more(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], MedsegError))

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(tells_more)


if __name__ == "__main__":
    keep_refusals_short()
    for name, value in {**QUIET, **log_settings()}.items():
        os.environ.setdefault(name, value)
    cli.run(app)
