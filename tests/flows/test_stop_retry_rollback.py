"""Stop, retry and rollback as CodePipeline has them, on a real server and worker."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from prefect.states import Cancelled, Cancelling

from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.operations.retrying import retry_stage_execution
from prefect_codepipeline.engine.operations.rollback import rollback_stage
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.errors import (
    DuplicatedStopRequestException,
    NotLatestPipelineExecutionException,
    PipelineExecutionNotFoundException,
    PipelineExecutionNotStoppableException,
    PipelineExecutionOutdatedException,
    StageNotFoundException,
    StageNotRetryableException,
    UnableToRollbackStageException,
)
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.prefect_api.client import client

pytestmark = pytest.mark.live


def stop(world: Any, execution_id: str, abandon: bool = False) -> None:
    stop_pipeline_execution(world.name, execution_id, abandon=abandon, reason="not today", by="ana")


def retry(world: Any, execution_id: str, stage: str = "S1", mode: Any = "FAILED_ACTIONS") -> None:
    retry_stage_execution(world.name, stage, execution_id, mode, "ana")


def test_a_stop_waits_for_the_action_in_progress_and_a_retry_goes_on_after_it(world: Any) -> None:
    go = world.folder / "go"
    stage = [world.action("Work", Until=go), world.action("Later", 2)]
    execution_id = world.start(world.declare(stage, [world.action("Never")]))
    world.wait(execution_id, lambda _: "S1/Work" in world.ran())

    stop(world, execution_id)
    stopping = world.wait(execution_id, lambda k: k.run["state_name"] == "Stopping")
    assert (stopping.status, stopping.state.stage("S1").status) == ("Stopping", "Stopping")
    with pytest.raises(DuplicatedStopRequestException, match="being stopped already, requested by ana"):
        stop(world, execution_id)
    go.touch()
    known = world.ended(execution_id)

    assert (known.status, known.run["state_type"], known.run["state_name"]) == (
        "Stopped",
        "CANCELLED",
        "Stopped",
    )
    assert known.state.summary == "ana: not today"
    assert known.state.stage("S1").status == "Stopped"
    assert known.state.stage("S1").action("Work").status == "Succeeded"
    assert world.ran() == ["Source/Src", "S1/Work"]
    with pytest.raises(PipelineExecutionNotStoppableException, match="it is Stopped"):
        stop(world, execution_id)

    retry(world, execution_id)
    known = world.wait(execution_id, lambda k: k.run["state_type"] == "COMPLETED")
    assert known.status == "Succeeded"
    assert world.ran() == ["Source/Src", "S1/Work", "S1/Later", "S2/Never"]


def test_an_abandon_follows_a_stop_once_and_ends_the_actions(world: Any) -> None:
    execution_id = world.start(world.declare([world.action("Long", Until=world.folder / "never")]))
    world.wait(execution_id, lambda _: "S1/Long" in world.ran())

    stop(world, execution_id)
    stop(world, execution_id, abandon=True)
    with pytest.raises(DuplicatedStopRequestException):
        stop(world, execution_id, abandon=True)
    known = world.ended(execution_id)

    assert known.status == known.run["state_name"] == "Stopped"
    assert known.state.stage("S1").action("Long").status == "Abandoned"
    assert read_gates(world.name).holder("S1") is None


def test_an_execution_that_waits_for_an_approval_is_stopped(world: Any) -> None:
    known = world.suspended(world.start(world.declare([world.action("Ok", 1, "Approval")])))

    done = world.cli("stop", world.name, "-m", "not today")

    assert done.returncode == 0, done.stderr
    known = world.ended(known.id)
    assert known.status == "Stopped"
    assert known.state.stage("S1").action("Ok").status == "Abandoned"
    assert known.state.open_approvals == []


@pytest.mark.long
def test_an_execution_that_waits_at_a_gate_is_stopped_and_cannot_be_retried(world: Any) -> None:
    go = world.folder / "go"
    first = world.start(world.declare([world.action("Work", Until=go)]))
    world.wait(first, lambda _: "S1/Work" in world.ran(first))
    second = start_pipeline_execution(world.name, {}, {}, "tester")
    world.wait(second, lambda _: read_gates(world.name).tickets("S1"))

    stop(world, second)
    known = world.ended(second)

    assert known.status == "Stopped"
    assert read_gates(world.name).tickets("S1") == []
    with pytest.raises(StageNotRetryableException, match="not entered yet"):
        retry(world, second)
    go.touch()
    assert world.ended(first).status == "Succeeded"


def test_what_is_no_execution_cannot_be_stopped(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work")]))

    with pytest.raises(PipelineExecutionNotStoppableException):
        stop(world, "00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize("while_suspended", [True, False])
def test_prefects_cancel_button_leaves_what_an_abandon_leaves(world: Any, while_suspended: bool) -> None:
    action = (
        world.action("Ok", 1, "Approval")
        if while_suspended
        else world.action("Long", Until=world.folder / "no")
    )
    execution_id = world.start(world.declare([action]))
    if while_suspended:
        world.suspended(execution_id)
    else:
        world.wait(execution_id, lambda _: "S1/Long" in world.ran())

    client().set_flow_run_state(UUID(execution_id), Cancelling())
    world.ended(execution_id)
    world.wait(
        execution_id, lambda _: reconcile_once() is not None and world.is_named(execution_id, "Stopped")
    )

    known = world.ended(execution_id)
    assert known.status == "Stopped"
    assert known.state.stage("S1").status == "Stopped"
    assert known.state.stage("S1").actions[0].status == "Abandoned"
    assert known.state.summary == "Prefect UI or API: cancelled in Prefect"
    assert read_gates(world.name).of_execution(execution_id) == []


def test_a_retry_of_all_actions_begins_at_the_first_and_keeps_the_history(world: Any) -> None:
    there = world.folder / "there"
    stage = [world.action("Good"), world.action("Flaky", 2, FailUnless=there)]
    execution_id = world.start(world.declare(stage))
    world.ended(execution_id)
    there.touch()

    done = world.cli("retry", world.name, "S1", "--all-actions")
    known = world.wait(execution_id, lambda k: k.run["state_type"] == "COMPLETED")

    assert done.returncode == 0, done.stderr
    assert world.ran() == ["Source/Src", "S1/Good", "S1/Flaky", "S1/Good", "S1/Flaky"]
    ids = {fact.action_execution_id for fact in known.facts if fact.kind == "action-started"}
    assert len(ids) == 5, "each attempt has an action execution of its own"
    assert known.state.stage("S1").attempt == 2
    shown = world.json("status", world.name, "--execution", execution_id[:8])["stages"][1]
    assert [
        [(each["actionName"], each["status"]) for each in attempt["actions"]] for attempt in shown["attempts"]
    ] == [
        [("Good", "Succeeded"), ("Flaky", "Failed")],
        [("Good", "Succeeded"), ("Flaky", "Succeeded")],
    ], "the failure of the first attempt is not lost"


@pytest.mark.long
def test_what_may_not_be_retried_says_why(world: Any) -> None:
    go = world.folder / "go"
    declaration = world.declare([world.action("Bad", FailUnless=go)])
    first = world.start(declaration)
    world.ended(first)
    with pytest.raises(StageNotFoundException, match="it has: Source, S1"):
        retry(world, first, "S9")
    with pytest.raises(StageNotRetryableException, match="it is Succeeded"):
        retry(world, first, "Source")
    with pytest.raises(PipelineExecutionNotFoundException):
        retry(world, "00000000-0000-4000-8000-000000000000")
    second = start_pipeline_execution(world.name, {}, {}, "tester")
    world.ended(second)

    with pytest.raises(NotLatestPipelineExecutionException, match=second):
        retry(world, first)
    world.retry(first)
    world.wait(first, lambda k: k.state.processes == 2)
    assert world.ended(first).state.epoch == 0, "Prefect's Retry button may do no more"
    deploy_pipeline(world.declare([world.action("Bad", FailUnless=go)], [world.action("More")]))
    with pytest.raises(StageNotRetryableException, match="the pipeline has changed since"):
        retry(world, second)


def test_a_source_stage_is_retried_by_itself_too_and_without_a_mode_what_failed_is(world: Any) -> None:
    wire = world.declare([world.action("Never")]).to_wire()
    wire["stages"][0]["onFailure"] = {"result": "RETRY"}
    wire["stages"][0]["actions"][0]["configuration"]["FailUnless"] = str(world.folder / "no")

    known = world.ended(world.start(PipelineDeclaration.model_validate(wire)))

    assert world.ran() == ["Source/Src", "Source/Src"]
    assert known.state.stage("Source").retries[0].retry_mode == "FAILED_ACTIONS"
    assert known.state.stage("Source").latest_retry_trigger == "AutomatedStageRetry"


@pytest.mark.parametrize(
    ("mode", "ran"),
    [
        ("FAILED_ACTIONS", ["Source/Src", "S1/Good", "S1/Flaky", "S1/Flaky"]),
        ("ALL_ACTIONS", ["Source/Src", "S1/Good", "S1/Flaky", "S1/Good", "S1/Flaky"]),
    ],
)
def test_a_stage_that_fails_is_retried_once_by_itself(world: Any, mode: str, ran: list[str]) -> None:
    stage = [world.action("Good"), world.action("Flaky", 2, FailUnless=world.folder / "no")]
    declaration = world.declare(stage)
    wire = declaration.to_wire()
    wire["stages"][1]["onFailure"] = {"result": "RETRY", "retryConfiguration": {"retryMode": mode}}
    execution_id = world.start(type(declaration).model_validate(wire))

    known = world.ended(execution_id)

    assert known.status == "Failed"
    assert world.ran() == ran
    assert known.state.stage("S1").automatic_retries == 1
    assert known.state.stage("S1").attempt == 2
    attempts = world.json("status", world.name, "--execution", execution_id[:8])["stages"][1]["attempts"]
    assert [each["status"] for each in attempts] == ["Failed", "Failed"]


def rollbacks(world: Any) -> list[dict[str, Any]]:
    return [run for run in find_runs(world.name) if run["labels"].get("codepipeline.rollback-target")]


def test_a_rollback_runs_one_stage_with_what_its_target_had(world: Any) -> None:
    variables = [{"name": "Tag", "defaultValue": "none"}]
    stage = [world.action("Ship", FailUnless=f"{world.folder}/#{{variables.Tag}}")]
    (world.folder / "good").touch()
    declaration = world.declare(stage, [world.action("After")], variables=variables)
    good = world.start(declaration, Tag="good")
    world.ended(good)
    bad = start_pipeline_execution(world.name, {"Tag": "bad"}, {}, "tester")
    world.ended(bad)

    done = world.cli("rollback", world.name, "S1", "--to", good[:8])
    assert done.returncode == 0, done.stderr
    rolled = world.ended(rollbacks(world)[0]["id"])

    pinned = rolled.state.pinned
    assert rolled.status == "Succeeded"
    assert (pinned.execution_type, pinned.rollback_target, pinned.trigger_type) == (
        "ROLLBACK",
        good,
        "ManualRollback",
    )
    assert pinned.variables == {"Tag": "good"}
    assert world.ran(rolled.id) == ["S1/Ship"]
    assert [stage.name for stage in rolled.state.stages] == ["S1"]
    assert rolled.state.source_revisions.keys() == {"Src"}
    shows_the_rollback(world, good, bad, rolled.id)
    for target, stage_name, error in (
        (bad, "S1", UnableToRollbackStageException),
        (rolled.id, "S1", UnableToRollbackStageException),
        (good, "Source", UnableToRollbackStageException),
        (good, "S9", StageNotFoundException),
        ("00000000-0000-4000-8000-000000000000", "S1", PipelineExecutionNotFoundException),
    ):
        with pytest.raises(error):
            rollback_stage(world.name, stage_name, target, "ana")
    deploy_pipeline(world.declare(stage, variables=variables))
    with pytest.raises(PipelineExecutionOutdatedException):
        rollback_stage(world.name, "S1", good, "ana")


def shows_the_rollback(world: Any, good: str, bad: str, rolled: str) -> None:
    """`status` and `list` say from what to what S1 was rolled back, and by whom; S2 keeps its own execution."""
    sentence = (
        rf"rolled back from execution {bad[:8]} \(0{{12}} .*\) to execution {good[:8]} \(0{{12}} .*\) by \S+@"
    )
    status, listed = world.cli("status", world.name).stdout, world.cli("list").stdout
    assert re.search(sentence, status)
    assert re.search(f"{re.escape(world.name)}/S1: {sentence}", listed)
    source, s1, s2 = (each["latestExecution"] for each in world.json("status", world.name)["stageStates"])
    assert [each["pipelineExecutionId"] for each in (source, s1, s2)] == [bad, rolled, good]
    assert s1["type"] == "ROLLBACK"
    assert s1["rollbackMetadata"] == {
        "rollbackTargetPipelineExecutionId": good,
        "stageName": "S1",
        "replacedPipelineExecutionId": bad,
    }
    one = world.json("status", world.name, "--execution", rolled)
    assert (one["executionType"], one["executionMode"]) == ("ROLLBACK", "SUPERSEDED")
    assert one["rollbackMetadata"]["rollbackTargetPipelineExecutionId"] == good


@pytest.mark.long
def test_a_failed_stage_rolls_back_by_itself_once(world: Any) -> None:
    gate_file = world.folder / "there"
    gate_file.touch()
    declaration = world.declare([world.action("Ship", FailUnless=gate_file)])
    wire = declaration.to_wire()
    wire["stages"][1]["onFailure"] = {"result": "ROLLBACK"}
    declaration = type(declaration).model_validate(wire)
    gate_file.unlink()
    first = world.start(declaration)
    assert world.ended(first).status == "Failed"
    gate_file.touch()
    good = start_pipeline_execution(world.name, {}, {}, "tester")
    assert world.ended(good).status == "Succeeded"
    assert rollbacks(world) == [], "there was nothing to go back to"
    gate_file.unlink()
    bad = start_pipeline_execution(world.name, {}, {}, "tester")

    assert world.ended(bad).status == "Failed"
    world.wait(bad, lambda _: rollbacks(world))
    rolled = world.ended(rollbacks(world)[0]["id"])

    assert rolled.state.pinned.trigger_type == "AutomatedRollback"
    assert rolled.state.pinned.trigger_detail == bad
    assert rolled.state.pinned.rollback_target == good
    assert rolled.status == "Failed", "what it ships is still not there"
    assert len(rollbacks(world)) == 1, "a rollback that fails is not rolled back"
    assert f"automatically, after execution {bad[:8]}" in world.cli("status", world.name).stdout


def test_a_run_cancelled_by_its_state_is_wound_up(world: Any) -> None:
    known = world.suspended(world.start(world.declare([world.action("Ok", 1, "Approval")])))
    client().set_flow_run_state(UUID(known.id), Cancelled(), force=True)

    reconcile_once()

    known = world.ended(known.id)
    assert known.run["state_name"] == "Stopped"
    assert known.run["state"]["message"] == "Prefect UI or API: cancelled in Prefect"


def test_what_has_no_thread_yet_does_not_start_after_a_stop(world: Any) -> None:
    go = world.folder / "go"
    group = [world.action(f"A{number}", Until=go) for number in range(8)]
    execution_id = world.start(world.declare(group, executionMode="PARALLEL"))
    world.wait(execution_id, lambda _: len(world.ran()) == 6)  # the source, and five at once
    stop_pipeline_execution(world.name, execution_id, abandon=False, reason="enough", by="tester")
    world.wait(execution_id, lambda _: world.is_named(execution_id, "Stopping"))
    go.touch()

    known = world.ended(execution_id)

    assert known.status == "Stopped"
    assert len(world.ran()) == 6
