"""Facts that cannot be written, or that come from a process that was replaced: nothing is taken for done that was not."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest

from prefect_codepipeline.deployments.local.foreground import create_run, run_here
from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.engine.executions.process import Execution, OutcomeUnknown
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.flows import lifecycle
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    StageEntered,
    StopRequested,
)
from prefect_codepipeline.prefect_api import client as client_module
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.flow_runs import set_state, was_accepted

pytestmark = pytest.mark.live
GONE = PrefectUnavailable("POST /flow_runs/x/input: Prefect's API responded with 504")


def runs(declaration: Any, *, crashes: bool = False) -> KnownExecution:
    """Run the pipeline in this process."""
    run = create_run(declaration, {}, {}, "me")
    if crashes:
        with pytest.raises(OutcomeUnknown):
            run_here(run)
    else:
        run_here(run)
    return read_execution(str(run.id))


def test_an_action_whose_end_cannot_be_written_is_not_taken_for_succeeded(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Execution.write

    def loses_ends(self: Execution, fact: Any) -> Any:
        if isinstance(fact, ActionFinished) and fact.status == "Failed":
            raise GONE
        return write(self, fact)

    monkeypatch.setattr(Execution, "write", loses_ends)

    known = runs(
        world.declare([world.action("A", FailUnless=world.folder / "no")], [world.action("B")]), crashes=True
    )

    assert world.ran() == ["Source/Src", "S1/A"]
    assert known.state.final is None
    assert known.run["state_type"] == "CRASHED", "reconcile resumes it"


def test_an_error_between_two_groups_skips_no_action(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Execution.look_for_stop

    def fails_once(self: Execution) -> Any:
        stage = self.state.stage("S1")
        is_between = stage.action("A").finished and not stage.action("B").started
        if is_between and threading.current_thread() is threading.main_thread():
            raise GONE
        return look(self)

    monkeypatch.setattr(Execution, "look_for_stop", fails_once)

    known = runs(world.declare([world.action("A"), world.action("B", 2)], [world.action("C")]), crashes=True)

    assert world.ran() == ["Source/Src", "S1/A"]
    assert known.run["state_type"] == "CRASHED"


def test_a_stop_after_a_stage_was_entered_keeps_its_actions_from_starting(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Execution.write

    def stopped_at_entry(self: Execution, fact: Any) -> Any:
        if isinstance(fact, StageEntered) and fact.stage == "S1":
            RecordOf(self.id).write(
                StopRequested(at=utc_now(), epoch=0, how="stop", reason="enough", by="ana")
            )
        return write(self, fact)

    monkeypatch.setattr(Execution, "write", stopped_at_entry)

    known = runs(world.declare([world.action("A")]))

    assert known.status == "Stopped"
    assert world.ran() == ["Source/Src"]


def test_an_action_that_the_replaced_process_started_meanwhile_ends_as_failed(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = lifecycle.claim_process

    def while_the_other_starts_an_action(record: RecordOf, *arguments: Any) -> Any:
        claimed = claim(record, *arguments)
        started = ActionStarted(
            at=utc_now(), stage="S1", action="A", attempt=1, action_execution_id=str(uuid4())
        )
        record.write(started)
        return claimed

    monkeypatch.setattr(lifecycle, "claim_process", while_the_other_starts_an_action)

    known = runs(world.declare([world.action("A")]))

    assert world.ran() == ["Source/Src"]
    assert known.status == "Failed"
    assert "another process started it" in known.state.stage("S1").action("A").summary


def test_a_state_that_is_set_twice_because_the_answer_was_lost_is_accepted(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, flow = call("POST", "/flows/", {"name": "nothing"})
    _, run = call("POST", "/flow_runs/", {"flow_id": flow["id"], "state": {"type": "RUNNING"}})
    send = client_module.request

    def sends_twice(method: str, path: str, json: Any = None) -> Any:
        send(method, path, json)
        return send(method, path, json)

    monkeypatch.setattr(client_module, "request", sends_twice)

    assert was_accepted(set_state(run["id"], "CANCELLED", "Stopped", "enough"))
