"""Retry a stage of an execution that failed or was stopped, on the same execution id.

https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-retry.html
"""

from __future__ import annotations

from uuid import UUID

from prefect.states import Scheduled

from prefect_codepipeline.errors import (
    NotLatestPipelineExecutionException,
    PipelineServiceError,
    StageNotFoundException,
    StageNotRetryableException,
    ValidationException,
)
from prefect_codepipeline.model.declaration import RetryMode
from prefect_codepipeline.model.execution import ProcessStarted, RetryRequested
from prefect_codepipeline.model.state import ExecutionState, StageState
from prefect_codepipeline.tasks import gate
from prefect_codepipeline.tasks.definitions import newest_version, read_definition_block
from prefect_codepipeline.tasks.executions import KnownExecution, check_limit, read_execution
from prefect_codepipeline.tasks.prefect_api import client
from prefect_codepipeline.tasks.record import RecordOf, utc_now


def retry_stage_execution(
    pipeline_name: str, stage_name: str, execution_id: str, retry_mode: RetryMode, by: str
) -> str:
    """Run a failed or stopped stage again; the execution's id.

    Args:
        pipeline_name: whose execution it is.
        stage_name: the stage.
        execution_id: the execution, in its latest attempt of the stage.
        retry_mode: `FAILED_ACTIONS` keeps what succeeded, `ALL_ACTIONS` begins at the first action.
        by: who asks.

    Raises:
        PipelineExecutionNotFoundException, StageNotFoundException: there is no such thing.
        StageNotRetryableException: nothing failed there, or the pipeline has changed since, or it runs.
        NotLatestPipelineExecutionException: a later execution has been in the stage.
        ConcurrentPipelineExecutionsLimitExceededException: as many executions as may be are in flight.
        ValidationException: the execution runs at a terminal, not by a worker.
    """
    known = read_execution(execution_id)
    state = known.state
    if state is None or state.pinned.pipeline_name != pipeline_name:
        raise ValidationException(f"execution {execution_id} has not begun, or is none of {pipeline_name!r}")
    if not known.run["deployment_id"]:
        raise ValidationException(f"execution {execution_id} was run at a terminal; run it again there")
    if _is_asked_for(known):
        _schedule(execution_id)  # whoever asked was cut off before the run was told
        return execution_id
    check_retryable(state, stage_name, retry_mode)
    check_room(state)
    if not RecordOf(execution_id).write(_request(state, stage_name, retry_mode, by)):
        raise StageNotRetryableException(f"stage {stage_name!r} of execution {execution_id} is being retried")
    _schedule(execution_id)
    return execution_id


def continue_from(state: ExecutionState, stage_name: str, by: str) -> None:
    """Have an execution that is over go on in a stage, where all that succeeded is kept."""
    if RecordOf(state.execution_id).write(_request(state, stage_name, "FAILED_ACTIONS", by)):
        _schedule(state.execution_id)


def write_retry(record: RecordOf, state: ExecutionState, by: str) -> None:
    """What Prefect's Retry button means: retry what failed. Where that may not be, nothing is written."""
    stage = next((stage for stage in state.stages if _is_over_badly(state, stage)), None)
    if stage is None:
        return
    try:
        check_retryable(state, stage.name, "FAILED_ACTIONS")
    except PipelineServiceError:
        return
    record.write(_request(state, stage.name, "FAILED_ACTIONS", by))


def check_retryable(state: ExecutionState, stage_name: str, retry_mode: RetryMode) -> None:
    """Raise what AWS raises when the stage may not be retried. An execution that crashed has no end yet, but may."""
    stage = next((stage for stage in state.stages if stage.name == stage_name), None)
    where = f"stage {stage_name!r} of execution {state.execution_id}"
    if stage is None:
        names = ", ".join(stage.name for stage in state.stages)
        raise StageNotFoundException(f"the execution has no stage {stage_name!r}; it has: {names}")
    if state.final and state.final.status not in ("Failed", "Stopped"):
        raise StageNotRetryableException(f"{where} cannot be retried: the execution is {state.final.status}")
    if not _is_over_badly(state, stage):
        raise StageNotRetryableException(
            f"{where} cannot be retried: it is {stage.status or 'not entered yet'}, not Failed or Stopped"
        )
    has_failed = any(action.status in ("Failed", "Abandoned") for action in stage.actions)
    if retry_mode == "FAILED_ACTIONS" and stage.status == "Failed" and not has_failed:
        raise StageNotRetryableException(
            f"{where} has no failed actions: a condition failed it; retry all actions"
        )
    _, newest = newest_version(state.pinned.pipeline_name)
    if state.pinned.pipeline_version != newest.version:
        raise StageNotRetryableException(
            f"{where} cannot be retried: the pipeline has changed since "
            f"(it ran version {state.pinned.pipeline_version}, now there is {newest.version})"
        )
    latest = gate.read_gates(state.pinned.pipeline_name).latest(stage_name)
    if latest not in (None, state.execution_id):
        raise NotLatestPipelineExecutionException(
            f"{where} cannot be retried: execution {latest} has been in the stage since"
        )


def check_room(state: ExecutionState) -> None:
    """Raise ConcurrentPipelineExecutionsLimitExceededException when an execution that is over finds no room again."""
    pinned = state.pinned
    mode = read_definition_block(pinned.definition_id).masked().execution_mode
    check_limit(pinned.pipeline_name, mode)


def _is_over_badly(state: ExecutionState, stage: StageState) -> bool:
    """Ended badly, or left by a process that died before it could say so."""
    if stage.finished:
        return stage.finished.status in ("Failed", "Stopped", "Cancelled")
    return not state.final and any(action.status in ("Failed", "Abandoned") for action in stage.actions)


def _request(state: ExecutionState, stage_name: str, retry_mode: RetryMode, by: str) -> RetryRequested:
    return RetryRequested(at=utc_now(), epoch=state.epoch + 1, stage=stage_name, retry_mode=retry_mode, by=by)


def _is_asked_for(known: KnownExecution) -> bool:
    """Whether a retry was written down that no process has begun, of a run that is over."""
    starts = (fact for fact in reversed(known.facts) if isinstance(fact, ProcessStarted | RetryRequested))
    last = next(starts, None)  # none when its first process died at once
    is_over = known.run["state_type"] in ("FAILED", "CANCELLED")
    return isinstance(last, RetryRequested) and last.trigger == "ManualStageRetry" and is_over


def _schedule(execution_id: str) -> None:
    client().set_flow_run_state(UUID(execution_id), Scheduled(name="AwaitingRetry"))
