"""Stop executions: request that they end before their last stage.

https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-stop.html
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect_codepipeline.engine.approvals.decision import WAKE_ONLY
from prefect_codepipeline.engine.executions.definitions import pinned_declaration
from prefect_codepipeline.engine.executions.lookup import (
    KnownExecution,
    definition_of,
    find_in_flight,
    known_executions,
    pipeline_tag,
    read_execution,
)
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.errors import (
    DuplicatedStopRequestException,
    PipelineExecutionNotFoundException,
    PipelineExecutionNotStoppableException,
    ValidationException,
)
from prefect_codepipeline.model.record.facts import StopKind, StopRequested
from prefect_codepipeline.prefect_api.client import flow_run
from prefect_codepipeline.prefect_api.flow_runs import set_state
from prefect_codepipeline.prefect_api.suspension import resume

REASON_LENGTH = 200


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
    known = _stoppable(pipeline_name, execution_id)
    stops, epoch = _stops_of(known)
    if any(stop.how == "abandon" or not abandon for stop in stops if stop.how != "cancel"):
        raise _duplicate(execution_id, stops[-1])
    how: StopKind = "abandon" if abandon else "stop"
    request = StopRequested(at=utc_now(), epoch=epoch, how=how, reason=reason, by=by)
    if not RecordOf(execution_id).write(request):
        raise _duplicate(execution_id, request)
    if known.state is None:
        _end_before_it_begins(request, execution_id)
    resume(execution_id, WAKE_ONLY)
    return request


def _end_before_it_begins(request: StopRequested, execution_id: str) -> None:
    """End a run that no worker has taken. A worker that takes it meanwhile finds the request in the record."""
    run = flow_run(execution_id)
    if run and run["state_type"] == "SCHEDULED":
        set_state(execution_id, "CANCELLED", "Stopped", request.summary)


def cancel_older(name: str, version: int, by: str) -> list[str]:
    """Cancel the executions of older versions, except those that started in PARALLEL mode; their ids.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html
    """
    cancelled = []
    reason = f"the pipeline was updated to version {version}"
    for execution in known_executions(find_in_flight(name)):
        definition_id = definition_of(execution)
        if definition_id is None or (execution.state and execution.state.final):
            continue
        declaration = pinned_declaration(definition_id)
        if declaration.version >= version or declaration.execution_mode == "PARALLEL":
            continue
        if _cancel_for_update(execution, by, reason):
            cancelled.append(execution.id)
    return cancelled


def _cancel_for_update(execution: KnownExecution, by: str, reason: str) -> bool:
    """Request that an execution ends as Cancelled after its actions in progress; False if that was requested before.

    One that has not begun does so when a worker takes it.
    """
    _, epoch = _stops_of(execution)
    request = StopRequested(at=utc_now(), epoch=epoch, how="cancel", reason=reason, by=by)
    is_new = RecordOf(execution.id).write(request)
    resume(execution.id, WAKE_ONLY)
    return is_new


def _stops_of(known: KnownExecution) -> tuple[Sequence[StopRequested], int]:
    """The requests to stop the execution so far, and its epoch."""
    if known.state:
        return known.state.stops, known.state.epoch
    return [fact for fact in known.facts if isinstance(fact, StopRequested)], 0


def _stoppable(pipeline_name: str, execution_id: str) -> KnownExecution:
    try:
        known = read_execution(execution_id)
    except PipelineExecutionNotFoundException as error:
        raise PipelineExecutionNotStoppableException(str(error)) from None
    if pipeline_tag(pipeline_name) not in known.run["tags"]:
        raise PipelineExecutionNotStoppableException(
            f"execution {execution_id} is not an execution of pipeline {pipeline_name!r}; "
            f"see: codepipeline executions {pipeline_name}"
        )
    has_ended = known.state.final if known.state else known.run["state_type"] in ("CANCELLED", "FAILED")
    if has_ended:
        raise PipelineExecutionNotStoppableException(
            f"execution {execution_id} of pipeline {pipeline_name!r} is not in progress: it is {known.status}"
        )
    return known


def _duplicate(execution_id: str, earlier: StopRequested) -> DuplicatedStopRequestException:
    upgrade = "; --abandon ends its actions now" if earlier.how == "stop" else ""
    return DuplicatedStopRequestException(
        f"execution {execution_id} is being stopped already, requested by {earlier.by}{upgrade}"
    )
