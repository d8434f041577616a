"""Many studies, one Prefect task each, none of which stops another."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

from medseg.errors import MedsegError, StudyCrashedError
from medseg.site_secret import load_site_secret
from medseg.worklist import batch, listing, records, work
from medseg.worklist.child import shared_process
from medseg.worklist.deliver import deliver
from medseg.worklist.fingerprint import ListedStudy
from medseg.worklist.outcome import Outcome, Sent, StudyOutcome, in_words
from pipelines import artifacts, automations, runners
from pipelines.tasks import stage

Rows = tuple[StudyOutcome, ...]


@partial(stage, name="study", each="study-{study.number}")
def do_study(
    study: ListedStudy, runs: Path, limit_seconds: float, busy: StudyOutcome | None = None
) -> StudyOutcome:
    """Do one study, as `worklist.work` says; one that was busy after waiting for the other."""
    process, secret = shared_process(), load_site_secret()
    if busy is None:
        return work.do_study(study, runs, process, secret=secret, limit_seconds=limit_seconds)
    return work.do_study_after_others(
        study, runs, process, busy, secret=secret, limit_seconds=limit_seconds
    )


@partial(stage, name="send", each="send-{row.number}")
def deliver_study(row: StudyOutcome, runs: Path, to: str) -> StudyOutcome:
    """Send the objects of one study, as `worklist.deliver` says."""
    return deliver(row, runs, to)


@flow(
    name="delineate-worklist",
    persist_result=False,
    task_runner=runners.chosen(),
)
def delineate_worklist(
    worklist: Path,
    runs: Path,
    protocol: str | None = None,
    send_to: str | None = None,
    time_limit_seconds: float = 3600,
) -> State[Rows]:
    """Do every study of a worklist that is not done.

    Args:
        worklist: A folder of studies, or a list of them (`worklist.listing`).
        runs: Folder of the run folders.
        protocol: Name of an embedded protocol or a .yaml file; None chooses by each study.
        send_to: AET@HOST:PORT or the address of a DICOMweb service; None sends nothing.
        time_limit_seconds: After which a study is stopped.

    Returns:
        Completed; Completed under the name CompletedWithFailures where somebody must look; Failed
        where no study is done. Its result are the rows of the batch table.

    Raises:
        MedsegError: The worklist is at fault; nothing was done.
    """
    if automations.attempts_are_used_up():
        return Failed(message="It crashed too often, and is not tried again.", data=())
    return final_state(
        do_all(listing.studies(worklist, protocol), runs, send_to, time_limit_seconds)
    )


def do_all(
    listed: Sequence[ListedStudy], runs: Path, send_to: str | None, time_limit_seconds: float
) -> Rows:
    """Do every study, send what is asked to be sent, and write tables, page and artifacts.

    Within a flow. Arguments as of `delineate_worklist`.
    """
    progress = artifacts.Progress(runs, len(listed))
    futures = [do_study.submit(study, runs, time_limit_seconds) for study in listed]
    rows = _rows(listed, futures, runs, progress)
    busy = [
        (study, row) for study, row in zip(listed, rows, strict=True) if row.outcome is Outcome.BUSY
    ]
    again = [do_study.submit(study, runs, time_limit_seconds, row) for study, row in busy]
    waited = _rows([study for study, _ in busy], again, runs)
    final = {row.number: row for row in (*rows, *waited)}
    rows = tuple(final[study.number] for study in listed)
    if send_to is not None:
        rows = _sent(rows, [deliver_study.submit(row, runs, send_to) for row in rows])
        for row in rows:
            records.note_sent(runs, row)
    batch.write(runs, rows)
    artifacts.publish(runs, rows)
    return rows


def final_state(rows: Rows) -> State[Rows]:
    """The state that says whether somebody must look."""
    message = in_words(rows)
    good = sum(row.is_good for row in rows)
    if good == len(rows):
        return Completed(message=message, data=rows)
    if good == 0:
        return Failed(message=message, data=rows)
    return Completed(name="CompletedWithFailures", message=message, data=rows)


def _rows(
    listed: Sequence[ListedStudy],
    futures: Sequence[PrefectFuture[StudyOutcome]],
    runs: Path,
    progress: artifacts.Progress | None = None,
) -> Rows:
    """Wait for every task, whatever becomes of it."""
    rows: list[StudyOutcome] = []
    for study, future in zip(listed, futures, strict=True):
        result = _result(future)
        if not isinstance(result, StudyOutcome):  # it ended the task, so nothing was noted
            result = _failed(study, result)
            work.note(result, runs)
        rows.append(result)
        if progress is not None:
            progress.tell(len(rows))
    return tuple(rows)


def _result(future: PrefectFuture[StudyOutcome]) -> object:
    """What a task returned or raised; of one that Dask gave up it is not asked, but said."""
    future.wait()
    state = future.state
    if state.is_final():
        return state.result(raise_on_failure=False)
    return StudyCrashedError(
        "The workers that tried the study died one after another, so nothing of it was kept.",
        "Look at the memory of the workers, and run the study alone with `medseg delineate`.",
    )


def _failed(study: ListedStudy, result: object) -> StudyOutcome:
    """The row of a study whose task ended over an error; it names the content, as any other."""
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    digest = work.fingerprint_if_readable(study, load_site_secret())
    if isinstance(result, MedsegError):
        return replace(StudyOutcome.failed(study.number, digest, result), ended=ended)
    error = type(result).__name__
    return StudyOutcome(study.number, digest, Outcome.CRASHED, error=error, ended=ended)


def _sent(rows: Rows, futures: Sequence[PrefectFuture[StudyOutcome]]) -> Rows:
    results = [_result(future) for future in futures]
    return tuple(
        result if isinstance(result, StudyOutcome) else replace(row, sent=Sent.FAILED)
        for row, result in zip(rows, results, strict=True)
    )
