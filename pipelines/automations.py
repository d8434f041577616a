"""What makes Prefect's weak spots harmless: runs of the dead end and are tried again, with a limit.

A run whose worker and flow were killed says Running for ever (PREFECT.md, decision 9).
"""

from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import State, StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState, DoNothing, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from medseg.errors import SettingsError
from pipelines.settings import HEARTBEAT_SECONDS, POOL

SILENCE = timedelta(seconds=4 * HEARTBEAT_SECONDS)
"""After which a run is taken for dead; with a shorter one a healthy run was."""

MOST_ATTEMPTS = 3

ENDS = tuple(
    f"prefect.flow-run.{state}"
    for state in ("Completed", "CompletedWithFailures", "Failed", "Cancelled", "Crashed")
)


LOOK = tuple(
    f"prefect.flow-run.{state}" for state in ("Failed", "CompletedWithFailures", "Crashed")
)
"""After which somebody must look."""

TOLD = "{{ flow.name }} ended as {{ flow_run.state.name }}; run {{ flow_run.id }} says more."
"""No parameter, name or message of the run: it leaves the machine."""


def automations(notify: UUID | None = None) -> tuple[AutomationCore, ...]:
    """What the server does by itself.

    No heartbeat: crashed. Crashed: scheduled again; the flows count their attempts. Failed: told.

    Args:
        notify: The notification block that is told of failures; None shows them in the UI alone.
    """
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
        # Of a run by hand nobody would take up what is scheduled, and others count no attempts.
        match_related={"prefect.resource.role": "work-pool", "prefect.resource.name": POOL},
        for_each={"prefect.resource.id"},
        expect={"prefect.flow-run.Crashed"},
        threshold=1,
    )
    look = EventTrigger(
        posture=Posture.Reactive,
        match=every,
        for_each={"prefect.resource.id"},
        expect=set(LOOK),
        threshold=1,
    )
    tell: ActionTypes = (
        DoNothing()
        if notify is None
        else SendNotification(block_document_id=notify, subject="medseg", body=TOLD)
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
        AutomationCore(name="medseg: somebody must look", trigger=look, actions=[tell]),
    )


def register(notify: str | None = None) -> None:
    """Make the automations on the server, in place of those of the same name.

    Args:
        notify: TYPE/NAME of the notification block that is told of failures, or None.

    Raises:
        SettingsError: There is no such block.
    """
    with get_client(sync_client=True) as client:
        for one in automations(None if notify is None else _block(client, notify)):
            for old in client.read_automations_by_name(one.name):
                client.delete_automation(old.id)
            client.create_automation(one)


def _block(client: SyncPrefectClient, named: str) -> UUID:
    kind, _, name = named.partition("/")
    try:
        return client.read_block_document_by_name(name, kind, include_secrets=False).id
    except ObjectNotFound:
        raise SettingsError(
            "There is no notification block of that type and name, so nothing was started.",
            "Start once without `notify_block`, make the block in the UI, then name it.",
        ) from None


def end_runs_of_the_dead() -> int:
    """Mark what says that it runs in our work pool as crashed, and free every slot that it held.

    To be called when no worker of the pool is alive. A run by hand or of another pool on the same
    server has no part in our worker's death, and is left alone.

    Returns:
        How many they were.
    """
    going_on = FlowRunFilter(
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(
                any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
            )
        )
    )
    ours = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    with get_client(sync_client=True) as client:
        ended = 0
        while found := client.read_flow_runs(
            flow_run_filter=going_on, work_pool_filter=ours, limit=200
        ):
            for one in found:
                dead: State[None] = Crashed(message="Its worker was killed.")
                client.set_flow_run_state(one.id, dead, force=True)
            ended += len(found)
        # A server that was killed too has forgotten who held what, and would never free it.
        for deployment in client.read_deployments(work_pool_filter=ours, limit=200):
            limit = deployment.global_concurrency_limit
            if limit is not None and limit.active_slots:
                client.update_global_concurrency_limit(
                    limit.name, GlobalConcurrencyLimitUpdate(active_slots=0)
                )
    return ended


def attempts_are_used_up() -> bool:
    """Whether this flow run was begun too often: the study or the machine keeps killing it."""
    return int(flow_run.run_count or 0) > MOST_ATTEMPTS
