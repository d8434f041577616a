"""What runs by itself, and when: the deployments of one machine or many."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.types.entrypoint import EntrypointType

from pipelines.delineate_worklist import delineate_worklist
from pipelines.keep_house import keep_house
from pipelines.settings import POOL, OperateSettings
from pipelines.watch_inbox import watch_inbox

ONE_AT_A_TIME = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
)
"""After hours of downtime one missed run starts, not all (PREFECT.md, decision 8)."""


def deployments(settings: OperateSettings) -> tuple[RunnerDeployment, ...]:
    """The deployments that settings ask for. Their parameters are paths and addresses."""
    common = {
        "runs": settings.runs,
        "protocol": settings.protocol,
        "send_to": settings.send_to,
        "time_limit_seconds": settings.time_limit_seconds,
    }
    keep = settings.housekeeping
    made = [
        _deployment(
            watch_inbox,
            "inbox",
            settings.watch,
            {
                "inbox": settings.inbox,
                "quiet_seconds": settings.quiet_seconds,
                "archive": settings.archive,
                **common,
            },
        ),
        _deployment(
            keep_house,
            "nightly",
            keep.when,
            {
                "runs": settings.runs,
                "damaged_days": keep.damaged_days,
                "superseded_days": keep.superseded_days,
                "tables_days": keep.tables_days,
                "inbox": settings.inbox,
                "inbox_days": keep.inbox_days,
                "flow_runs_days": keep.flow_runs_days,
            },
        ),
    ]
    if settings.worklist is not None:
        made.append(
            _deployment(
                delineate_worklist,
                "nightly",
                settings.nightly,
                {"worklist": settings.worklist, **common},
            )
        )
    return tuple(made)


def register(settings: OperateSettings) -> list[str]:
    """Make the work pool and the deployments on the server, or bring them up to date.

    Returns:
        Name of each deployment, `FLOW/NAME`.
    """
    pool = WorkPoolCreate(name=POOL, type="process", concurrency_limit=1)
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(pool)
    made = deployments(settings)
    for one in made:
        one.apply(work_pool_name=POOL)
    return [f"{one.flow_name}/{one.name}" for one in made]


def _deployment(
    flow: Flow[..., Any], name: str, cron: str, parameters: dict[str, Any]
) -> RunnerDeployment:
    plain = {
        key: str(value) if isinstance(value, Path) else value for key, value in parameters.items()
    }
    made = flow.to_deployment(
        name,
        cron=cron,
        parameters=plain,
        concurrency_limit=ONE_AT_A_TIME,
        work_pool_name=POOL,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    if not isinstance(made, RunnerDeployment):
        raise TypeError("outside of an event loop a deployment is made at once")
    return made
