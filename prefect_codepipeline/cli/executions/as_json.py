"""Pipelines and executions as JSON, with AWS's key names where AWS has them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from prefect_codepipeline.engine.executions.gate_state import Gates, TransitionType
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.operations.pipeline_state import PipelineState
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.folding import stage_attempts
from prefect_codepipeline.model.record.state import ActionState, ConditionState, ExecutionState, StageState
from prefect_codepipeline.model.views.pipeline_stages import StageNow

Json = dict[str, Any]


def pipeline_as_json(pipeline: PipelineState) -> Json:
    """A pipeline in the form of GetPipelineState, with its executions that are in a stage or in progress."""
    in_stages = {now.execution.execution_id for now in pipeline.stages if now.execution}
    return {
        "name": pipeline.name,
        "version": str(pipeline.declaration.version),
        "updated": pipeline.updated,
        "pipelineName": pipeline.name,
        "pipelineVersion": pipeline.declaration.version,
        "executionMode": pipeline.declaration.execution_mode,
        "status": pipeline.latest.status if pipeline.latest else None,
        "stageStates": [_stage_now_as_json(now, pipeline.gates) for now in pipeline.stages],
        "openApprovals": [
            {
                "pipelineExecutionId": execution.execution_id,
                "stageName": stage.name,
                "actionName": action.name,
                "token": action.request.token if action.request else None,
            }
            for execution, stage, action in pipeline.open_approvals
        ],
        "executions": [
            execution_as_json(known)
            for known in pipeline.executions
            if known.id in in_stages or known.status in ("InProgress", "Stopping") or known == pipeline.latest
        ],
    }


def _stage_now_as_json(now: StageNow, gates: Gates) -> Json:
    execution, stage = now.execution, now.state
    latest: Json | None = None
    if execution and stage:
        latest = {
            "pipelineExecutionId": execution.execution_id,
            "status": stage.status,
            "type": execution.pinned.execution_type,
            "trigger": _trigger(execution),
            "sourceRevisions": _revisions(execution.source_revisions),
            "rollbackMetadata": _rollback(execution, now.before),
        }
    return {
        "stageName": now.name,
        "latestExecution": latest,
        "lastStatusChange": _time(now.changed_at),
        "inboundExecutions": [
            {"pipelineExecutionId": ticket.execution} for ticket in gates.tickets(now.name)
        ],
        "inboundTransitionState": _transition(gates, now.name, "Inbound"),
        "outboundTransitionState": _transition(gates, now.name, "Outbound"),
        "actionStates": [_action_now(action) for action in stage.actions] if stage else [],
        "conditionStates": [_condition(each) for each in stage.conditions] if stage else [],
    }


def _transition(gates: Gates, stage: str, kind: TransitionType) -> Json:
    state = gates.transition(stage, kind)
    if state is None:
        return {"enabled": True}
    return {
        "enabled": state.enabled,
        "lastChangedBy": state.changed_by,
        "lastChangedAt": _time(state.changed_at),
        "disabledReason": None if state.enabled else state.reason,
    }


def execution_as_json(execution: KnownExecution) -> Json:
    """An execution in the form of GetPipelineExecution, with all attempts of its stages and actions."""
    state = execution.state
    if state is None:
        return {
            "pipelineExecutionId": execution.id,
            "status": execution.status,
            "statusSummary": execution.summary,
            "stages": [],
        }
    attempts = stage_attempts(state, execution.facts)
    return {
        "pipelineName": state.pinned.pipeline_name,
        "pipelineVersion": state.pinned.pipeline_version,
        "pipelineExecutionId": execution.id,
        "status": execution.status,
        "statusSummary": execution.summary,
        "executionMode": execution.mode,
        "executionType": state.pinned.execution_type,
        "rollbackMetadata": _rollback(state),
        "startTime": state.started_at.isoformat(),
        "lastUpdateTime": state.updated_at.isoformat(),
        "trigger": _trigger(state),
        "variables": [
            {"name": name, "resolvedValue": value} for name, value in state.pinned.variables.items()
        ],
        "sourceRevisions": _revisions(state.source_revisions),
        "stages": [_stage(stage, attempts[stage.name]) for stage in state.stages],
    }


def _trigger(state: ExecutionState) -> Json:
    return {"triggerType": state.pinned.trigger_type, "triggerDetail": state.pinned.trigger_detail}


def _rollback(state: ExecutionState, before: ExecutionState | None = None) -> Json | None:
    if state.pinned.execution_type != "ROLLBACK":
        return None
    replaced = {"replacedPipelineExecutionId": before.execution_id} if before else {}
    return {
        "rollbackTargetPipelineExecutionId": state.pinned.rollback_target,
        "stageName": state.pinned.rollback_stage,
        **replaced,
    }


def _revisions(revisions: dict[str, SourceRevision]) -> list[Json]:
    return [
        {
            "actionName": name,
            "revisionId": revision.revision_id,
            "revisionSummary": revision.revision_summary,
            "revisionUrl": revision.revision_url,
        }
        for name, revision in revisions.items()
    ]


def _stage(stage: StageState, attempts: Iterable[StageState]) -> Json:
    return {
        "stageName": stage.name,
        "status": stage.status,
        "attempt": stage.attempt,
        "retryStageMetadata": {
            "autoStageRetryAttempt": stage.automatic_retries,
            "manualStageRetryAttempt": stage.manual_retries,
            "latestRetryTrigger": stage.latest_retry_trigger,
        },
        "actions": [_action(action) for action in stage.actions],
        "conditions": [_condition(each) for each in stage.conditions],
        "attempts": [_attempt(each) for each in attempts],
    }


def _attempt(stage: StageState) -> Json:
    """One attempt of a stage, with the actions that started in it."""
    return {
        "attempt": stage.attempt,
        "status": stage.status,
        "summary": stage.finished.summary if stage.finished else "",
        "startTime": _time(stage.entered.at if stage.entered else None),
        "endTime": _time(stage.finished.at if stage.finished else None),
        "retriedBy": stage.retries[-1].by if stage.retries else None,
        "actions": [_action(action) for action in stage.actions if action.attempt == stage.attempt],
        "conditions": [_condition(each) for each in stage.conditions],
    }


def _condition(condition: ConditionState) -> Json:
    return {"conditionType": condition.kind, "status": condition.status, "summary": condition.summary}


def _action(action: ActionState) -> Json:
    finished, decision = action.finished, action.decision
    pool_run = action.pool_run
    return {
        "actionName": action.name,
        "status": action.status,
        "attempt": action.attempt,
        "actionExecutionId": action.started.action_execution_id if action.started else None,
        "startTime": _time(action.started.at if action.started else None),
        "endTime": _time(finished.at if finished else None),
        "lastUpdatedBy": decision.by if decision else finished.last_updated_by if finished else None,
        "summary": action.summary,
        "percentComplete": action.percent_complete,
        "externalExecutionId": action.external_execution_id,
        "externalExecutionUrl": action.external_execution_url,
        "workPool": pool_run.asked.work_pool if pool_run else None,
        "machine": pool_run.last_taken.host if pool_run and pool_run.last_taken else None,
        "errorDetails": finished.error_details.model_dump() if finished and finished.error_details else None,
        "token": action.request.token if action.request and action.is_waiting_for_approval else None,
        "waitsSince": action.wait.since.isoformat() if action.wait else None,
        "waitsUntil": (action.wait.deadline or action.wait.until).isoformat() if action.wait else None,
        "outputVariables": finished.output_variables if finished else {},
    }


def _action_now(action: ActionState) -> Json:
    return {"actionName": action.name, "latestExecution": _action(action) if action.started else None}


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
