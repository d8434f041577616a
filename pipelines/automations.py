"""What makes Prefect's weak spots harmless: runs of the dead end and are tried again, with a limit.

A run whose worker and flow were killed says Running for ever (PREFECT.md, decision 9).
"""

from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.runtime import flow_run
from prefect.states import Crashed

HEARTBEAT_SECONDS = 30

SILENCE = timedelta(seconds=4 * HEARTBEAT_SECONDS)
"""After which a run is taken for dead; with a shorter one a healthy run was."""

MOST_ATTEMPTS = 3

ENDS = tuple(
    f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")
)


def automations() -> tuple[AutomationCore, ...]:
    """No heartbeat: crashed. Crashed: scheduled again; the flows count their attempts."""
    every = {"prefect.resource.id": "prefect.flow-run.*"}
    silent = EventTrigger(
        posture=Posture.Proactive,
        match=every,
        for_each={"prefect.resource.id"},
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *ENDS},
        threshold=1,
        within=SILENCE,
    )
    crashed = EventTrigger(
        posture=Posture.Reactive,
        match=every,
        for_each={"prefect.resource.id"},
        expect={"prefect.flow-run.Crashed"},
        threshold=1,
    )
    return (
        AutomationCore(
            name="medseg: a silent run has crashed",
            trigger=silent,
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED, message="No sign of life: its process is dead."
                )
            ],
        ),
        AutomationCore(
            name="medseg: a crashed run is tried again",
            trigger=crashed,
            actions=[
                ChangeFlowRunState(
                    state=StateType.SCHEDULED, name="AwaitingRetry", message="It had crashed."
                )
            ],
        ),
    )


def register() -> None:
    """Make the automations on the server, in place of those of the same name."""
    with get_client(sync_client=True) as client:
        for one in automations():
            for old in client.read_automations_by_name(one.name):
                client.delete_automation(old.id)
            client.create_automation(one)


def end_runs_of_the_dead() -> int:
    """Mark what says that it runs as crashed; to be called when no worker is alive.

    Returns:
        How many they were.
    """
    chosen = FlowRunFilter(
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(
                any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
            )
        )
    )
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=chosen, limit=200)
        for one in found:
            client.set_flow_run_state(one.id, Crashed(message="Its worker was killed."), force=True)
    return len(found)


def attempts_are_used_up() -> bool:
    """Whether this flow run was begun too often: the study or the machine keeps killing it."""
    return int(flow_run.run_count or 0) > MOST_ATTEMPTS
