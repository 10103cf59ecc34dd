"""Retry a stage of an execution that failed or was stopped, on the same execution id.

https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-retry.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import newest_version, pinned_declaration
from prefect_codepipeline.engine.executions.lookup import KnownExecution, check_limit, read_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.executions.removed import not_found
from prefect_codepipeline.errors import (
    ConflictException,
    NotLatestPipelineExecutionException,
    PipelineServiceError,
    PrefectRefused,
    StageNotFoundException,
    StageNotRetryableException,
    ValidationException,
)
from prefect_codepipeline.model.definition.declaration import RetryMode
from prefect_codepipeline.model.record.facts import ProcessStarted, RetryRequested
from prefect_codepipeline.model.record.state import ExecutionState, StageState
from prefect_codepipeline.prefect_api.client import flow_run
from prefect_codepipeline.prefect_api.flow_runs import schedule_again

# How long a retry waits for the process of an execution that ends: requests of the AWS API have eight seconds.
ENDING_SECONDS, _LOOK_SECONDS = 5.0, 0.1
# How long who has recorded a retry may need to schedule the run: two who do that would start it twice.
_SCHEDULING_TAKES = timedelta(seconds=5)


def retry_stage_execution(
    pipeline_name: str, stage_name: str, execution_id: str, retry_mode: RetryMode, by: str
) -> str:
    """Run a failed or stopped stage again; the execution's id.

    Args:
        pipeline_name: the pipeline of the execution.
        stage_name: the stage.
        execution_id: the execution; its latest attempt of the stage is retried.
        retry_mode: `FAILED_ACTIONS` keeps the results of succeeded actions, `ALL_ACTIONS` starts at the first action.
        by: the user who retries.

    Raises:
        PipelineExecutionNotFoundException, StageNotFoundException: the execution or the stage does not exist.
        StageNotRetryableException: the stage did not fail, the pipeline has changed since, or the execution runs.
        NotLatestPipelineExecutionException: a later execution has been in the stage.
        ConcurrentPipelineExecutionsLimitExceededException: the limit of executions in progress is reached.
        ConflictException: the process of the execution still runs, or another retry was requested at the same time.
        ValidationException: the execution was run at a terminal, not by a worker.
    """
    known = read_when_left(execution_id, stage_name)
    state = known.state
    if state is None or state.pinned.pipeline_name != pipeline_name:
        raise ValidationException(
            f"execution {execution_id} has not started, or is not an execution of pipeline {pipeline_name!r}"
        )
    if not known.run["deployment_id"]:
        raise ValidationException(
            f"execution {execution_id} was run at a terminal, not by a worker; run it again there"
        )
    if unscheduled := _unscheduled_retry(known):
        if utc_now() - unscheduled.at < _SCHEDULING_TAKES:
            raise _is_being_retried(execution_id, stage_name)
        _start_again(execution_id)  # the process that requested the retry died before it scheduled the run
        return execution_id
    check_retryable(state, stage_name, retry_mode)
    check_room(state)
    if not RecordOf(execution_id).write(_request(state, stage_name, retry_mode, by)):
        raise _is_being_retried(execution_id, stage_name)
    _start_again(execution_id)
    return execution_id


def _start_again(execution_id: str) -> None:
    """Schedule the run of an execution that is retried. Retention may have removed it meanwhile."""
    try:
        schedule_again(execution_id)
    except PrefectRefused:
        if flow_run(execution_id):
            raise
        raise not_found(execution_id, f"execution {execution_id} was deleted in Prefect") from None


def _is_being_retried(execution_id: str, stage_name: str) -> ConflictException:
    return ConflictException(f"stage {stage_name!r} of execution {execution_id} is already being retried")


def read_when_left(execution_id: str, stage_name: str) -> KnownExecution:
    """An execution, once the process has left that recorded the failure of its stage.

    That process ends with a state of the flow run, which would replace the one that a retry gives it.

    Raises:
        PipelineExecutionNotFoundException: it does not exist.
        ConflictException: the process still runs after five seconds: other actions of the stage run, or it died.
    """
    known = read_execution(execution_id)
    if not _is_leaving(known, stage_name):
        return known
    deadline = time.monotonic() + ENDING_SECONDS
    while (run := flow_run(execution_id)) and _is_running(run):
        if time.monotonic() > deadline:
            raise ConflictException(
                f"stage {stage_name!r} of execution {execution_id} cannot be retried while the execution runs; try again "
                "when its actions have ended"
            )
        time.sleep(_LOOK_SECONDS)
    return read_execution(execution_id)


def _is_leaving(known: KnownExecution, stage_name: str) -> bool:
    """Whether the stage has failed, or one of its actions, and a process still runs the execution."""
    stages = known.state.stages if known.state else []
    stage = next((stage for stage in stages if stage.name == stage_name), None)
    has_failed = bool(stage and known.state and _ended_unsuccessfully(known.state, stage))
    return has_failed and _is_running(known.run)


def _is_running(run: Mapping[str, Any]) -> bool:
    return run["state_type"] in ("RUNNING", "PENDING", "CANCELLING")


def continue_from(state: ExecutionState, stage_name: str, by: str) -> None:
    """Let an execution that has ended continue in a stage; the results of succeeded actions are kept."""
    if RecordOf(state.execution_id).write(_request(state, stage_name, "FAILED_ACTIONS", by)):
        schedule_again(state.execution_id)


def write_retry(record: RecordOf, state: ExecutionState, by: str) -> None:
    """Record the retry for Prefect's Retry button: of the failed actions. If that is not allowed, nothing is written."""
    stage = next((stage for stage in state.stages if _ended_unsuccessfully(state, stage)), None)
    if stage is None:
        return
    try:
        check_retryable(state, stage.name, "FAILED_ACTIONS")
    except PipelineServiceError:
        return
    record.write(_request(state, stage.name, "FAILED_ACTIONS", by))


def check_retryable(state: ExecutionState, stage_name: str, retry_mode: RetryMode) -> None:
    """Raise AWS's exception if the stage may not be retried. An execution that crashed and has no end may be retried."""
    stage = next((stage for stage in state.stages if stage.name == stage_name), None)
    where = f"stage {stage_name!r} of execution {state.execution_id}"
    if stage is None:
        names = ", ".join(stage.name for stage in state.stages)
        raise StageNotFoundException(
            f"execution {state.execution_id} has no stage {stage_name!r}; it has: {names}"
        )
    if state.final and state.final.status not in ("Failed", "Stopped"):
        raise StageNotRetryableException(f"{where} cannot be retried: the execution is {state.final.status}")
    if not _ended_unsuccessfully(state, stage):
        raise StageNotRetryableException(
            f"{where} cannot be retried: it is {stage.status or 'not entered yet'}, not Failed or Stopped"
        )
    has_failed = any(action.status in ("Failed", "Abandoned") for action in stage.actions)
    if retry_mode == "FAILED_ACTIONS" and stage.status == "Failed" and not has_failed:
        raise StageNotRetryableException(
            f"{where} has no failed actions: a condition failed it; retry ALL_ACTIONS"
        )
    newest_id, newest = newest_version(state.pinned.pipeline_name)
    if state.pinned.pipeline_version == newest.version and state.pinned.definition_id != str(newest_id):
        raise StageNotRetryableException(
            f"{where} cannot be retried: the pipeline was deleted since, and created again"
        )
    if state.pinned.pipeline_version != newest.version:
        raise StageNotRetryableException(
            f"{where} cannot be retried: the pipeline has changed since "
            f"(it ran version {state.pinned.pipeline_version}, the newest version is {newest.version})"
        )
    latest = gate.read_gates(state.pinned.pipeline_name).latest(stage_name)
    if latest not in (None, state.execution_id):
        raise NotLatestPipelineExecutionException(
            f"{where} cannot be retried: the later execution {latest} has been in the stage since"
        )


def check_room(state: ExecutionState) -> None:
    """Raise ConcurrentPipelineExecutionsLimitExceededException if an ended execution would exceed the limit."""
    pinned = state.pinned
    mode = pinned_declaration(pinned.definition_id).execution_mode
    check_limit(pinned.pipeline_name, mode)


def _ended_unsuccessfully(state: ExecutionState, stage: StageState) -> bool:
    """Whether the stage failed or was stopped, or its process died after a failed action, before recording the end."""
    if stage.finished:
        return stage.finished.status in ("Failed", "Stopped", "Cancelled")
    return not state.final and any(action.status in ("Failed", "Abandoned") for action in stage.actions)


def _request(state: ExecutionState, stage_name: str, retry_mode: RetryMode, by: str) -> RetryRequested:
    return RetryRequested(at=utc_now(), epoch=state.epoch + 1, stage=stage_name, retry_mode=retry_mode, by=by)


def _unscheduled_retry(known: KnownExecution) -> RetryRequested | None:
    """The retry that was recorded but not started by any process, while the run has ended; None if there is none."""
    starts = (fact for fact in reversed(known.facts) if isinstance(fact, ProcessStarted | RetryRequested))
    last = next(starts, None)  # None if its first process died at once
    has_ended = known.run["state_type"] in ("FAILED", "CANCELLED")
    if isinstance(last, RetryRequested) and last.trigger == "ManualStageRetry" and has_ended:
        return last
    return None
