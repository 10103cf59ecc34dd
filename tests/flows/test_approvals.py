"""Approvals: nothing passes but a decision that was written down, whichever way it came."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.states import Scheduled

from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.engine.approvals.decision import open_approval, put_approval_result
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.task_runs import tracking_run
from prefect_codepipeline.engine.operations.retrying import retry_stage_execution
from prefect_codepipeline.errors import ApprovalAlreadyCompletedException, NotLatestPipelineExecutionException
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.client import call, client
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live


@pytest.fixture
def waiting(world: Any) -> Any:
    """An execution that waits for an approval between two actions."""
    stage = [
        world.action("Before"),
        world.action(
            "Ok",
            2,
            "Approval",
            CustomData="Ship #{SourceVariables.CommitId}?",
            ExternalEntityLink="https://example.com",
        ),
        world.action("After", 3),
    ]
    return world.suspended(world.start(world.declare(stage)))


def resume(execution_id: str, run_input: Any = None) -> Any:
    body = {"run_input": run_input} if run_input else {}
    return call("POST", f"/flow_runs/{execution_id}/resume", body, expected=(409,))[1]


def form_of(known: Any) -> tuple[dict[str, Any], str]:
    keys = known.run["state"]["state_details"]["run_input_keyset"]
    _, schema = call("GET", f"/flow_runs/{known.id}/input/{keys['schema']}")
    _, description = call("GET", f"/flow_runs/{known.id}/input/{keys['description']}")
    return json.loads(schema), json.loads(description)


def lose_form(known: Any) -> None:
    keys = known.run["state"]["state_details"]["run_input_keyset"]
    for key in (keys["schema"], keys["description"]):
        call("DELETE", f"/flow_runs/{known.id}/input/{key}")


def test_no_process_is_held_while_an_approval_waits(world: Any, waiting: Any, gone: Any) -> None:
    pid = world.process_of(waiting.id)

    world.wait(waiting.id, lambda _: gone(pid))

    assert world.ran() == ["Source/Src", "S1/Before"]


def test_the_form_shows_what_is_approved_and_has_no_default(waiting: Any) -> None:
    schema, description = form_of(waiting)

    assert schema["required"] == ["decision"]
    assert "default" not in schema["properties"]["decision"]
    assert "Ship 0000000" in description
    assert "https://example.com" in description
    assert "the &lt;b&gt;first&lt;/b&gt; commit" in description


def test_approved_by_the_form_goes_on_where_it_stood(world: Any, waiting: Any) -> None:
    assert resume(waiting.id, {"decision": "Approved", "comment": "fine"})["status"] == "ACCEPT"

    known = world.ended(waiting.id)

    assert known.run["state_name"] == "Succeeded"
    assert world.ran() == ["Source/Src", "S1/Before", "S1/After"]
    assert "fine" in known.state.stage("S1").action("Ok").summary


def test_rejected_by_the_form_fails_the_execution_and_says_why(world: Any, waiting: Any) -> None:
    resume(waiting.id, {"decision": "Rejected", "comment": "not on a Friday"})

    known = world.ended(waiting.id)

    assert (known.run["state_type"], known.run["state_name"]) == ("FAILED", "Failed")
    assert (
        "action 'Ok' of stage 'S1' failed: rejected by Prefect UI or API: not on a Friday"
        in known.run["state"]["message"]
    )
    assert world.ran() == ["Source/Src", "S1/Before"]
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [known.id]}, "name": {"any_": ["S1"]}}}
    (stage,) = call("POST", "/flow_runs/filter", wanted)[1]
    assert stage["state_type"] == "FAILED", "it waited for the approval too"


@pytest.mark.parametrize("run_input", [None, {}, {"comment": "x"}, {"decision": "Perhaps"}])
def test_a_resume_without_a_decision_approves_nothing(world: Any, waiting: Any, run_input: Any) -> None:
    assert resume(waiting.id, run_input)["status"] == "REJECT"
    assert world.suspended(waiting.id)


def test_a_run_woken_by_its_state_alone_suspends_again(world: Any, waiting: Any) -> None:
    client().set_flow_run_state(UUID(waiting.id), Scheduled(name="Resuming"), force=True)
    world.wait(waiting.id, lambda known: known.state.processes == 2)

    again = world.suspended(waiting.id)

    assert world.ran() == ["Source/Src", "S1/Before"]
    assert again.state.open_approvals[0][1].request.token == waiting.state.open_approvals[0][1].request.token


@pytest.mark.parametrize(("verb", "status"), [("approve", "Succeeded"), ("reject", "Failed")])
def test_decided_at_the_command_line(world: Any, waiting: Any, verb: str, status: str) -> None:
    done = world.cli(verb, world.name, "S1", "Ok", "-m", "from the terminal")

    assert (done.returncode, done.stderr) == (0, "")
    known = world.ended(waiting.id)
    assert known.status == status
    assert "from the terminal" in known.state.stage("S1").action("Ok").summary


def test_the_first_decision_counts_and_the_second_learns_so(world: Any, waiting: Any) -> None:
    token = open_approval(waiting.state).token
    put_approval_result(waiting.id, token, "Rejected", "first")

    with pytest.raises(ApprovalAlreadyCompletedException, match="first has decided already: Rejected"):
        put_approval_result(waiting.id, token, "Approved", "second")

    assert world.ended(waiting.id).status == "Failed"


def test_an_approval_nobody_answers_expires(world: Any, waiting: Any) -> None:
    later = server_time() + timedelta(days=7, minutes=1)

    repaired = reconcile_once(later)

    assert any(waiting.id in sentence and "expired" in sentence for sentence in repaired)
    known = world.ended(waiting.id)
    assert known.status == "Failed"
    assert "no decision was made in time" in known.state.summary


def test_before_its_time_nothing_expires(waiting: Any) -> None:
    reconcile_once(server_time() + timedelta(days=6))

    assert waiting.state.open_approvals


def test_a_decision_whose_wake_was_lost_is_found_by_reconcile(world: Any, waiting: Any) -> None:
    from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
    from prefect_codepipeline.model.record.facts import ApprovalDecided

    token = open_approval(waiting.state).token
    RecordOf(waiting.id).write(ApprovalDecided(at=utc_now(), token=token, status="Approved", by="somebody"))

    reconcile_once()

    assert world.ended(waiting.id).status == "Succeeded"


def test_a_form_that_the_process_died_before_writing_is_written_by_reconcile(waiting: Any) -> None:
    form = form_of(waiting)
    lose_form(waiting)
    assert resume(waiting.id, {"decision": "Approved"})["status"] == "REJECT"

    reconcile_once()

    assert form_of(waiting) == form
    assert resume(waiting.id, {"decision": "Approved"})["status"] == "ACCEPT"


def test_a_decision_that_found_no_form_wakes_the_execution_all_the_same(world: Any, waiting: Any) -> None:
    lose_form(waiting)
    put_approval_result(waiting.id, open_approval(waiting.state).token, "Approved", "somebody")

    reconcile_once()

    assert world.ended(waiting.id).status == "Succeeded"


def test_two_approvals_at_once_are_both_needed(world: Any) -> None:
    stage = [world.action("One", 1, "Approval"), world.action("Two", 1, "Approval"), world.action("After", 2)]
    known = world.suspended(world.start(world.declare(stage)))
    requests = {action.name: action.request for _, action in known.state.open_approvals}

    put_approval_result(known.id, requests["Two"].token, "Approved", "me")
    world.wait(known.id, lambda k: k.is_suspended and len(k.state.open_approvals) == 1)
    assert world.ran() == ["Source/Src"]
    put_approval_result(known.id, requests["One"].token, "Approved", "me")

    assert world.ended(known.id).status == "Succeeded"


def test_an_approval_beside_an_action_at_work_ends_as_soon_as_it_is_decided(world: Any) -> None:
    go = world.folder / "go"
    stage = [world.action("Work", 1, Until=go), world.action("Ok", 1, "Approval"), world.action("After", 2)]
    execution_id = world.start(world.declare(stage))
    known = world.wait(
        execution_id, lambda k: k.state and k.state.open_approvals and "S1/Work" in world.ran()
    )

    put_approval_result(known.id, open_approval(known.state).token, "Approved", "me")
    known = world.wait(execution_id, lambda k: k.state.stage("S1").action("Ok").finished)
    assert known.state.stage("S1").action("Work").status == "InProgress"
    assert known.state.processes == 1
    assert not known.state.stage("S1").action("After").started
    go.touch()

    known = world.ended(execution_id)
    assert known.status == "Succeeded"
    assert known.state.processes == 1
    assert world.ran() == ["Source/Src", "S1/Work", "S1/After"]


def test_an_execution_that_waited_under_an_earlier_version_continues(world: Any, waiting: Any) -> None:
    # Earlier versions had a subflow for the actions before the approval, and another one for those after it.
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [waiting.id]}, "name": {"any_": ["S1"]}}}
    (own,) = call("POST", "/flow_runs/filter", wanted)[1]
    call("DELETE", f"/flow_runs/{own['id']}")
    call("DELETE", f"/task_runs/{own['parent_task_run_id']}")
    key = f"{slug('S1')}-1-1"
    tracking = call("POST", "/task_runs/", tracking_run(waiting.id, key, "S1"))[1]
    earlier = {
        "flow_id": own["flow_id"],
        "name": "S1",
        "parameters": {"stage_name": "S1", "attempt": 1, "segment": 1},
        "parent_task_run_id": tracking["id"],
        "idempotency_key": f"{waiting.id}-{key}",
        "state": {"type": "COMPLETED", "name": "Succeeded"},
    }
    call("POST", "/flow_runs/", earlier)

    resume(waiting.id, {"decision": "Approved"})
    known = world.ended(waiting.id)

    assert known.status == "Succeeded"
    assert world.ran() == ["Source/Src", "S1/Before", "S1/After"]
    states = [run["state_type"] for run in call("POST", "/flow_runs/filter", wanted)[1]]
    assert states == ["COMPLETED", "COMPLETED"]


@pytest.mark.long
def test_an_approval_keeps_its_stage_and_a_retry_asks_again(world: Any) -> None:
    approval = {**world.action("Ok", 1, "Approval"), "timeoutInMinutes": 30}
    first = world.start(world.declare([approval], executionMode="QUEUED"))
    asked = open_approval(world.suspended(first).state)
    second = start_pipeline_execution(world.name, {}, {}, "tester")
    world.wait(second, lambda _: read_gates(world.name).tickets("S1"))
    assert read_gates(world.name).holder("S1") == first, "nobody enters while it waits"
    requested = world.suspended(first).state.stage("S1").action("Ok").started.at
    assert 0 <= (asked.expires_at - requested).total_seconds() - 30 * 60 < 10

    put_approval_result(first, asked.token, "Rejected", "ana")
    assert world.ended(first).status == "Failed"
    rejected = open_approval(world.suspended(second).state)
    with pytest.raises(NotLatestPipelineExecutionException, match=second):
        retry_stage_execution(world.name, "S1", first, "FAILED_ACTIONS", "ana")
    put_approval_result(second, rejected.token, "Rejected", "ana")
    world.ended(second)
    retry_stage_execution(world.name, "S1", second, "FAILED_ACTIONS", "ana")
    again = open_approval(world.suspended(second).state)

    assert len({asked.token, rejected.token, again.token}) == 3
    with pytest.raises(ApprovalAlreadyCompletedException):
        put_approval_result(second, rejected.token, "Approved", "ana")
    put_approval_result(second, again.token, "Approved", "ana")
    assert world.ended(second).status == "Succeeded"
