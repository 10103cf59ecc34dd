"""Pipeline executions: what GetPipelineExecution and ListPipelineExecutions show.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineExecution.html
https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineExecutionSummary.html
"""

from __future__ import annotations

from typing import Any, TypeAlias

from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.wire.shown import ShownExecution
from prefect_codepipeline.model.wire.texts import CHANGE, DETAIL, REASON, REVISION, SUMMARY, address, text

Members: TypeAlias = dict[str, Any]


def pipeline_execution(shown: ShownExecution) -> Members:
    """A `PipelineExecution`."""
    state = shown.state
    return {
        "pipelineName": state.pinned.pipeline_name,
        "pipelineVersion": state.pinned.pipeline_version,
        "pipelineExecutionId": state.execution_id,
        "status": shown.status,
        "statusSummary": shown.summary or None,
        "artifactRevisions": _artifact_revisions(shown),
        "variables": [
            {"name": name, "resolvedValue": value} for name, value in state.pinned.variables.items()
        ],
        **_what_all_have(shown),
    }


def execution_summary(shown: ShownExecution) -> Members:
    """A `PipelineExecutionSummary`."""
    state = shown.state
    stop = state.stop if state.stop and state.stop.how != "cancel" else None
    return {
        "pipelineExecutionId": state.execution_id,
        "status": shown.status,
        "statusSummary": shown.summary or None,
        "startTime": shown.started_at,
        "lastUpdateTime": max(state.updated_at, shown.started_at),
        "sourceRevisions": [
            _source_revision(action, revision) for action, revision in state.source_revisions.items()
        ],
        "stopTrigger": {"reason": text(stop.reason, REASON)} if stop else None,
        **_what_all_have(shown),
    }


def _what_all_have(shown: ShownExecution) -> Members:
    pinned = shown.state.pinned
    target = pinned.rollback_target
    return {
        "trigger": {"triggerType": pinned.trigger_type, "triggerDetail": text(pinned.trigger_detail, DETAIL)},
        "executionMode": shown.declaration.execution_mode,
        "executionType": pinned.execution_type,
        "rollbackMetadata": {"rollbackTargetPipelineExecutionId": target} if target else None,
    }


def _source_revision(action: str, revision: SourceRevision) -> Members:
    return {
        "actionName": action,
        "revisionId": text(revision.revision_id, REVISION),
        "revisionSummary": text(revision.revision_summary, SUMMARY),
        "revisionUrl": address(revision.revision_url),
    }


def _artifact_revisions(shown: ShownExecution) -> list[Members]:
    """The revision of each artifact of the source actions."""
    names = {
        action.name: [artifact.name for artifact in action.output_artifacts]
        for stage in shown.declaration.stages
        for action in stage.actions
    }
    return [
        {
            "name": name,
            "revisionId": text(revision.revision_id, REVISION),
            "revisionChangeIdentifier": text(revision.revision_change_identifier, CHANGE),
            "revisionSummary": text(revision.revision_summary, SUMMARY),
            "created": revision.created,
            "revisionUrl": address(revision.revision_url),
        }
        for action, revision in shown.state.source_revisions.items()
        for name in names.get(action, [])
    ]


def has_succeeded_in(state: ExecutionState, stage_name: str) -> bool:
    """Whether the stage has succeeded in the execution."""
    return any(stage.name == stage_name and stage.status == "Succeeded" for stage in state.stages)
