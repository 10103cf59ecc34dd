"""The tasks of a manual approval: request it, and end its action after the decision."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Completed, Failed

from prefect_codepipeline.actions.registry import get_provider
from prefect_codepipeline.engine.executions.attempt import configuration_of, failure, log_end
from prefect_codepipeline.engine.executions.process import current_execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.definition.timeouts import timeout_in_minutes
from prefect_codepipeline.model.definition.variables import resolve_action
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalDecided,
    ApprovalRequested,
)
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.runs import count_from
from prefect_codepipeline.tasks.providers.manual_approval import ManualApprovalConfiguration


@task(cache_policy=NO_CACHE, persist_result=False)
def request_approval(stage_name: str, action_name: str) -> State[Any]:
    """Create the token of an approval and record the request, once per attempt."""
    execution = current_execution()
    state = execution.state.stage(stage_name)
    known = state.action(action_name)
    if known.request:
        return _waiting(known.request)
    identity = {"stage": state.name, "action": known.name, "attempt": state.attempt}
    action_execution_id = known.started.action_execution_id if known.started else str(uuid4())
    try:
        resolved = resolve_action(known.action, execution.state.namespaces)
        configuration = _configuration(resolved)
    except ActionFailed as error:
        execution.write(_started(identity, action_execution_id, known.action))
        execution.write(
            ActionFinished(
                **identity, at=utc_now(), action_execution_id=action_execution_id, **failure(error)
            )
        )
        return Failed(message=str(error))
    execution.write(_started(identity, action_execution_id, resolved))
    minutes = known.action.timeout_in_minutes or timeout_in_minutes(known.action.action_type_id)
    request = execution.write(
        ApprovalRequested(
            **identity,
            at=utc_now(),
            token=str(uuid4()),
            expires_at=utc_now() + timedelta(minutes=minutes),
            custom_data=configuration.custom_data,
            external_entity_link=configuration.external_entity_link,
        )
    )
    get_run_logger().info(
        "Action %r of stage %r waits for approval until %s: %s",
        known.name, state.name, f"{request.expires_at:%Y-%m-%d %H:%M} UTC", request.custom_data or "no comment given",
    )  # fmt: skip
    return _waiting(request)


@task(cache_policy=NO_CACHE, persist_result=False)
def conclude_approval(stage_name: str, action_name: str) -> State[Any]:
    """End the action of an approval by the decision."""
    execution = current_execution()
    known = execution.state.stage(stage_name).action(action_name)
    assert known.started, "an approval is concluded after it was requested"
    count_from(known.started.at)
    if known.decision is None:
        stop = execution.state.stop
        assert stop, "an approval is concluded after it was decided, or because the execution is stopped"
        log_end(get_run_logger(), execution.write(_abandoned(known.started, stop.summary)))
        return Cancelled(name="Abandoned", message=stop.reason)
    finished = execution.write(known.finished or _finished(known.started, known.decision))
    log_end(get_run_logger(), finished)
    message = finished.error_details.message if finished.error_details else finished.summary
    if finished.status == "Succeeded":
        return Completed(name="Approved", message=message)
    return Failed(name="Rejected" if known.decision.status == "Rejected" else "Expired", message=message)


def _configuration(action: ActionDeclaration) -> ManualApprovalConfiguration:
    configuration = configuration_of(
        get_provider(action.action_type_id), f"action {action.name!r}", action.configuration
    )
    assert isinstance(configuration, ManualApprovalConfiguration), (
        f"{action.action_type_id} is not a manual approval"
    )
    return configuration


def _started(identity: dict[str, Any], action_execution_id: str, action: ActionDeclaration) -> ActionStarted:
    return ActionStarted(
        **identity,
        at=utc_now(),
        action_execution_id=action_execution_id,
        resolved_configuration=action.configuration,
    )


def _abandoned(started: ActionStarted, why: str) -> ActionFinished:
    """A waiting approval does no work, so a stop does not wait for it."""
    return started.finished(utc_now(), "Abandoned", summary=why)


def _finished(started: ActionStarted, decision: ApprovalDecided) -> ActionFinished:
    approved = decision.status == "Approved"
    said = f": {decision.summary}" if decision.summary else ""
    message = (
        "no decision was made in time, which counts as a rejection"
        if decision.status == "Expired"
        else f"{decision.status.lower()} by {decision.by}{said}"
    )
    code = "Timeout" if decision.status == "Expired" else "JobFailed"
    return started.finished(
        utc_now(),
        "Succeeded" if approved else "Failed",
        summary=message,
        error_details=None if approved else ErrorDetails(code=code, message=message),
        last_updated_by=decision.by,
    )


def _waiting(request: ApprovalRequested) -> State[Any]:
    message = f"open until {request.expires_at:%Y-%m-%d %H:%M} UTC"
    return State(type=StateType.PAUSED, name="AwaitingApproval", message=message)
