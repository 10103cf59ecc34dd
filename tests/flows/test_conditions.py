"""Conditions on a real server and worker: entry, success and failure, waiting without a process, override."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect.states import Cancelling

from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.operations.overriding import override_stage_condition
from prefect_codepipeline.errors import ConditionNotOverridableException
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.prefect_api.client import client

pytestmark = pytest.mark.live


def declared(world: Any, *stages: Any, **conditions: Any) -> Any:
    """A pipeline whose stage S1 has these conditions."""
    declaration = world.declare(*stages)
    wire = declaration.to_wire()
    wire["stages"][1].update(conditions)
    return type(declaration).model_validate(wire)


def condition(result: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"conditions": [{"result": result, "rules": list(rules)}]}


def rule(
    name: str, provider: str = "Scripted", owner: str = "Custom", **configuration: Any
) -> dict[str, Any]:
    kind = {"category": "Rule", "owner": owner, "provider": provider, "version": "1"}
    texts = {key: str(value) for key, value in configuration.items()}
    return {"name": name, "ruleTypeId": kind, "configuration": texts}


def check(value: str) -> dict[str, Any]:
    return rule(
        "is-it", "VariableCheck", "AWS", Variable="#{SourceVariables.CommitId}", Operator="EQ", Value=value
    )


def test_a_condition_that_is_met_lets_the_stage_run(world: Any) -> None:
    first, second = rule("first"), rule("second", FailUnless=world.folder)
    pipeline = declared(world, [world.action("Work")], beforeEntry=condition("FAIL", first, second))

    known = world.ended(world.start(pipeline))

    assert known.status == "Succeeded"
    assert known.state.stage("S1").condition("beforeEntry").status == "Succeeded"
    assert [rule.outcome.status for rule in known.state.stage("S1").condition("beforeEntry").rules] == [
        "Succeeded"
    ] * 2


@pytest.mark.parametrize(
    ("result", "stage", "execution"), [("FAIL", "Failed", "Failed"), ("SKIP", "Skipped", "Succeeded")]
)
def test_an_entry_condition_that_is_not_met_fails_or_skips_the_stage(
    world: Any, result: str, stage: str, execution: str
) -> None:
    pipeline = declared(
        world, [world.action("Work")], [world.action("After")], beforeEntry=condition(result, check("1" * 40))
    )

    known = world.ended(world.start(pipeline))

    assert (known.state.stage("S1").status, known.status) == (stage, execution)
    assert "S1/Work" not in world.ran()
    assert ("S2/After" in world.ran()) == (result == "SKIP")


def test_what_a_skipped_stage_did_not_make_is_missing_later(world: Any) -> None:
    made = {**world.action("Make"), "outputArtifacts": [{"name": "Package"}], "namespace": "Made"}
    uses = {**world.action("Unpack"), "inputArtifacts": [{"name": "Package"}]}
    tells = world.action("Tell", RaiseError="#{Made.PID}")
    pipeline = declared(world, [made], [uses, tells], beforeEntry=condition("SKIP", check("1" * 40)))

    known = world.ended(world.start(pipeline))

    assert (known.status, known.state.stage("S1").status) == ("Failed", "Skipped")
    assert (
        known.state.stage("S2").action("Unpack").summary
        == "input artifact 'Package' does not exist: the action that declares it as an output did not produce it"
    )
    assert "#{Made.PID} could not be resolved" in known.state.stage("S2").action("Tell").summary


def test_rules_run_in_order_and_stop_at_the_first_that_is_not_met(world: Any) -> None:
    pipeline = declared(
        world,
        [world.action("Work")],
        beforeEntry=condition("FAIL", rule("a"), rule("b", FailUnless=world.folder / "no"), rule("c")),
    )

    known = world.ended(world.start(pipeline))

    rules = known.state.stage("S1").condition("beforeEntry").rules
    assert [rule.outcome and rule.outcome.status for rule in rules] == ["Succeeded", "Failed", None]
    assert (
        known.state.summary
        == "condition before entry of stage 'S1' was not met: rule 'b' failed: as ordered, asked 1 times"
    )


@pytest.mark.long
def test_a_rule_that_waits_holds_no_process_and_is_asked_again_in_time(world: Any, gone: Any) -> None:
    go = world.folder / "go"
    pipeline = declared(
        world, [world.action("Work")], beforeEntry=condition("FAIL", rule("window", Until=go, WaitSeconds=8))
    )
    execution_id = world.start(pipeline)
    known = world.wait(execution_id, lambda k: k.is_suspended)
    world.wait(execution_id, lambda _: gone(world.process_of(execution_id)))
    assert "rule 'window' waits until" in known.run["state"]["message"]
    reconcile_once()
    assert world.wait(execution_id, lambda k: k.state.processes == 1)
    go.touch()

    known = world.wait(
        execution_id, lambda k: reconcile_once() is not None and k.run["state_type"] == "COMPLETED"
    )

    assert known.status == "Succeeded"
    assert (
        known.state.stage("S1").condition("beforeEntry").rules[0].outcome.summary
        == "as ordered, asked 2 times"
    )


def test_a_condition_that_waits_can_be_overridden(world: Any) -> None:
    never = rule("window", "DeploymentWindow", "AWS", Cron="0 0 12 29 FEB ? *", TimeZone="Europe/Berlin")
    execution_id = world.start(declared(world, [world.action("Work")], beforeEntry=condition("FAIL", never)))
    world.wait(execution_id, lambda k: k.is_suspended)

    done = world.cli("override", world.name, "S1")
    known = world.ended(execution_id)

    assert done.returncode == 0, done.stderr
    assert known.status == "Succeeded"
    overridden = known.state.stage("S1").condition("beforeEntry")
    assert (overridden.status, overridden.rules[0].outcome.status) == ("Overridden", "Abandoned")
    assert "beforeEntry: Overridden  overridden by" in world.cli("status", world.name).stdout
    with pytest.raises(ConditionNotOverridableException, match="is Overridden"):
        override_stage_condition(world.name, "S1", execution_id, "BEFORE_ENTRY", "ana")


def test_a_rule_at_work_is_abandoned_by_an_override(world: Any) -> None:
    busy = rule("busy", Hold=world.folder / "never")
    execution_id = world.start(declared(world, [world.action("Work")], beforeEntry=condition("FAIL", busy)))
    world.wait(
        execution_id,
        lambda k: k.state and k.state.stage("S1").condition("beforeEntry").status == "InProgress",
    )

    override_stage_condition(world.name, "S1", execution_id, "BEFORE_ENTRY", "ana")
    known = world.ended(execution_id)

    ended = known.state.stage("S1").condition("beforeEntry")
    assert (known.status, ended.status, ended.summary) == ("Succeeded", "Overridden", "overridden by ana")
    assert ended.rules[0].outcome.status == "Abandoned"


@pytest.mark.long
def test_a_success_condition_that_failed_the_stage_can_be_overridden_later(world: Any) -> None:
    pipeline = declared(
        world, [world.action("Work")], [world.action("After")],
        onSuccess=condition("FAIL", rule("smoke", FailUnless=world.folder / "no")),
    )  # fmt: skip
    execution_id = world.start(pipeline)
    failed = world.ended(execution_id)
    assert (failed.status, failed.state.stage("S1").status) == ("Failed", "Failed")
    assert world.ran() == ["Source/Src", "S1/Work"]

    override_stage_condition(world.name, "S1", execution_id, "ON_SUCCESS", "ana")
    known = world.wait(execution_id, lambda k: k.run["state_type"] == "COMPLETED")

    assert known.status == "Succeeded"
    assert world.ran() == ["Source/Src", "S1/Work", "S2/After"]


@pytest.mark.parametrize("by", ["stop", "Prefect's Cancel button"])
def test_a_stop_ends_a_condition_that_waits(world: Any, by: str) -> None:
    abandoned = world.folder / "abandoned"
    waits = rule("window", Until=world.folder / "never", WaitSeconds=3600, Abandoned=abandoned)
    execution_id = world.start(declared(world, [world.action("Work")], beforeEntry=condition("FAIL", waits)))
    world.wait(execution_id, lambda k: k.is_suspended)

    if by == "stop":
        world.cli("stop", world.name, "-m", "enough")
    else:
        client().set_flow_run_state(UUID(execution_id), Cancelling())
        world.wait(
            execution_id, lambda _: reconcile_once() is not None and world.is_named(execution_id, "Stopped")
        )
    known = world.ended(execution_id)

    assert known.status == "Stopped"
    assert known.state.stage("S1").status == "Stopped"
    ended = known.state.stage("S1").condition("beforeEntry")
    assert (ended.status, ended.rules[0].outcome.status) == ("Abandoned", "Abandoned")
    assert abandoned.exists(), "what the rule has under way is told"


@pytest.mark.parametrize("kind", ["onSuccess", "onFailure"])
def test_a_condition_rolls_the_stage_back(world: Any, kind: str) -> None:
    good = world.folder / "good"
    good.touch()
    if kind == "onSuccess":
        pipeline = declared(
            world, [world.action("Ship")], onSuccess=condition("ROLLBACK", rule("smoke", FailUnless=good))
        )
    else:
        pipeline = declared(
            world, [world.action("Ship", FailUnless=good)], onFailure=condition("ROLLBACK", rule("alarm"))
        )
    target = world.start(pipeline)
    assert world.ended(target).status == "Succeeded"
    good.unlink()

    bad = world.ended(start_pipeline_execution(world.name, {}, {}, "tester"))
    world.wait(bad.id, lambda _: len(find_runs(world.name)) == 3)
    rolled = world.ended(find_runs(world.name)[0]["id"])

    assert bad.status == bad.state.stage("S1").status == "Failed"
    assert rolled.state.pinned.trigger_type == "AutomatedRollback"
    assert rolled.state.pinned.rollback_target == target
    assert len(find_runs(world.name)) == 3, "a rollback is not rolled back"
