"""Stop executions from outside, and conclude executions whose process cannot do that any more.

https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-stop.html
"""

from __future__ import annotations

from typing import Any, Literal

from prefect_codepipeline.actions.rule_registry import abandon_rule
from prefect_codepipeline.engine.approvals.decision import WAKE_ONLY
from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import read_definition_block
from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.notifications.events import send_remaining_events
from prefect_codepipeline.errors import (
    DuplicatedStopRequestException,
    PipelineExecutionNotFoundException,
    PipelineExecutionNotStoppableException,
    ValidationException,
)
from prefect_codepipeline.model.record.condition_facts import ConditionEnded, RuleAnswered
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ExecutionFinished,
    PipelineExecutionStatus,
    StageFinished,
    StopKind,
    StopRequested,
)
from prefect_codepipeline.model.record.state import ConditionState, ExecutionState, StageState
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.suspension import resume

REASON_LENGTH = 200
ActionEnd = Literal["Abandoned", "Failed"]
StageEnd = Literal["Stopped", "Failed"]


def stop_pipeline_execution(
    pipeline_name: str, execution_id: str, *, abandon: bool, reason: str, by: str
) -> StopRequested:
    """Stop an execution: no further action starts. Actions in progress end by themselves, or now if abandoned.

    Args:
        pipeline_name: the pipeline of the execution.
        execution_id: the execution.
        abandon: end the actions in progress; their status is Abandoned.
        reason: a text for users, up to 200 characters.
        by: the user who stops it.

    Raises:
        PipelineExecutionNotStoppableException: the execution does not exist or is not in progress.
        DuplicatedStopRequestException: it is being stopped already; an abandon may follow a stop once.
        ValidationException: the reason is too long.
    """
    if len(reason) > REASON_LENGTH:
        raise ValidationException(f"the reason has {len(reason)} characters; the limit is {REASON_LENGTH}")
    state = _stoppable(pipeline_name, execution_id)
    if any(stop.how == "abandon" or not abandon for stop in state.stops if stop.how != "cancel"):
        raise _duplicate(execution_id, state.stops[-1])
    how: StopKind = "abandon" if abandon else "stop"
    request = StopRequested(at=utc_now(), epoch=state.epoch, how=how, reason=reason, by=by)
    if not RecordOf(execution_id).write(request):
        raise _duplicate(execution_id, request)
    resume(execution_id, WAKE_ONLY)
    return request


def cancel_for_update(execution: KnownExecution, by: str, reason: str) -> bool:
    """Request that an execution ends as Cancelled after its actions in progress; False if that was requested before."""
    assert execution.state, "only an execution that has started is cancelled"
    request = StopRequested(at=utc_now(), epoch=execution.state.epoch, how="cancel", reason=reason, by=by)
    is_new = RecordOf(execution.id).write(request)
    resume(execution.id, WAKE_ONLY)
    return is_new


def end_as_stopped(state: ExecutionState, by: str, reason: str) -> None:
    """Record the end of a stopped execution that no process will end: a user cancelled its run in Prefect."""
    stop = StopRequested(at=utc_now(), epoch=state.epoch, how="abandon", reason=reason, by=by)
    RecordOf(state.execution_id).write(stop)
    _end_open_actions_and_stages(state, "Abandoned", "Stopped", reason)
    _end(state, stop.ends_as, stop.summary)


def end_as_failed(state: ExecutionState, reason: str) -> None:
    """Record the failure of an execution that no process will end: its processes died, and it is not resumed."""
    _end_open_actions_and_stages(state, "Failed", "Failed", reason)
    _end(state, "Failed", reason)


def _end_open_actions_and_stages(
    state: ExecutionState, action_status: ActionEnd, stage_status: StageEnd, reason: str
) -> None:
    record, now = RecordOf(state.execution_id), utc_now()
    for stage, action in state.actions:
        if action.status == "InProgress" and action.started:
            record.write(
                ActionFinished(
                    at=now,
                    stage=stage.name,
                    action=action.name,
                    attempt=action.started.attempt,
                    action_execution_id=action.started.action_execution_id,
                    status=action_status,
                    summary=reason,
                    error_details=ErrorDetails(code="JobFailed", message=reason)
                    if action_status == "Failed"
                    else None,
                )
            )
    for stage in state.stages:
        for condition in stage.conditions:
            _abandon_condition(record, stage, condition, reason)
        if stage.entered and not stage.finished:
            record.write(
                StageFinished(
                    at=now, stage=stage.name, attempt=stage.attempt, status=stage_status, summary=reason
                )
            )


def _end(state: ExecutionState, status: PipelineExecutionStatus, summary: str) -> None:
    record = RecordOf(state.execution_id)
    record.write(ExecutionFinished(at=utc_now(), epoch=state.epoch, status=status, summary=summary))
    declaration = read_definition_block(state.pinned.definition_id).masked()
    send_remaining_events(state.execution_id, declaration, record.read())
    gate.leave_all(state.pinned.pipeline_name, state.execution_id)


def _abandon_condition(record: RecordOf, stage: StageState, condition: ConditionState, reason: str) -> None:
    if condition.status != "InProgress" or condition.ended:
        return
    identity: dict[str, Any] = {"stage": stage.name, "condition": condition.kind, "attempt": stage.attempt}
    if condition.next_rule and (outcome := abandon_rule(condition.next_rule, reason, utc_now())):
        record.write(RuleAnswered(**identity, at=utc_now(), outcome=outcome))
    record.write(ConditionEnded(**identity, at=utc_now(), status="Abandoned", summary=reason))


def _stoppable(pipeline_name: str, execution_id: str) -> ExecutionState:
    try:
        known = read_execution(execution_id)
    except PipelineExecutionNotFoundException as error:
        raise PipelineExecutionNotStoppableException(str(error)) from None
    state = known.state
    if state is None or state.pinned.pipeline_name != pipeline_name:
        raise PipelineExecutionNotStoppableException(
            f"execution {execution_id} has not started, or is not an execution of pipeline {pipeline_name!r}; "
            f"see: codepipeline executions {pipeline_name}"
        )
    if state.final:
        raise PipelineExecutionNotStoppableException(
            f"execution {execution_id} of pipeline {pipeline_name!r} is not in progress: it is {state.final.status}"
        )
    return state


def _duplicate(execution_id: str, earlier: StopRequested) -> DuplicatedStopRequestException:
    upgrade = "; --abandon ends its actions now" if earlier.how == "stop" else ""
    return DuplicatedStopRequestException(
        f"execution {execution_id} is being stopped already, requested by {earlier.by}{upgrade}"
    )
