"""What the AWS API shows of an execution, from its facts; everything is checked against AWS's model of the API."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from api_checks import check_value
from past_executions import past_facts

from prefect_codepipeline.gateway.aws.protocol.json import write_members
from prefect_codepipeline.gateway.aws.protocol.service_model import output_shape
from prefect_codepipeline.model.definition.conditions import RuleOutcome
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import Inherited, SourceRevision, StoredArtifact
from prefect_codepipeline.model.record.condition_facts import ConditionEnded, RuleAnswered, RuleAsked
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
    StopRequested,
)
from prefect_codepipeline.model.record.folding import Folding
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.model.wire.action_execution import action_rows
from prefect_codepipeline.model.wire.artifact_keys import artifact_key
from prefect_codepipeline.model.wire.execution import execution_summary, pipeline_execution
from prefect_codepipeline.model.wire.rule_execution import rule_rows
from prefect_codepipeline.model.wire.shown import ShownExecution
from prefect_codepipeline.model.wire.stage_state import InStage, Transition, stage_state

ID, TARGET = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
AT = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)
ROLE = "arn:aws:iam::111122223333:role/pipeline"


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def action(name: str, category: str = "Build", **more: Any) -> dict[str, Any]:
    kind = {"category": category, "owner": "Custom", "provider": "Any", "version": "1"}
    return {"name": name, "actionTypeId": kind, **more}


def declared(**stage: Any) -> PipelineDeclaration:
    """A source, and a stage Build with the action Make, which turns Code into Made."""
    code, made = [{"name": "Code"}], [{"name": "Made"}]
    make = action("Make", inputArtifacts=code, outputArtifacts=made, configuration={"Key": "value"})
    return PipelineDeclaration.model_validate(
        {
            "name": "release",
            "roleArn": ROLE,
            "pipelineType": "V2",
            "artifactStore": {"type": "S3", "location": "the-bucket"},
            "stages": [
                {"name": "Source", "actions": [action("Fetch", "Source", outputArtifacts=code)]},
                {"name": "Build", "actions": [make], **stage},
            ],
        }
    )


def shown(
    declaration: PipelineDeclaration, facts: Iterable[Fact], status: str = "Succeeded", summary: str = ""
) -> ShownExecution:
    all_facts: list[Any] = list(facts)
    state = Folding(ID, declaration, all_facts).state
    assert state
    return ShownExecution(state, declaration, all_facts, status, summary, AT)


def checked(operation: str, **members: Any) -> dict[str, Any]:
    """The answer as it is sent, after a check against AWS's model."""
    sent: dict[str, Any] = json.loads(write_members(operation, members))
    check_value(output_shape(operation), sent, operation)
    return sent


def build(number: int, attempt: int, status: Any, **more: Any) -> list[Fact]:
    """The facts of an attempt of the stage Build, whose action ends so many seconds after the start."""
    place: dict[str, Any] = {"stage": "Build", "attempt": attempt}
    ids: dict[str, Any] = {"action": "Make", "action_execution_id": f"make-{attempt}"}
    stage_status = "Succeeded" if status == "Succeeded" else "Failed"
    return [
        StageEntered(at=later(number), **place),
        ActionStarted(at=later(number + 1), **place, **ids, resolved_configuration={"Key": "value"}),
        ActionFinished(at=later(number + 2), **place, **ids, status=status, **more),
        StageFinished(at=later(number + 3), **place, status=stage_status),
    ]


def source_facts(declaration: PipelineDeclaration) -> list[Fact]:
    """All facts until the stage Source has ended."""
    facts = list(past_facts(ID, TARGET, declaration, AT))
    end = next(n for n, fact in enumerate(facts) if isinstance(fact, StageFinished))
    return facts[: end + 1]


def test_each_attempt_of_an_action_has_a_row_with_the_places_of_its_artifacts() -> None:
    declaration = declared()
    made = [StoredArtifact(name="Made", sha256="0" * 64, size=1, files=1)]
    failure = ErrorDetails(code="JobFailed", message="m" * 6000)
    retry = RetryRequested(at=later(20), epoch=1, stage="Build", retry_mode="FAILED_ACTIONS", by="ana")
    facts = [
        *source_facts(declaration),
        *build(10, 1, "Failed", error_details=failure, external_execution_id="x"),
        retry,
        *build(30, 2, "Succeeded", output_artifacts=made, summary="made it"),
    ]

    rows = action_rows(shown(declaration, facts), "eu-west-1")

    sent = checked("ListActionExecutions", actionExecutionDetails=[row.members for row in rows])
    fetch, first, second = sent["actionExecutionDetails"]
    assert [row.is_latest for row in rows] == [True, False, True]
    assert [first["status"], second["status"]] == ["Failed", "Succeeded"]
    assert first["output"]["executionResult"]["errorDetails"]["message"].startswith("mmm")
    fetched = artifact_key("release", "Code", fetch["actionExecutionId"])
    code = {"name": "Code", "s3location": {"bucket": "the-bucket", "key": fetched}}
    assert first["input"]["inputArtifacts"] == second["input"]["inputArtifacts"] == [code]
    made_at = second["output"]["outputArtifacts"][0]["s3location"]["key"]
    assert made_at == artifact_key("release", "Made", "make-2")
    assert second["input"]["region"] == "eu-west-1"
    state = shown(declaration, facts).state
    stage = stage_state(declaration.stages[1], state.stage("Build"), None, [], Transition())
    (sent_stage,) = checked("GetPipelineState", stageStates=[stage])["stageStates"]
    assert sent_stage["retryStageMetadata"] == {
        "manualStageRetryAttempt": 1, "latestRetryTrigger": "ManualStageRetry",
    }  # fmt: skip


def test_a_rollback_names_its_target_and_has_the_artifacts_of_it() -> None:
    declaration = declared()
    revision = SourceRevision(revision_id="c1", revision_summary="s" * 3000, revision_url="u" * 3000)
    code = StoredArtifact(name="Code", sha256="0" * 64, size=1, files=1)
    pinned = ExecutionPinned(
        at=AT, pipeline_name="release", pipeline_version=1, definition_id=TARGET, variables={"v": "x"},
        source_revisions={}, trigger_type="ManualRollback", trigger_detail="d" * 2000, execution_type="ROLLBACK",
        rollback_target=TARGET, rollback_stage="Build",
        inherited=Inherited(artifacts=[code], source_revisions={"Fetch": revision}),
    )  # fmt: skip
    execution = shown(declaration, [pinned, *build(1, 1, "Succeeded")])

    found = checked("GetPipelineExecution", pipelineExecution=pipeline_execution(execution))
    members = found["pipelineExecution"]
    assert members["executionType"] == "ROLLBACK"
    assert members["rollbackMetadata"] == {"rollbackTargetPipelineExecutionId": TARGET}
    assert members["variables"] == [{"name": "v", "resolvedValue": "x"}]
    (artifact,) = members["artifactRevisions"]
    assert (artifact["name"], artifact["revisionId"]) == ("Code", "c1")
    assert "revisionUrl" not in artifact, "a part of a URL leads nowhere"
    (row,) = action_rows(execution, "us-east-1")
    (used,) = row.members["input"]["inputArtifacts"]
    assert used["s3location"]["key"] == artifact_key("release", "Code", TARGET)


@pytest.mark.parametrize(("how", "shows"), [("stop", True), ("abandon", True), ("cancel", False)])
def test_who_stopped_an_execution_says_why(how: Any, shows: bool) -> None:
    declaration = declared()
    stop = StopRequested(at=later(5), epoch=0, how=how, reason="r" * 300, by="ana")
    end = ExecutionFinished(at=later(6), epoch=0, status="Stopped", summary="ana: enough")
    execution = shown(declaration, [*source_facts(declaration), stop, end], "Stopped", "ana: enough")

    sent = checked("ListPipelineExecutions", pipelineExecutionSummaries=[execution_summary(execution)])
    (summary,) = sent["pipelineExecutionSummaries"]

    assert (summary["status"], summary["statusSummary"]) == ("Stopped", "ana: enough")
    assert summary["lastUpdateTime"] == later(6).timestamp()
    assert ("stopTrigger" in summary) == shows


def test_a_condition_and_its_rules() -> None:
    kind = {"category": "Rule", "owner": "Custom", "provider": "Any"}
    rules = [{"name": name, "ruleTypeId": kind} for name in ("first", "second", "third")]
    declaration = declared(onSuccess={"conditions": [{"result": "FAIL", "rules": rules}]})
    asked: dict[str, Any] = {"stage": "Build", "condition": "onSuccess", "attempt": 1}
    outcome = RuleOutcome(
        rule="first", rule_execution_id="r1", status="Succeeded", started_at=later(21), ended_at=later(22)
    )
    facts: list[Fact] = [
        *source_facts(declaration),
        *build(10, 1, "Succeeded")[:-1],
        RuleAsked(at=later(21), **asked, rule="first", rule_execution_id="r1"),
        RuleAnswered(at=later(22), **asked, outcome=outcome),
        RuleAsked(at=later(23), **asked, rule="second", rule_execution_id="r2"),
    ]
    overridden = ConditionEnded(at=later(24), **asked, status="Overridden", summary="by ana")
    for more, status in (([], "InProgress"), ([overridden], "Abandoned")):
        execution = shown(declaration, [*facts, *more])
        rows = [row.members for row in rule_rows(execution, "us-east-1")]
        sent = checked("ListRuleExecutions", ruleExecutionDetails=rows)["ruleExecutionDetails"]
        assert [(row["ruleName"], row["status"]) for row in sent] == [
            ("first", "Succeeded"), ("second", status),
        ]  # fmt: skip
        state = execution.state.stage("Build")
        stage = stage_state(declaration.stages[1], state, None, [], Transition())
        (found,) = checked("GetPipelineState", stageStates=[stage])["stageStates"]
        (condition,) = found["onSuccessConditionState"]["conditionStates"]
        rule_states = condition["ruleStates"]
        assert [each["ruleName"] for each in rule_states] == ["first", "second", "third"]
        assert rule_states[1]["latestExecution"]["status"] == status
        assert "latestExecution" not in rule_states[2]


def test_an_open_approval_has_a_token_and_what_waits_is_inbound() -> None:
    declaration = declared()
    place: dict[str, Any] = {"stage": "Build", "action": "Make", "attempt": 1}
    facts = [
        *source_facts(declaration),
        *build(10, 1, "Succeeded")[:2],
        ApprovalRequested(at=later(12), **place, token="t1", expires_at=later(9000)),
    ]
    execution = shown(declaration, facts, "InProgress")
    waiting = [InStage(each, "InProgress", "STANDARD") for each in (TARGET, ID)]
    held = Transition(enabled=False, changed_by="ana", changed_at=AT, reason="not yet")
    latest = InStage(ID, "InProgress", "STANDARD")
    stage = stage_state(declaration.stages[1], execution.state.stage("Build"), latest, waiting, held)

    (sent,) = checked("GetPipelineState", stageStates=[stage])["stageStates"]

    assert sent["actionStates"][0]["latestExecution"]["token"] == "t1"
    assert [each["pipelineExecutionId"] for each in sent["inboundExecutions"]] == [TARGET, ID]
    assert sent["inboundExecution"]["pipelineExecutionId"] == ID
    assert sent["inboundTransitionState"] == {
        "enabled": False, "lastChangedBy": "ana", "lastChangedAt": AT.timestamp(), "disabledReason": "not yet",
    }  # fmt: skip
    row = action_rows(execution, "us-east-1")[1]
    assert row.members["output"]["executionResult"]["externalExecutionId"] == "t1"
