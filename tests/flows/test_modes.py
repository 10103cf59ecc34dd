"""SUPERSEDED, QUEUED and PARALLEL on a real server: who waits, who enters, who gives up."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect.states import Running

from prefect_codepipeline.deployments.create import deploy_pipeline, find_deployment, start_pipeline_execution
from prefect_codepipeline.engine.approvals.decision import open_approval, put_approval_result
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.engine.operations.retrying import retry_stage_execution
from prefect_codepipeline.engine.operations.transitions import (
    disable_stage_transition,
    enable_stage_transition,
)
from prefect_codepipeline.errors import ConcurrentPipelineExecutionsLimitExceededException
from prefect_codepipeline.model.definition.execution_modes import (
    MAX_EXECUTIONS_IN_FLIGHT,
    MAX_PARALLEL_ACTIONS,
)
from prefect_codepipeline.prefect_api.client import client

pytestmark = pytest.mark.live


def started_behind(world: Any, first: str, count: int) -> list[str]:
    """Executions that wait for the stage S1, one after another, while `first` is in it."""
    world.wait(first, lambda _: "S1/Work" in world.ran(first))
    behind = []
    for _ in range(count):
        behind.append(start_pipeline_execution(world.name, {}, {}, "tester"))
        world.wait(
            behind[-1], lambda _: behind[-1] in [t.execution for t in read_gates(world.name).tickets("S1")]
        )
    return behind


def test_queued_executions_enter_a_stage_one_after_another_in_the_order_of_their_arrival(
    world: Any, gone: Any
) -> None:
    go = world.folder / "go"
    first = world.start(world.declare([world.action("Work", Until=go)], executionMode="QUEUED"))
    behind = started_behind(world, first, 2)
    gates = read_gates(world.name)
    assert gates.holder("S1") == first
    assert [ticket.execution for ticket in gates.tickets("S1")] == behind
    for execution_id in behind:
        known = world.wait(execution_id, lambda known: known.is_suspended)
        world.wait(execution_id, lambda _, each=execution_id: gone(world.process_of(each)))
        assert known.run["state"]["message"] == f"waiting to enter stage 'S1' behind execution {first}"
    go.touch()

    ended = [world.ended(execution_id) for execution_id in (first, *behind)]

    assert [known.status for known in ended] == ["Succeeded"] * 3
    entered = [known.state.stage("S1").entered.at for known in ended]
    left = [known.state.stage("S1").finished.at for known in ended]
    assert left[0] <= entered[1] < left[1] <= entered[2]
    after = read_gates(world.name)
    assert after.holder("S1") is None
    assert after.tickets("S1") == []
    assert after.latest("S1") is None, "nobody failed there"


def test_a_newer_execution_supersedes_the_one_that_waits_but_not_the_one_inside(world: Any) -> None:
    go = world.folder / "go"
    first = world.start(world.declare([world.action("Work", Until=go)]))
    world.wait(first, lambda _: "S1/Work" in world.ran(first))
    second = start_pipeline_execution(world.name, {}, {}, "tester")
    world.wait(second, lambda _: [t.execution for t in read_gates(world.name).tickets("S1")] == [second])
    third = start_pipeline_execution(world.name, {}, {}, "tester")

    superseded = world.ended(second)
    go.touch()

    assert superseded.status == superseded.run["state_name"] == "Superseded"
    assert superseded.state.summary == f"superseded by execution {third} in front of stage 'S1'"
    assert [world.ended(each).status for each in (first, third)] == ["Succeeded", "Succeeded"]
    assert "S1/Work" not in world.ran(second)

    world.retry(second)
    world.wait(second, lambda known: known.state.processes == 2)
    assert world.ended(second).status == "Superseded", "a superseded execution can never be resumed"


def test_parallel_executions_do_not_wait_for_one_another(world: Any) -> None:
    go = world.folder / "go"
    declaration = world.declare([world.action("Work", Until=go)], executionMode="PARALLEL")
    ids = [
        world.start(declaration),
        *(start_pipeline_execution(world.name, {}, {}, "tester") for _ in range(2)),
    ]
    for execution_id in ids:
        world.wait(execution_id, lambda _, each=execution_id: "S1/Work" in world.ran(each))
    go.touch()

    assert [world.ended(each).status for each in ids] == ["Succeeded"] * 3
    assert read_gates(world.name).variables == []


def test_an_update_cancels_what_runs_after_its_action_in_progress(world: Any) -> None:
    go = world.folder / "go"
    stage = [world.action("Work", Until=go), world.action("Later", 2)]
    first = world.start(world.declare(stage))
    world.wait(first, lambda _: "S1/Work" in world.ran())

    deployed = deploy_pipeline(world.declare(stage, [world.action("New")]), deployed_by="ana")
    go.touch()
    known = world.ended(first)

    assert deployed.cancelled == [first]
    assert known.status == known.run["state_name"] == "Cancelled"
    assert known.state.summary == "ana: the pipeline was updated to version 2"
    assert known.state.stage("S1").action("Work").status == "Succeeded"
    assert "S1/Later" not in world.ran()


@pytest.mark.long
def test_the_fifty_first_execution_in_flight_is_refused(world: Any) -> None:
    over = world.start(
        world.declare([world.action("Work", FailUnless=world.folder / "no")], executionMode="QUEUED")
    )
    world.ended(over)
    deployment_id = UUID(find_deployment(world.name)["id"])
    crowd = [
        client().create_flow_run_from_deployment(deployment_id, parameters={}, state=Running()).id
        for _ in range(MAX_EXECUTIONS_IN_FLIGHT)
    ]
    refusal = f"pipeline {world.name!r} is QUEUED and has 50 executions in flight"

    with pytest.raises(ConcurrentPipelineExecutionsLimitExceededException, match=refusal):
        start_pipeline_execution(world.name, {}, {}, "tester")
    with pytest.raises(ConcurrentPipelineExecutionsLimitExceededException, match=refusal):
        retry_stage_execution(world.name, "S1", over, "FAILED_ACTIONS", "tester")
    # As a schedule or `prefect deployment run` starts it, which ask nobody.
    run = client().create_flow_run_from_deployment(deployment_id, parameters={})
    known = world.ended(str(run.id))

    for each in crowd:  # a later test's reconcile would take them on, fifty of them
        client().delete_flow_run(each)
    assert (known.status, known.facts) == ("Failed", [])
    assert known.run["state"]["message"].startswith(refusal)
    assert world.ran(known.id) == []


@pytest.mark.parametrize("outbound", [False, True])
def test_a_disabled_transition_holds_executions_until_it_is_enabled(world: Any, outbound: bool) -> None:
    stage, flags = ("S1", ["--outbound"]) if outbound else ("S2", [])
    deploy_pipeline(world.declare([world.action("One")], [world.action("Two")]))
    closed = world.cli("transition", "disable", world.name, stage, *flags, "-m", "freeze (until Monday)")
    assert closed.returncode == 0, closed.stderr
    first = start_pipeline_execution(world.name, {}, {}, "tester")
    world.wait(first, lambda _: read_gates(world.name).tickets("S2"))
    shown = world.cli("status", world.name).stdout
    kind = "outbound" if outbound else "inbound"
    assert f"{kind} transition disabled by " in shown
    assert "freeze (until Monday)" in shown
    assert f"execution {first[:8]} waits for the transition" in shown
    (waits,) = [each for each in world.json("status", world.name)["stageStates"] if each["inboundExecutions"]]
    assert (waits["stageName"], waits["latestExecution"]) == ("S2", None)
    assert waits["inboundExecutions"] == [{"pipelineExecutionId": first}]
    second = start_pipeline_execution(world.name, {}, {}, "tester")
    assert world.ended(first).status == "Superseded", "the newest survives at a disabled transition, too"

    world.cli("transition", "enable", world.name, stage, *flags)

    assert world.ended(second).status == "Succeeded"
    assert world.ran(first) == ["Source/Src", "S1/One"]
    refused = world.cli("transition", "disable", world.name, stage, "-m", "what's this")
    assert (refused.returncode, "1 to 300 letters" in refused.stderr) == (1, True)


@pytest.mark.long
def test_queued_executions_at_a_disabled_transition_all_go_on_in_their_order(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work")], executionMode="QUEUED"))
    disable_stage_transition(world.name, "S1", "Inbound", "freeze", "ana")
    ids = []
    for number in range(2):
        ids.append(start_pipeline_execution(world.name, {}, {}, "tester"))
        world.wait(ids[-1], lambda _, n=number: len(read_gates(world.name).tickets("S1")) == n + 1)
    waits = read_execution(ids[1])
    assert (waits.status, waits.state.stage("S1").status) == ("InProgress", None)

    enable_stage_transition(world.name, "S1", "Inbound", "ana")
    ended = [world.ended(each) for each in ids]

    assert [known.status for known in ended] == ["Succeeded"] * 2, "nobody is superseded"
    assert ended[0].state.stage("S1").finished.at <= ended[1].state.stage("S1").entered.at


@pytest.mark.long
def test_a_change_of_the_mode_ends_all_but_executions_that_began_as_parallel(world: Any) -> None:
    stage = [world.action("Ok", 1, "Approval")]
    parallel = world.start(world.declare(stage, executionMode="PARALLEL"))
    world.suspended(parallel)
    to_queued = deploy_pipeline(world.declare(stage, executionMode="QUEUED"), deployed_by="ana")
    active = start_pipeline_execution(world.name, {}, {}, "tester")
    world.suspended(active)
    pending = start_pipeline_execution(world.name, {}, {}, "tester")
    world.wait(pending, lambda _: read_gates(world.name).tickets("S1"))

    to_parallel = deploy_pipeline(world.declare(stage, executionMode="PARALLEL"), deployed_by="ana")

    assert (to_queued.cancelled, sorted(to_parallel.cancelled)) == ([], sorted([active, pending]))
    assert [world.ended(each).status for each in (active, pending)] == ["Cancelled"] * 2
    put_approval_result(parallel, open_approval(read_execution(parallel).state).token, "Approved", "ana")
    assert world.ended(parallel).status == "Succeeded"


def test_a_parallel_execution_runs_five_actions_at_once_and_goes_on_after_an_update(world: Any) -> None:
    go = world.folder / "go"
    stage = [world.action(f"A{number}", Until=go) for number in range(7)]
    execution_id = world.start(world.declare(stage, executionMode="PARALLEL"))
    world.wait(execution_id, lambda _: len(world.ran(execution_id)) == 1 + MAX_PARALLEL_ACTIONS)

    deployed = deploy_pipeline(world.declare(stage, [world.action("New")], executionMode="PARALLEL"))
    go.touch()
    known = world.ended(execution_id)

    assert deployed.cancelled == []
    assert (known.status, known.state.pinned.pipeline_version) == ("Succeeded", 1)
    actions = known.state.stage("S1").actions
    for action in actions:
        begun = [each for each in actions if each.started.at <= action.started.at < each.finished.at]
        assert len(begun) <= MAX_PARALLEL_ACTIONS
