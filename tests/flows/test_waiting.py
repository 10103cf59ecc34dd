"""An action that waits: by time, by a fact, beside other work, without a process, through kills and stops."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.states import Cancelling
from waiting import until

from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.flows import reconcile
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.record.facts import NotificationSent, ProcessStarted
from prefect_codepipeline.model.record.waiting_facts import ActionWaits
from prefect_codepipeline.prefect_api.client import call, client
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live
FACT = NotificationSent(at=utc_now(), subject="job", channel="job", message_id="1")


def waits(work: Path, provider: str = "Waits", **configuration: str) -> dict[str, Any]:
    """An action that waits for the file `done` in that folder."""
    kind = {"category": "Test", "owner": "Custom", "provider": provider, "version": "1"}
    values = {"Work": str(work), **configuration}
    return {"name": "Wait", "actionTypeId": kind, "configuration": values}


def action(known: KnownExecution, name: str = "Wait") -> Any:
    assert known.state
    return known.state.stage("S1").action(name)


def calls(work: Path) -> list[str]:
    file = work / "calls"
    return file.read_text().splitlines() if file.exists() else []


def processes(known: KnownExecution) -> int:
    return sum(isinstance(fact, ProcessStarted) for fact in known.facts)


def suspended(world: Any, execution_id: str) -> KnownExecution:
    """The execution once it waits without a process."""
    known: KnownExecution = world.wait(execution_id, lambda known: known.is_suspended and known.state)
    assert f"process-{processes(known)}-ended" in {fact.key for fact in known.facts} or until(
        lambda: any(f.key == f"process-{processes(known)}-ended" for f in read_execution(execution_id).facts),
        10,
    )
    return known


def reconcile_until(condition: Callable[[], Any]) -> None:
    """Reconcile as the loop of a set-up does, until the condition holds."""
    until(lambda: reconcile_once() is not None and condition(), 60)


def test_a_short_wait_is_spent_in_the_process(world: Any, tmp_path: Path) -> None:
    execution_id = world.start(world.declare([waits(tmp_path, Seconds="0")]))
    world.wait(execution_id, lambda _: len(calls(tmp_path)) > 2)
    (tmp_path / "done").touch()

    known = world.ended(execution_id)

    assert known.status == "Succeeded"
    assert processes(known) == 1
    times = [fact.at for fact in known.facts if isinstance(fact, ActionWaits)]
    assert all(after - before >= timedelta(seconds=1) for before, after in pairwise(times))


@pytest.mark.long
def test_a_long_wait_needs_no_process_and_is_one_task_run(world: Any, tmp_path: Path) -> None:
    execution_id = world.start(world.declare([waits(tmp_path, Seconds="7")], [world.action("Next")]))
    known = suspended(world, execution_id)
    (run,) = task_runs(known)
    assert (run["state_type"], run["state_name"]) == ("PAUSED", "Waiting")
    shown = (
        r"for the file; since (\S+ \S+) UTC, until (\S+ \S+) UTC at the latest, looked at again at \S+ UTC"
    )
    said = re.fullmatch(shown, run["state"]["message"])
    assert said, run["state"]["message"]
    since, deadline = (datetime.fromisoformat(each) for each in said.groups())
    assert timedelta(hours=23) < deadline - since < timedelta(days=8)
    assert "action 'Wait' waits: for the file" in known.run["state"]["message"]
    assert action(known).summary == "for the file"
    assert "S2/Next" not in world.ran()
    (tmp_path / "done").touch()

    reconcile_until(lambda: not read_execution(execution_id).is_suspended)
    known = world.ended(execution_id)

    assert known.status == "Succeeded"
    assert processes(known) == 2
    assert len(calls(tmp_path)) == 2
    assert world.ran()[1:] == ["S2/Next"]
    (run,) = task_runs(known)
    assert run["state_type"] == "COMPLETED"
    until(lambda: subflow_states(known) == {"S1": "COMPLETED", "S2": "COMPLETED", "Source": "COMPLETED"}, 20)


def test_a_fact_ends_a_wait(world: Any, tmp_path: Path) -> None:
    execution_id = world.start(world.declare([waits(tmp_path, Fact=FACT.key)]))
    suspended(world, execution_id)
    assert not [said for said in reconcile_once() if execution_id in said]
    (tmp_path / "done").touch()
    RecordOf(execution_id).write(FACT)

    reconcile_once(server_time() + timedelta(minutes=2))
    known = world.ended(execution_id)

    assert known.status == "Succeeded"
    assert len(calls(tmp_path)) == 2


@pytest.mark.long
def test_while_others_work_a_wait_is_looked_at_in_the_process(world: Any, tmp_path: Path) -> None:
    go = world.folder / "go"
    group = [waits(tmp_path, Seconds="0"), world.action("Busy", Until=go)]
    execution_id = world.start(world.declare(group))
    world.wait(execution_id, lambda _: len(calls(tmp_path)) > 2 and "S1/Busy" in world.ran())
    (tmp_path / "done").touch()
    world.wait(execution_id, lambda known: action(known).status == "Succeeded")
    go.touch()

    known = world.ended(execution_id)

    assert known.status == "Succeeded"
    assert processes(known) == 1
    assert world.ran() == ["Source/Src", "S1/Busy"]


@pytest.mark.long
def test_an_approval_beside_a_wait_ends_before_it(world: Any, tmp_path: Path) -> None:
    group = [waits(tmp_path, Fact=FACT.key), world.action("Ok", 1, "Approval"), world.action("Next", 2)]
    execution_id = world.start(world.declare(group))
    known = world.suspended(execution_id)
    assert known.run["state"]["message"] == (
        "action 'Wait' waits: for the file; waiting for approval of action 'Ok' of stage 'S1'"
    )
    assert world.cli("approve", world.name, "S1", "Ok").returncode == 0
    known = world.wait(execution_id, lambda known: known.is_suspended and not known.state.open_approvals)
    assert (action(known, "Ok").status, action(known).status) == ("Succeeded", "InProgress")
    assert subflow_states(known)["S1"] == "PAUSED"
    (tmp_path / "done").touch()
    RecordOf(execution_id).write(FACT)
    reconcile_once(server_time() + timedelta(minutes=2))

    known = world.ended(execution_id)

    assert known.status == "Succeeded"
    assert world.ran() == ["Source/Src", "S1/Next"]
    assert len(calls(tmp_path)) == 2


@pytest.mark.long
def test_an_approval_that_was_rejected_leaves_the_wait_beside_it_to_its_end(
    world: Any, tmp_path: Path
) -> None:
    group = [waits(tmp_path, Fact=FACT.key), world.action("Ok", 1, "Approval"), world.action("Next", 2)]
    execution_id = world.start(world.declare(group))
    world.suspended(execution_id)
    world.cli("reject", world.name, "S1", "Ok")
    world.wait(execution_id, lambda known: known.is_suspended and action(known, "Ok").finished)
    assert not [said for said in reconcile_once() if execution_id in said]
    (tmp_path / "done").touch()
    RecordOf(execution_id).write(FACT)
    reconcile_once(server_time() + timedelta(minutes=2))

    known = world.ended(execution_id)

    assert known.status == "Failed"
    assert action(known).status == "Succeeded"
    assert world.ran() == ["Source/Src"]
    until(lambda: subflow_states(known)["S1"] == "FAILED", 20)


def test_a_look_that_was_killed_is_repeated(world: Any, tmp_path: Path) -> None:
    (tmp_path / "stuck").touch()
    execution_id = world.start(world.declare([waits(tmp_path, Seconds="0")]))
    world.wait(execution_id, lambda _: len(calls(tmp_path)) == 2)
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    (tmp_path / "stuck").unlink()
    (tmp_path / "done").touch()
    reconcile_once(server_time() + timedelta(seconds=30))

    known = world.ended(execution_id)

    assert known.status == "Succeeded"
    assert len(calls(tmp_path)) == 3


def test_an_abandon_ends_the_work_of_an_action_that_waits_without_a_process(
    world: Any, tmp_path: Path
) -> None:
    execution_id = world.start(world.declare([waits(tmp_path, Seconds="3600")]))
    suspended(world, execution_id)
    stop_pipeline_execution(world.name, execution_id, abandon=True, reason="wrong one", by="tester")

    known = world.ended(execution_id)

    assert known.status == "Stopped"
    assert action(known).status == "Abandoned"
    assert [line.split()[0] for line in calls(tmp_path)] == ["look", "stop"]
    assert calls(tmp_path)[1] == "stop job-1"


def test_a_stop_lets_the_action_wait_on_without_a_process(world: Any, tmp_path: Path) -> None:
    execution_id = world.start(world.declare([waits(tmp_path, Fact=FACT.key), world.action("Next", 2)]))
    suspended(world, execution_id)
    stop_pipeline_execution(world.name, execution_id, abandon=False, reason="enough", by="tester")
    known = world.wait(execution_id, lambda known: known.is_suspended and processes(known) == 2)
    assert not [said for said in reconcile_once(server_time() + timedelta(minutes=2)) if execution_id in said]
    (tmp_path / "done").touch()
    RecordOf(execution_id).write(FACT)
    reconcile_once(server_time() + timedelta(minutes=5))

    known = world.ended(execution_id)

    assert known.status == "Stopped"
    assert action(known).status == "Succeeded"
    assert world.ran() == ["Source/Src"]


def test_prefects_cancel_button_leaves_nothing_that_waits(world: Any, tmp_path: Path) -> None:
    execution_id = world.start(world.declare([waits(tmp_path, Seconds="3600")]))
    suspended(world, execution_id)
    client().set_flow_run_state(UUID(execution_id), Cancelling())
    reconcile_until(lambda: world.is_named(execution_id, "Stopped"))

    known = world.ended(execution_id)

    assert action(known).status == "Abandoned"
    assert [line.split()[0] for line in calls(tmp_path)] == ["look", "stop"]
    until(lambda: subflow_states(known)["S1"] == "CANCELLED", 20)
    until(lambda: [run["state_name"] for run in task_runs(known)] == ["Abandoned"], 20)


def test_a_clock_that_is_ahead_does_not_resume_an_execution_in_each_round(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution_id = world.start(world.declare([waits(tmp_path, Seconds="3600")]))
    suspended(world, execution_id)
    monkeypatch.setattr(reconcile, "utc_now", lambda: utc_now() + timedelta(hours=2))
    memory: reconcile.Memory = {}
    assert [said for said in reconcile_once(memory=memory) if execution_id in said]
    world.wait(execution_id, lambda known: known.is_suspended and processes(known) == 2)

    assert not [said for said in reconcile_once(memory=memory) if execution_id in said]
    later = server_time() + timedelta(minutes=2)
    assert [said for said in reconcile_once(later, memory) if execution_id in said]

    assert len(calls(tmp_path)) == 1
    stop_pipeline_execution(world.name, execution_id, abandon=True, reason="enough", by="tester")
    world.ended(execution_id)


def test_the_time_limit_ends_a_wait_and_its_work(world: Any, tmp_path: Path) -> None:
    execution_id = world.start(world.declare([waits(tmp_path, "WaitsBriefly", Seconds="31536000")]))

    known = world.ended(execution_id)

    assert known.status == "Failed"
    assert action(known).finished.error_details.code == "Timeout"
    assert calls(tmp_path)[-1] == "stop job-1"


def test_a_wait_for_nothing_fails(world: Any, tmp_path: Path) -> None:
    known = world.ended(world.start(world.declare([waits(tmp_path)])))

    assert known.status == "Failed"
    assert "waits, but for no time and for no fact" in known.state.summary


def task_runs(known: KnownExecution) -> list[dict[str, Any]]:
    """The task runs of the action that waits."""
    (subflow,) = [run for run in subflows(known) if run["name"] == "S1"]
    wanted = {"flow_run_id": {"any_": [subflow["id"]]}}
    runs: list[dict[str, Any]] = call("POST", "/task_runs/filter", {"task_runs": wanted})[1]
    return runs


def subflow_states(known: KnownExecution) -> dict[str, str]:
    return {run["name"]: run["state_type"] for run in subflows(known)}


def subflows(known: KnownExecution) -> list[dict[str, Any]]:
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [known.id]}}}
    runs: list[dict[str, Any]] = call("POST", "/flow_runs/filter", wanted)[1]
    return runs
