"""Rule executions: every evaluation of a rule, as ListRuleExecutions shows them.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_RuleExecutionDetail.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from prefect_codepipeline.model.definition.declaration import RuleTypeId
from prefect_codepipeline.model.record.condition_facts import RuleAsked, RuleState
from prefect_codepipeline.model.record.state import ConditionState, StageState
from prefect_codepipeline.model.wire.action_execution import Row
from prefect_codepipeline.model.wire.artifacts import Artifacts
from prefect_codepipeline.model.wire.shown import ShownExecution
from prefect_codepipeline.model.wire.texts import address, error

RuleStatus = Literal["InProgress", "Abandoned", "Succeeded", "Failed"]


def rule_rows(shown: ShownExecution, region: str) -> list[Row]:
    """A `RuleExecutionDetail` for each execution of a rule, in no order; `region` is that of the account."""
    artifacts = Artifacts(shown)
    return [
        Row(
            rule.asked.at,
            rule.asked.rule_execution_id,
            stage.attempt == shown.state.stage(stage.name).attempt,
            _detail(shown, stage, condition, rule, rule.asked, artifacts, region),
        )
        for stage in shown.attempts
        for condition in stage.conditions
        for rule in condition.rules
        if rule.asked
    ]


def rule_status(condition: ConditionState, rule: RuleState) -> RuleStatus:
    """The status of a rule that was asked; without an answer at the end of its condition it was abandoned."""
    if rule.outcome:
        return rule.outcome.status
    return "Abandoned" if condition.ended else "InProgress"


def rule_changed_at(condition: ConditionState, rule: RuleState) -> datetime | None:
    """When the status of a rule changed last."""
    if rule.outcome:
        return rule.outcome.ended_at
    if condition.ended:
        return condition.ended.at
    return rule.asked.at if rule.asked else None


def rule_summary(rule: RuleState) -> str:
    """The answer of a rule, or what it waits for."""
    said = rule.outcome or rule.wait
    return said.summary if said else ""


def _detail(
    shown: ShownExecution,
    stage: StageState,
    condition: ConditionState,
    rule: RuleState,
    asked: RuleAsked,
    artifacts: Artifacts,
    region: str,
) -> dict[str, Any]:
    said = rule.outcome or rule.wait
    declared = rule.rule
    return {
        "pipelineExecutionId": shown.state.execution_id,
        "ruleExecutionId": asked.rule_execution_id,
        "pipelineVersion": shown.state.pinned.pipeline_version,
        "stageName": stage.name,
        "ruleName": declared.name,
        "startTime": asked.at,
        "lastUpdateTime": rule_changed_at(condition, rule),
        "status": rule_status(condition, rule),
        "input": {
            "ruleTypeId": _type_id(declared.rule_type_id),
            "configuration": declared.configuration or {},
            "resolvedConfiguration": rule.outcome.resolved_configuration if rule.outcome else {},
            "roleArn": declared.role_arn,
            "region": declared.region or region,
            "inputArtifacts": artifacts.inputs(
                [artifact.name for artifact in declared.input_artifacts or ()],
                declared.region or region,
                asked.at,
            ),
        },
        "output": {
            "executionResult": {
                "externalExecutionId": said.external_execution_id if said else None,
                "externalExecutionSummary": rule_summary(rule) or None,
                "externalExecutionUrl": address(said.external_execution_url) if said else None,
                "errorDetails": error(rule.outcome.error_details) if rule.outcome else None,
            }
        },
    }


def _type_id(kind: RuleTypeId) -> dict[str, Any]:
    """AWS's model knows only its own rule types; the owner of another one has no place in it."""
    return {**kind.to_wire(), "owner": None} if kind.owner == "Custom" else kind.to_wire()
