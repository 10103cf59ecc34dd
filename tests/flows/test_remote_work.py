"""Work in another system outlives the process that started it: it is found again, and never started twice."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.record.facts import ActionStarted
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live


def remote(work: Path) -> dict[str, Any]:
    """An action whose work is in that folder."""
    kind = {"category": "Test", "owner": "Custom", "provider": "Remote", "version": "1"}
    return {"name": "Far", "actionTypeId": kind, "configuration": {"Work": str(work)}}


def calls(work: Path) -> list[str]:
    """What was asked of the other system."""
    file = work / "calls"
    return file.read_text().split() if file.exists() else []


def begun(world: Any, work: Path, *, kept: bool = True) -> str:
    """An execution whose work has been started, and kept if that is asked for."""
    if kept:
        (work / "may-keep").touch()
    execution_id = str(world.start(world.declare([remote(work)])))
    world.wait(execution_id, lambda known: known.state and action(known).kept if kept else calls(work))
    return execution_id


def action(known: KnownExecution) -> Any:
    assert known.state
    return known.state.stage("S1").action("Far")


def lose(world: Any, execution_id: str, how: signal.Signals) -> None:
    """End the process of the execution, and let reconcile resume it."""
    os.kill(world.process_of(execution_id), how)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    reconcile_once(server_time() + timedelta(seconds=30))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_work_that_was_kept_is_followed_on_by_the_next_process(
    world: Any, tmp_path: Path, how: signal.Signals
) -> None:
    execution_id = begun(world, tmp_path)
    assert action(world.wait(execution_id, lambda _: True)).external_execution_id == "job-1"
    lose(world, execution_id, how)
    (tmp_path / "done").touch()

    known = world.ended(execution_id)

    assert known.status == "Succeeded"
    assert calls(tmp_path) == ["start"]
    variables = action(known).finished.output_variables
    assert variables["Found"] == "job-1 https://example.com/job-1 {'place': 'here'}"
    started = next(fact for fact in known.facts if isinstance(fact, ActionStarted) and fact.action == "Far")
    ran = (action(known).finished.at - started.at).total_seconds()
    assert float(variables["SecondsLeft"]) == pytest.approx(86_400 - ran, abs=0.3)


@pytest.mark.long
def test_work_that_was_not_kept_is_not_started_again(world: Any, tmp_path: Path) -> None:
    execution_id = begun(world, tmp_path, kept=False)
    lose(world, execution_id, signal.SIGKILL)

    known = world.ended(execution_id)

    assert known.status == "Failed"
    assert action(known).finished.error_details.code == "InternalError"
    assert "the worker died while it ran" in known.state.summary
    assert calls(tmp_path) == ["start"]


def test_an_abandon_stops_the_work_although_its_process_died(world: Any, tmp_path: Path) -> None:
    execution_id = begun(world, tmp_path)
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    stop_pipeline_execution(world.name, execution_id, abandon=True, reason="wrong one", by="tester")
    reconcile_once(server_time() + timedelta(seconds=30))

    known = world.ended(execution_id)

    assert known.status == "Stopped"
    assert action(known).status == "Abandoned"
    assert calls(tmp_path) == ["start", "stop"]


def test_a_stop_waits_for_the_work_although_its_process_died(world: Any, tmp_path: Path) -> None:
    execution_id = begun(world, tmp_path)
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    stop_pipeline_execution(world.name, execution_id, abandon=False, reason="enough", by="tester")
    reconcile_once(server_time() + timedelta(seconds=30))
    (tmp_path / "done").touch()

    known = world.ended(execution_id)

    assert known.status == "Stopped"
    assert action(known).status == "Succeeded"
    assert calls(tmp_path) == ["start"]


def test_a_worker_that_is_shut_down_during_a_stop_leaves_the_work_to_the_next(
    world: Any, tmp_path: Path
) -> None:
    execution_id = begun(world, tmp_path)
    stop_pipeline_execution(world.name, execution_id, abandon=False, reason="enough", by="tester")
    lose(world, execution_id, signal.SIGTERM)
    (tmp_path / "done").touch()

    known = world.ended(execution_id)

    assert known.status == "Stopped"
    assert action(known).status == "Succeeded"
    assert calls(tmp_path) == ["start"]
