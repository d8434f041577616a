"""Where the studies of a worklist are done: in this process, or on the workers of Dask."""

import os
from typing import Any

from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from medseg.errors import SettingsError

ADDRESS = "MEDSEG_DASK_ADDRESS"
"""Environment variable: the address of a Dask scheduler, such as `tcp://node:8786`, or `local:2`
for two workers that live as long as the flow. Not set: studies are done in turn."""

LOCAL = "local:"

MOST_LOCAL = 64

LOADS = "medseg.worklist.work"
"""Imported once in each local worker, before its first study."""


def chosen() -> TaskRunner[Any]:
    """The task runner that the environment asks for.

    Raises:
        SettingsError: The address is none, or the extra `dask` is not installed.
    """
    address = os.environ.get(ADDRESS, "")
    if not address:
        return ThreadPoolTaskRunner(max_workers=1)
    if PREFECT_API_URL.value() is None:
        raise SettingsError(
            f"{ADDRESS} is set, but no server of Prefect is, so each worker would start its own.",
            "Start `prefect server start` or `medseg operate`, and set PREFECT_API_URL.",
        )
    if address.startswith(LOCAL):
        count = address.removeprefix(LOCAL)
        if not count.isdecimal() or not 1 <= int(count) <= MOST_LOCAL:
            raise _no_address()
        return _local(int(count))
    if "://" not in address:
        raise _no_address()
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise _not_installed() from None
    return DaskTaskRunner(address=address)


def _local(workers: int) -> TaskRunner[Any]:
    """Workers on this machine: one study at a time in each, and their share of the cores.

    A worker of Dask is a daemon unless told otherwise, and a daemon may have no child, which is
    where a study is done.
    """
    try:
        import dask
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise _not_installed() from None
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    dask.config.set(
        {
            "distributed.worker.daemon": False,
            "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": threads,
            "distributed.nanny.pre-spawn-environ.MKL_NUM_THREADS": threads,
            "distributed.nanny.pre-spawn-environ.OPENBLAS_NUM_THREADS": threads,
        }
    )
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": workers,
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            "dashboard_address": None,
            "preload": [LOADS],
        }
    )


def _no_address() -> SettingsError:
    return SettingsError(
        f"{ADDRESS} is neither the address of a Dask scheduler nor a number of local workers, so "
        "nothing was done.",
        f"Set it to such as tcp://node:8786, or to {LOCAL}N with N from 1 to {MOST_LOCAL}.",
    )


def _not_installed() -> SettingsError:
    return SettingsError(
        f"{ADDRESS} is set, but Dask is not installed, so nothing was done.",
        "Install medseg with the extra `dask`, or unset the variable.",
    )
