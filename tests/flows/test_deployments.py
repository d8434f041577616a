"""The deployments are what the settings ask for, and the server takes them twice."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.states import Crashed, Running
from pydantic import ValidationError

from medseg.config import load
from medseg.errors import ResourceError, SettingsError
from medseg.worklist.outcome import Outcome, StudyOutcome
from pipelines import automations, deployments
from pipelines.delineate_worklist import delineate_worklist, final_state
from pipelines.keep_house import OURS, forget_flow_runs, keep_house
from pipelines.operate import _hold, environment, in_words, login, login_file
from pipelines.settings import DATABASE_VARIABLE, OperateSettings

EXAMPLE = Path(__file__).parents[2] / "configs" / "operate.yaml"


def example(tmp_path: Path, **more: object) -> OperateSettings:
    values = yaml.safe_load(EXAMPLE.read_text())
    return OperateSettings.model_validate({**values, **more}).below(tmp_path)


def test_the_example_says_every_setting_and_its_default(tmp_path: Path) -> None:
    named = yaml.safe_load(EXAMPLE.read_text())
    assert named.keys() == OperateSettings.model_fields.keys()
    paths = {name: named[name] for name in ("home", "runs", "inbox")}
    assert load(OperateSettings, str(EXAMPLE), "operate") == OperateSettings.model_validate(paths)


def test_an_unknown_setting_and_another_database_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError):
        example(tmp_path, inbux="x")
    monkeypatch.setenv(DATABASE_VARIABLE, "mysql://x")
    with pytest.raises(SettingsError):
        load(OperateSettings, str(EXAMPLE), "operate")


def test_every_deployment_runs_one_at_a_time_with_paths_alone(tmp_path: Path) -> None:
    made = deployments.deployments(example(tmp_path, worklist="lists/night.csv"))
    assert [f"{one.flow_name}/{one.name}" for one in made] == [
        "watch-inbox/inbox",
        "keep-house/nightly",
        "delineate-worklist/nightly",
    ]
    for one in made:
        assert one.concurrency_limit == 1
        assert one.concurrency_options is not None
        assert one.concurrency_options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
        assert all(isinstance(value, str | float | int | None) for value in one.parameters.values())
    assert made[2].parameters["worklist"] == str(tmp_path / "lists" / "night.csv")


def test_registering_twice_changes_nothing(prefect_server: Path, tmp_path: Path) -> None:
    for _ in range(2):
        deployments.register(example(tmp_path))
        automations.register()
    with get_client(sync_client=True) as client:
        assert {one.name for one in client.read_deployments()} >= {"inbox", "nightly"}
        ours = [one for one in client.read_automations() if one.name.startswith("medseg")]
        assert len(ours) == len(automations.automations())


def test_a_block_that_is_told_of_failures_must_be_there(prefect_server: Path) -> None:
    with pytest.raises(SettingsError):
        automations.register("slack-webhook/nobody")


def test_two_machines_in_one_home_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    held = _hold(tmp_path)
    with pytest.raises(ResourceError):
        _hold(tmp_path)
    held.close()
    _hold(tmp_path).close()


def test_a_run_that_ends_under_a_name_of_ours_is_not_taken_for_silent() -> None:
    state = final_state((StudyOutcome(1, "", Outcome.DONE), StudyOutcome(2, "", Outcome.CRASHED)))
    assert f"prefect.flow-run.{state.name}" in automations.ENDS


def begun(client: SyncPrefectClient, deployment: str | None) -> UUID:
    """A flow run that says that it runs, and whose process nobody ever saw."""
    if deployment is None:
        made = client.create_flow_run(delineate_worklist, parameters={})
    else:
        made = client.create_flow_run_from_deployment(
            client.read_deployment_by_name(deployment).id, parameters={}
        )
    client.set_flow_run_state(made.id, Running(), force=True)
    return made.id


def test_runs_of_the_dead_end_as_crashed_and_no_run_of_others(
    prefect_server: Path, tmp_path: Path
) -> None:
    deployments.register(example(tmp_path))
    with get_client(sync_client=True) as client:
        lost, by_hand = begun(client, "watch-inbox/inbox"), begun(client, None)
        held = client.read_deployment_by_name("watch-inbox/inbox").global_concurrency_limit
        assert held is not None
        client.update_global_concurrency_limit(
            held.name, GlobalConcurrencyLimitUpdate(active_slots=1)
        )
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="of-others", limit=1, active_slots=1)
        )
        assert automations.end_runs_of_the_dead() == 1
        assert client.read_global_concurrency_limit_by_name(held.name).active_slots == 0
        assert client.read_global_concurrency_limit_by_name("of-others").active_slots == 1
        # The automation of another test may have scheduled it again since.
        assert any(state.is_crashed() for state in client.read_flow_run_states(lost))
        assert client.read_flow_run(by_hand).state.is_running()
        client.delete_flow_run(by_hand)


def test_a_crashed_run_of_the_pool_is_scheduled_again(prefect_server: Path, tmp_path: Path) -> None:
    deployments.register(example(tmp_path))
    automations.register()
    with get_client(sync_client=True) as client:
        run = begun(client, "watch-inbox/inbox")
        client.set_flow_run_state(run, Crashed(), force=True)
        until = time.monotonic() + 60
        while not any(state.name == "AwaitingRetry" for state in client.read_flow_run_states(run)):
            assert time.monotonic() < until
            time.sleep(0.5)
        client.delete_flow_run(run)


def test_housekeeping_runs_as_a_flow(prefect_server: Path, tmp_path: Path) -> None:
    assert keep_house(tmp_path, return_state=True).is_completed()


def test_housekeeping_that_crashes_again_and_again_is_given_up(
    prefect_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automations, "attempts_are_used_up", lambda: True)
    assert keep_house(tmp_path, return_state=True).is_failed()


def test_housekeeping_forgets_runs_of_our_flows_alone(prefect_server: Path) -> None:
    @flow(name="of-others")
    def of_others() -> None:
        pass

    of_others()
    keep_house(Path("none"))
    forget_flow_runs(-1)
    with get_client(sync_client=True) as client:
        ours = FlowFilter(name=FlowFilterName(any_=["keep-house"]))
        theirs = FlowFilter(name=FlowFilterName(any_=["of-others"]))
        assert client.read_flow_runs(flow_filter=ours) == []
        assert len(client.read_flow_runs(flow_filter=theirs)) == 1


def test_every_flow_of_ours_is_forgotten() -> None:
    root = Path(__file__).parents[2] / "pipelines"
    named = {
        name
        for path in root.glob("*.py")
        for name in re.findall(r'@flow\(\s*name="([^"]+)"', path.read_text())
    }
    assert named == set(OURS)


def test_an_empty_password_is_no_password(tmp_path: Path) -> None:
    """A full disk left the file, and Prefect takes an empty password for none."""
    settings = example(tmp_path, home="home")
    settings.home.mkdir()
    login_file(settings).touch(0o644)
    assert len(login(settings)) > 30
    assert login_file(settings).stat().st_mode & 0o777 == 0o600
    assert login(settings) == login(settings)


def test_what_operate_says_is_said_in_words() -> None:
    registered = {"state": "registered", "deployments": ["watch-inbox/inbox"], "ended": 2}
    assert in_words(registered) == (
        "Scheduled: watch-inbox/inbox. Runs of a dead worker that were ended: 2."
    )
    restarted = {"state": "restarted", "what": "receiver", "times": 3}
    assert in_words(restarted) == "The receiver had died, and is started again (3 times so far)."


def test_every_path_is_relative_to_the_settings(tmp_path: Path) -> None:
    settings = example(
        tmp_path, protocol="own.yaml", receiver={"tls_certificate": "tls/own", "tls_ca": "/ca"}
    )
    assert settings.protocol == str(tmp_path / "own.yaml")
    assert settings.receiver is not None
    assert settings.receiver.tls_certificate == tmp_path / "tls" / "own"
    assert settings.receiver.tls_ca == Path("/ca")
    assert settings.receiver.tls_key is None
    assert example(tmp_path, protocol="liver").protocol == "liver"


def test_the_settings_of_prefect_close_every_door(tmp_path: Path) -> None:
    settings = example(tmp_path)
    settings.home.mkdir(parents=True)
    chosen = environment(settings)
    assert chosen["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert chosen["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert chosen["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200"
    assert chosen["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert chosen["DO_NOT_TRACK"] == "1"
    assert chosen["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "false"
    assert len(chosen["PREFECT_SERVER_API_AUTH_STRING"]) > 30
    assert login_file(settings).stat().st_mode & 0o777 == 0o600


PREFECT_LOGS = """
import logging
from prefect.logging.configuration import setup_logging
setup_logging()
logging.getLogger("prefect.server").warning("longer than a terminal is wide: " + "x" * 99)
try:
    raise ValueError("CANARY")
except ValueError:
    logging.getLogger("prefect.flow_runs").exception("a bug")
"""


def test_prefect_logs_as_json_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = example(tmp_path)
    settings.home.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("MEDSEG_LOG_FORMAT", "json")
    said = subprocess.run(
        [sys.executable, "-c", PREFECT_LOGS],
        env={**os.environ, **environment(settings)},
        capture_output=True,
        check=True,
    ).stderr
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["logger"] for line in lines[:2]] == ["prefect.server", "prefect.flow_runs"]
    assert lines[1]["error"] == "ValueError"
    assert b"CANARY" not in said


def test_prefects_own_file_names_flows_that_are_there_and_parameters_that_they_take() -> None:
    root = Path(__file__).parents[2]
    for one in yaml.safe_load((root / "prefect.yaml").read_text())["deployments"]:
        module, _, name = one["entrypoint"].rpartition(".")  # a file is not found where it runs
        named = getattr(importlib.import_module(module), name)
        assert one["parameters"].keys() <= named.parameters.properties.keys()
        if "schedules" in one:
            assert one["concurrency_limit"]["collision_strategy"] == "CANCEL_NEW"
