"""One embedded Prefect server for all flow tests, with no heartbeat (PREFECT.md, decision 16)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings
from prefect.testing.utilities import prefect_test_harness


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the flow tests on one worker: a server costs 8.5 s to start.

    First, because pytest reads `slow` and xdist the group in hooks of the same name.
    """
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("flows"))
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a server of our own, its database included."""
    home = tmp_path_factory.mktemp("prefect")
    with (
        temporary_settings({PREFECT_HOME: home, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        prefect_test_harness(server_startup_timeout=120),
    ):
        yield home
