"""The stages of a pipeline as they are now: what GetPipelineState shows.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_StageState.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from prefect_codepipeline.model.definition.declaration import ActionDeclaration, StageDeclaration
from prefect_codepipeline.model.record.facts import ExecutionType, StageExecutionStatus
from prefect_codepipeline.model.record.state import ActionState, StageState
from prefect_codepipeline.model.wire.action_execution import summary_of, updated_by
from prefect_codepipeline.model.wire.condition_state import condition_states
from prefect_codepipeline.model.wire.texts import (
    CHANGE,
    EXTERNAL_ID,
    REVISION,
    SUMMARY,
    address,
    error,
    text,
)

Members: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class InStage:
    """An execution that is in a stage, or that waits to enter it."""

    execution_id: str
    status: StageExecutionStatus
    type: ExecutionType

    @property
    def members(self) -> Members:
        """A `StageExecution`."""
        return {"pipelineExecutionId": self.execution_id, "status": self.status, "type": self.type}


@dataclass(frozen=True)
class Transition:
    """The transition into a stage."""

    enabled: bool = True
    changed_by: str = ""
    changed_at: datetime | None = None
    reason: str = ""

    @property
    def members(self) -> Members:
        """A `TransitionState`."""
        return {
            "enabled": self.enabled,
            "lastChangedBy": self.changed_by or None,
            "lastChangedAt": self.changed_at,
            "disabledReason": None if self.enabled else self.reason or None,
        }


def stage_state(
    declared: StageDeclaration,
    state: StageState | None,
    latest: InStage | None,
    inbound: Sequence[InStage],
    transition: Transition,
    entity_url: Callable[[ActionDeclaration], str | None] = lambda _: None,
) -> Members:
    """A `StageState`.

    Args:
        declared: the stage in the newest version of the pipeline.
        state: the stage in the execution that is or last was in it.
        latest: that execution.
        inbound: the executions that wait to enter it, in the order of their arrival.
        transition: the transition into it.
        entity_url: finds the page of what an action works on.
    """
    return {
        "stageName": declared.name,
        # Of several that wait in front of a SUPERSEDED pipeline's stage, the last one will enter it.
        "inboundExecution": inbound[-1].members if inbound else None,
        "inboundExecutions": [each.members for each in inbound],
        "inboundTransitionState": transition.members,
        "actionStates": [
            {**_action_state(action, state), "entityUrl": address(entity_url(action))}
            for action in declared.actions
        ],
        "latestExecution": latest.members if latest else None,
        **condition_states(declared, state),
        "retryStageMetadata": _retries(state) if state and state.retries else None,
    }


def _retries(state: StageState) -> Members:
    return {
        "autoStageRetryAttempt": state.automatic_retries or None,
        "manualStageRetryAttempt": state.manual_retries or None,
        "latestRetryTrigger": state.latest_retry_trigger,
    }


def _action_state(declared: ActionDeclaration, stage: StageState | None) -> Members:
    """An `ActionState`; an action that did not run in the stage's latest execution has only its name."""
    actions = stage.actions if stage else ()
    state = next((action for action in actions if action.name == declared.name and action.started), None)
    if state is None:
        return {"actionName": declared.name}
    revision = state.finished.source_revision if state.finished else None
    return {
        "actionName": declared.name,
        "currentRevision": _current_revision(state),
        "latestExecution": _action_execution(state),
        "revisionUrl": address(revision.revision_url) if revision else None,
    }


def _current_revision(action: ActionState) -> Members | None:
    """An `ActionRevision`; AWS requires all of its members, so that which a source does not have is filled."""
    finished = action.finished
    revision = finished.source_revision if finished else None
    if finished is None or revision is None or not revision.revision_id:
        return None
    return {
        "revisionId": text(revision.revision_id, REVISION),
        "revisionChangeId": text(revision.revision_change_identifier or revision.revision_id, CHANGE),
        "created": revision.created or finished.at,
    }


def _action_execution(action: ActionState) -> Members:
    """An `ActionExecution`."""
    started, finished = action.started, action.finished
    assert started, "an action that runs has started"
    return {
        "actionExecutionId": started.action_execution_id,
        "status": action.status,
        "summary": text(summary_of(action), SUMMARY),
        "lastStatusChange": finished.at if finished else started.at,
        "token": action.request.token if action.request and action.is_waiting_for_approval else None,
        "lastUpdatedBy": updated_by(action),
        "externalExecutionId": text(action.external_execution_id, EXTERNAL_ID),
        "externalExecutionUrl": address(action.external_execution_url),
        "percentComplete": action.percent_complete,
        "errorDetails": error(finished.error_details) if finished else None,
    }
