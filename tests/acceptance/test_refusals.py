"""What AWS refuses, with its own exceptions: on a real server, of executions whose record says how they stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.states import Failed, Running, State

from prefect_codepipeline.deployments.create import deploy_pipeline, find_deployment
from prefect_codepipeline.engine.approvals.decision import put_approval_result
from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.executions.gate_state import Visit
from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.operations.overriding import override_stage_condition
from prefect_codepipeline.engine.operations.retrying import retry_stage_execution
from prefect_codepipeline.engine.operations.rollback import rollback_stage
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.engine.operations.transitions import (
    disable_stage_transition,
    enable_stage_transition,
)
from prefect_codepipeline.errors import (
    ConditionNotOverridableException,
    ConflictException,
    InvalidApprovalTokenException,
    NotLatestPipelineExecutionException,
    PipelineExecutionNotFoundException,
    PipelineExecutionNotStoppableException,
    PipelineNotFoundException,
    StageNotFoundException,
    StageNotRetryableException,
    UnableToRollbackStageException,
    ValidationException,
)
from prefect_codepipeline.model.record.condition_facts import ConditionEnded
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalRequested,
    ExecutionFinished,
    ExecutionPinned,
    RetryRequested,
    StageEntered,
    StageFinished,
)
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.client import call, client

pytestmark = pytest.mark.live

NOBODY = "00000000-0000-4000-8000-000000000000"


def pinned(name: str) -> ExecutionPinned:
    definition_id, newest = newest_version(name)
    return ExecutionPinned(
        at=utc_now(),
        pipeline_name=name,
        pipeline_version=newest.version,
        definition_id=str(definition_id),
        variables={},
        source_revisions={},
        trigger_type="StartPipelineExecution",
    )


def recorded(name: str, *facts: Fact, state: State[Any] | None = None, begun: bool = True) -> str:
    """An execution that these facts are all that ever happened in."""
    deployment_id = UUID(find_deployment(name)["id"])
    run = client().create_flow_run_from_deployment(deployment_id, parameters={}, state=state or Failed())
    for fact in ([pinned(name)] if begun else []) + list(facts):
        RecordOf(str(run.id)).write(fact)
    return str(run.id)


def stage(status: Any, name: str = "S1") -> list[Fact]:
    return [
        StageEntered(at=utc_now(), stage=name, attempt=1),
        StageFinished(at=utc_now(), stage=name, attempt=1, status=status),
    ]


def action(status: Any = "Failed") -> list[Fact]:
    identity: dict[str, Any] = {"stage": "S1", "action": "Work", "attempt": 1, "action_execution_id": "a"}
    details = ErrorDetails(code="JobFailed", message="why")
    return [
        ActionStarted(**identity, at=utc_now()),
        ActionFinished(**identity, at=utc_now(), status=status, error_details=details),
    ]


def final(status: Any = "Failed") -> ExecutionFinished:
    return ExecutionFinished(at=utc_now(), epoch=0, status=status, summary="why")


def holds(name: str, execution_id: str, stage_name: str = "S1") -> Visit:
    """Have an execution enter a stage."""
    visit = Visit(name, stage_name, "Source", "SUPERSEDED", execution_id, 1, "1")
    assert gate.try_enter(visit) == (True, None)
    return visit


def test_what_may_not_be_retried(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work")]))
    again = RetryRequested(at=utc_now(), epoch=1, stage="S1", retry_mode="FAILED_ACTIONS", by="ana")

    for facts, mode, why in (
        ([*stage("Skipped"), final()], "ALL_ACTIONS", "it is Skipped"),
        ([*stage("Succeeded"), final()], "ALL_ACTIONS", "it is Succeeded"),
        ([*stage("Failed"), final()], "FAILED_ACTIONS", "no failed actions: a condition failed it"),
        ([*action(), *stage("Failed"), final("Superseded")], "FAILED_ACTIONS", "execution is Superseded"),
        ([*action(), *stage("Cancelled"), final("Cancelled")], "FAILED_ACTIONS", "execution is Cancelled"),
        ([*action(), *stage("Failed"), final("Succeeded")], "FAILED_ACTIONS", "execution is Succeeded"),
        ([StageEntered(at=utc_now(), stage="S1", attempt=1)], "FAILED_ACTIONS", "it is InProgress"),
    ):
        with pytest.raises(StageNotRetryableException, match=why):
            retry_stage_execution(world.name, "S1", recorded(world.name, *facts), mode, "ana")
    retried = recorded(world.name, *action(), *stage("Failed"), final(), again, state=Running())
    with pytest.raises(StageNotRetryableException, match="not entered yet"):
        retry_stage_execution(world.name, "S1", retried, "FAILED_ACTIONS", "ana")
    with pytest.raises(ValidationException, match="has not started"):
        retry_stage_execution(world.name, "S1", recorded(world.name, begun=False), "FAILED_ACTIONS", "ana")


def test_a_retry_that_was_not_scheduled_is_scheduled_by_the_next_request_but_not_at_once(world: Any) -> None:
    pool = f"unserved-{uuid4().hex[:8]}"
    call("POST", "/work_pools/", {"name": pool, "type": "process"})
    deploy_pipeline(world.declare([world.action("Work")]), pool)
    ids = []
    for seconds in (0, 10):
        at = utc_now() - timedelta(seconds=seconds)
        again = RetryRequested(at=at, epoch=1, stage="S1", retry_mode="FAILED_ACTIONS", by="ana")
        ids.append(recorded(world.name, *action(), *stage("Failed"), final(), again))

    with pytest.raises(ConflictException, match="already being retried"):
        retry_stage_execution(world.name, "S1", ids[0], "FAILED_ACTIONS", "bob")
    assert retry_stage_execution(world.name, "S1", ids[1], "FAILED_ACTIONS", "bob") == ids[1]

    states = [read_execution(each).run["state_type"] for each in ids]
    assert states == ["FAILED", "SCHEDULED"]
    for each in ids:
        call("DELETE", f"/flow_runs/{each}")


def test_what_a_stage_may_not_be_rolled_back_to(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work")]))
    good = recorded(world.name, *stage("Succeeded"), final("Succeeded"))
    skipped = recorded(world.name, *stage("Skipped"), final("Succeeded"))

    def refused(error: type[Exception], why: str, target: str, stage_name: str = "S1") -> None:
        with pytest.raises(error, match=why):
            rollback_stage(world.name, stage_name, target, "ana")

    refused(UnableToRollbackStageException, "its status in the stage is Skipped, not Succeeded", skipped)
    refused(
        UnableToRollbackStageException, "its status in the stage is none, not Succeeded", recorded(world.name)
    )
    refused(UnableToRollbackStageException, "it is the source stage", good, "Source")
    refused(StageNotFoundException, "has no stage 'S9'; it has: Source, S1", good, "S9")
    refused(PipelineExecutionNotFoundException, NOBODY, NOBODY)
    visit = holds(world.name, skipped)
    refused(UnableToRollbackStageException, f"execution {skipped} runs in it", good)
    gate.leave(visit)

    world.name = f"{world.name}.other"
    deploy_pipeline(world.declare([world.action("Work")], executionMode="PARALLEL"))
    refused(UnableToRollbackStageException, "the pipeline's execution mode is PARALLEL", good)
    deploy_pipeline(world.declare([world.action("Work")], executionMode="QUEUED"))
    refused(PipelineExecutionNotFoundException, f"'{world.name}' has no execution", good)


def test_what_may_not_be_stopped(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work")]))

    def refused(error: type[Exception], why: str, execution_id: str, reason: str = "") -> None:
        with pytest.raises(error, match=why):
            stop_pipeline_execution(world.name, execution_id, abandon=True, reason=reason, by="ana")

    refused(PipelineExecutionNotStoppableException, NOBODY, NOBODY)
    refused(PipelineExecutionNotStoppableException, "it is Failed", recorded(world.name, begun=False))
    for status in ("Succeeded", "Failed", "Superseded", "Cancelled", "Stopped"):
        over = recorded(world.name, final(status))
        refused(PipelineExecutionNotStoppableException, f"it is {status}", over)
    refused(ValidationException, "the reason has 201 characters; the limit is 200", over, "x" * 201)


def test_what_may_not_be_overridden(world: Any) -> None:
    rule = {
        "name": "check",
        "ruleTypeId": {"category": "Rule", "owner": "AWS", "provider": "VariableCheck", "version": "1"},
        "configuration": {"Variable": "#{codepipeline.PipelineExecutionId}", "Operator": "EQ", "Value": "x"},
    }
    wire = world.declare([world.action("Work")], [world.action("Next")]).to_wire()
    wire["stages"][1]["beforeEntry"] = {"conditions": [{"result": "SKIP", "rules": [rule]}]}
    wire["stages"][1]["onSuccess"] = {"conditions": [{"result": "FAIL", "rules": [rule]}]}
    deploy_pipeline(type(world.declare([world.action("Work")])).model_validate(wire))

    def ended(kind: Any, status: Any) -> list[Fact]:
        condition = ConditionEnded(at=utc_now(), stage="S1", condition=kind, attempt=1, status=status)
        return [condition, *stage("Failed"), final()]

    def refused(
        error: type[Exception], why: str, execution_id: str, kind: Any = "ON_SUCCESS", of: str = "S1"
    ) -> None:
        with pytest.raises(error, match=why):
            override_stage_condition(world.name, of, execution_id, kind, "ana")

    skips = recorded(world.name, *ended("beforeEntry", "Failed"))
    refused(ConditionNotOverridableException, "is Failed and would skip the stage", skips, "BEFORE_ENTRY")
    refused(ConditionNotOverridableException, "is not being evaluated", recorded(world.name))
    refused(
        ConditionNotOverridableException,
        "is Succeeded",
        recorded(world.name, *ended("onSuccess", "Succeeded")),
    )
    refused(ConditionNotOverridableException, "is not being evaluated", skips, of="S2")
    refused(StageNotFoundException, "has no stage 'S9'", skips, of="S9")
    refused(ValidationException, "has not started", recorded(world.name, begun=False))
    failed = recorded(world.name, *ended("onSuccess", "Failed"))
    gate.leave(holds(world.name, failed), may_be_retried=True)
    gate.leave(holds(world.name, skips))
    refused(NotLatestPipelineExecutionException, f"execution {skips} has been in the stage since", failed)


def test_what_is_no_token_of_an_open_approval_decides_nothing(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work", 1, "Approval")]))
    request = ApprovalRequested(
        at=utc_now(), stage="S1", action="Work", attempt=1, token=str(uuid4()),
        expires_at=utc_now() + timedelta(days=7),
    )  # fmt: skip
    stopped = recorded(world.name, request, *action("Abandoned"), *stage("Stopped"), final("Stopped"))
    facts = len(RecordOf(stopped).read())

    for token, why in ((str(uuid4()), "has no approval with that token"), (request.token, "was abandoned")):
        with pytest.raises(InvalidApprovalTokenException, match=why):
            put_approval_result(stopped, token, "Approved", "ana")
    with pytest.raises(ValidationException, match="the comment has 513 characters; the limit is 512"):
        put_approval_result(stopped, request.token, "Approved", "ana", "x" * 513)
    assert len(RecordOf(stopped).read()) == facts


def test_what_is_no_transition_is_named(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work")]))
    for reason in ("", "x" * 301, "what's this", "a\nb"):
        with pytest.raises(ValidationException, match="1 to 300 letters"):
            disable_stage_transition(world.name, "S1", "Inbound", reason, "ana")
    with pytest.raises(StageNotFoundException, match="has no stage 'S9'; it has: Source, S1"):
        disable_stage_transition(world.name, "S9", "Inbound", "why", "ana")
    with pytest.raises(PipelineNotFoundException):
        enable_stage_transition(f"{world.name}.no", "S1", "Inbound", "ana")

    for _ in range(2):  # again is no mistake
        disable_stage_transition(world.name, "S1", "Inbound", "x" * 300, "ana")
        closed = gate.read_gates(world.name).transition("S1", "Inbound")
        assert closed
        assert (closed.enabled, closed.changed_by, closed.reason) == (False, "ana", "x" * 300)
    for _ in range(2):
        enable_stage_transition(world.name, "S1", "Inbound", "bob")
        opened = gate.read_gates(world.name).transition("S1", "Inbound")
        assert opened
        assert (opened.enabled, opened.changed_by) == (True, "bob")
