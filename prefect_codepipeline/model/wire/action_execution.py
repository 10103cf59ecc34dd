"""Action executions: every attempt of every action, as ListActionExecutions shows them.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ActionExecutionDetail.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect_codepipeline.model.record.facts import ActionStarted
from prefect_codepipeline.model.record.state import ActionState
from prefect_codepipeline.model.wire.artifacts import Artifacts
from prefect_codepipeline.model.wire.shown import ShownExecution
from prefect_codepipeline.model.wire.texts import address, error


@dataclass(frozen=True)
class Row:
    """An execution of an action or a rule.

    Attributes:
        started_at: when it began, by which rows are ordered.
        id: its id.
        is_latest: whether it was the last one of its action or rule in its pipeline execution.
        members: what AWS shows.
    """

    started_at: datetime
    id: str
    is_latest: bool
    members: dict[str, Any]


def action_rows(shown: ShownExecution, region: str) -> list[Row]:
    """An `ActionExecutionDetail` for each execution of an action, in no order; `region` is that of the account."""
    artifacts = Artifacts(shown)
    latest = {action.started.action_execution_id for _, action in shown.state.actions if action.started}
    return [
        Row(
            started.at,
            started.action_execution_id,
            started.action_execution_id in latest,
            _detail(shown, stage, action, started, artifacts, region),
        )
        for stage, action, started in _executions(shown)
    ]


def _executions(shown: ShownExecution) -> Iterator[tuple[str, ActionState, ActionStarted]]:
    """Each execution of an action once: with the attempt of the stage in which it began, or as it is now."""
    for attempt in shown.attempts:
        for action in attempt.actions:
            if action.started and action.started.attempt == attempt.attempt:
                yield attempt.name, _as_it_is(shown, attempt.name, action), action.started


def _as_it_is(shown: ShownExecution, stage: str, action: ActionState) -> ActionState:
    current = shown.state.stage(stage).action(action.name)
    is_same = current.started and action.started and current.started.key == action.started.key
    return current if is_same else action


def _detail(
    shown: ShownExecution,
    stage: str,
    action: ActionState,
    started: ActionStarted,
    artifacts: Artifacts,
    region: str,
) -> dict[str, Any]:
    finished = action.finished
    return {
        "pipelineExecutionId": shown.state.execution_id,
        "actionExecutionId": started.action_execution_id,
        "pipelineVersion": shown.state.pinned.pipeline_version,
        "stageName": stage,
        "actionName": action.name,
        "startTime": started.at,
        "lastUpdateTime": changed_at(action),
        "updatedBy": updated_by(action),
        "status": action.status,
        "input": _input(action, started, artifacts, region),
        "output": {
            "outputArtifacts": artifacts.outputs(
                [artifact.name for artifact in finished.output_artifacts],
                action.action.region or region,
                started.action_execution_id,
            )
            if finished
            else [],
            "executionResult": _result(action),
            "outputVariables": finished.output_variables if finished else {},
        },
    }


def _input(action: ActionState, started: ActionStarted, artifacts: Artifacts, region: str) -> dict[str, Any]:
    declared = action.action
    return {
        "actionTypeId": declared.action_type_id.to_wire(),
        "configuration": declared.configuration,
        "resolvedConfiguration": started.resolved_configuration,
        "roleArn": declared.role_arn,
        "region": declared.region or region,
        "inputArtifacts": artifacts.inputs(
            [artifact.name for artifact in declared.input_artifacts], declared.region or region, started.at
        ),
        "namespace": declared.namespace,
    }


def _result(action: ActionState) -> dict[str, Any]:
    details = action.finished.error_details if action.finished else None
    # A pipeline in PARALLEL mode has no state to read the token of an approval from: AWS has it here.
    token = action.request.token if action.request else None
    return {
        "externalExecutionId": token or action.external_execution_id or None,
        "externalExecutionSummary": summary_of(action) or None,
        "externalExecutionUrl": address(action.external_execution_url),
        "errorDetails": error(details),
    }


def summary_of(action: ActionState) -> str:
    """What an action said last; of an approval, the comment of the answer."""
    return (action.decision.summary if action.decision else "") or action.summary


def updated_by(action: ActionState) -> str | None:
    """Who changed the status of an action last, if that was a person."""
    if action.decision:
        return action.decision.by or None
    return action.finished.last_updated_by if action.finished else None


def changed_at(action: ActionState) -> datetime:
    """When something about an action that has started changed last."""
    facts = (action.started, action.progress, action.waits, action.decision, action.finished)
    return max(fact.at for fact in facts if fact)
