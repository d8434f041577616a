"""The stages of `medseg.stages` as Prefect tasks."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from medseg import stages
from medseg.errors import ResourceError, StudyTimedOutError

P = ParamSpec("P")
R = TypeVar("R")


def is_transient(_task: Task[..., object], _run: TaskRun, state: State[object]) -> bool:
    """Whether running the same task again may help: only when the machine was at fault.

    A study that took too long would take as long again, of the others' night.
    """
    error = state.result(raise_on_failure=False)
    return isinstance(error, ResourceError) and not isinstance(error, StudyTimedOutError)


def stage(function: Callable[P, R], name: str | None = None, each: str | None = None) -> Task[P, R]:
    """Make a stage a task: no cache and no stored result, retried where the machine was at fault.

    Args:
        function: The stage.
        name: Of the task; None takes the function's.
        each: Template for the name of each run; None lets Prefect choose.

    The files are the truth, not Prefect's cache (PREFECT.md, decisions 2 and 4). Two retries a
    minute apart are what a full disk or a full memory is given to recover.
    """
    return task(
        name=name,
        task_run_name=each,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=2,
        retry_delay_seconds=60,
        retry_condition_fn=is_transient,
    )(function)


make_phantom = stage(stages.make_phantom)
ingest = stage(stages.ingest)
segment = stage(stages.segment)
adopt_mask = stage(stages.adopt_mask)
measure = stage(stages.measure)
report = stage(stages.report)
export = stage(stages.export)
verify = stage(stages.verify)
score_phantom = stage(stages.score_phantom)
