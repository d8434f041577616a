"""Many studies, one Prefect task each, none of which stops another."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from medseg.errors import MedsegError
from medseg.site_secret import load_site_secret
from medseg.worklist import listing, work
from medseg.worklist.child import shared_process
from medseg.worklist.fingerprint import ListedStudy
from medseg.worklist.outcome import Outcome, StudyOutcome
from pipelines.tasks import is_transient

Rows = tuple[StudyOutcome, ...]


@task(
    name="study",
    task_run_name="study-{study.number}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=60,
    retry_condition_fn=is_transient,
)
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


def one_at_a_time() -> TaskRunner[Any]:
    """Studies in turn, in this process and its child."""
    return ThreadPoolTaskRunner(max_workers=1)


@flow(
    name="delineate-worklist",
    persist_result=False,
    task_runner=one_at_a_time(),
)
def delineate_worklist(
    worklist: Path,
    runs: Path,
    protocol: str | None = None,
    time_limit_seconds: float = 3600,
) -> State[Rows]:
    """Do every study of a worklist that is not done.

    Args:
        worklist: A folder of studies, or a list of them (`worklist.listing`).
        runs: Folder of the run folders.
        protocol: Name of an embedded protocol or a .yaml file; None chooses by each study.
        time_limit_seconds: After which a study is stopped.

    Returns:
        Completed; Completed under the name CompletedWithFailures where somebody must look; Failed
        where no study is done. Its result are the rows of the batch table.

    Raises:
        MedsegError: The worklist is at fault; nothing was done.
    """
    listed = listing.studies(worklist, protocol)
    rows = _collect((study, do_study.submit(study, runs, time_limit_seconds)) for study in listed)
    waited = _collect(
        (study, do_study.submit(study, runs, time_limit_seconds, row))
        for study, row in zip(listed, rows, strict=True)
        if row.outcome is Outcome.BUSY
    )
    final = {row.number: row for row in (*rows, *waited)}
    return final_state(tuple(final[study.number] for study in listed))


def final_state(rows: Rows) -> State[Rows]:
    """The state that says whether somebody must look."""
    counts = Counter(str(row.outcome) for row in rows)
    message = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    good = sum(row.is_good for row in rows)
    if good == len(rows):
        return Completed(message=message, data=rows)
    if good == 0:
        return Failed(message=message, data=rows)
    return Completed(name="CompletedWithFailures", message=message, data=rows)


def _collect(submitted: Iterable[tuple[ListedStudy, PrefectFuture[StudyOutcome]]]) -> Rows:
    """Wait for every task, whatever becomes of it."""
    return tuple(_row(study, future) for study, future in list(submitted))


def _row(study: ListedStudy, future: PrefectFuture[StudyOutcome]) -> StudyOutcome:
    result: object = future.result(raise_on_failure=False)
    if isinstance(result, MedsegError):
        return StudyOutcome.failed(study.number, "", result)
    if isinstance(result, StudyOutcome):
        return result
    return StudyOutcome(study.number, "", Outcome.CRASHED, error=type(result).__name__)
