"""A nightly flow that removes what is not needed, here and in Prefect's database."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import Completed, Failed

from medseg.worklist import housekeeping
from pipelines import automations
from pipelines.vacuum import address_of_database, vacuum

OURS = (
    "delineate-study",
    "delineate-worklist",
    "demo",
    "keep-house",
    "train-model",
    "watch-inbox",
)
"""Our flows: a server may have others, whose runs are nobody's to forget here."""

ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]


@flow(name="keep-house", persist_result=False)
def keep_house(
    runs: Path,
    damaged_days: float = 30,
    superseded_days: float = 365,
    tables_days: float = 365,
    inbox: Path | None = None,
    inbox_days: float | None = None,
    flow_runs_days: float = 30,
) -> State[None]:
    """Remove what is old, and what the dead left.

    Args:
        runs: Folder of the runs.
        damaged_days: Age of run folders that were no longer whole.
        superseded_days: Age of runs of which there is a later one of the same study.
        tables_days: Age of the tables of single worklists.
        inbox: Where studies arrive; None leaves it alone.
        inbox_days: Age of studies there that were handled; None keeps them for ever.
        flow_runs_days: Age of flow runs in Prefect's database, which is then vacuumed.
    """
    if automations.attempts_are_used_up():
        return Failed(message="It crashed too often, and is not tried again.")
    removed = housekeeping.keep_house(
        runs,
        damaged_days=damaged_days,
        superseded_days=superseded_days,
        tables_days=tables_days,
    )
    received = None if inbox is None else housekeeping.keep_inbox(inbox, inbox_days)
    flow_runs = forget_flow_runs(flow_runs_days)
    vacuumed = vacuum(address_of_database())
    if vacuumed.problem:
        get_run_logger().warning("the database was not vacuumed: %s", vacuumed.problem)
    table = {
        **asdict(removed),
        **({} if received is None else asdict(received)),
        "flow_runs": flow_runs,
        **asdict(vacuumed),
    }
    create_table_artifact(key="housekeeping", table=[table])
    return Completed()


def forget_flow_runs(older_days: float) -> int:
    """Delete old runs of our flows that ended; return how many they were."""
    before = datetime.now(UTC) - timedelta(days=older_days)
    chosen = FlowRunFilter(
        end_time=FlowRunFilterEndTime(before_=before),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ENDED)),
    )
    deleted = 0
    with get_client(sync_client=True) as client:
        while found := client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=list(OURS))),
            flow_run_filter=chosen,
            limit=200,
        ):
            for one in found:
                client.delete_flow_run(one.id)
            deleted += len(found)
    return deleted
