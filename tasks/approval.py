"""A manual approval as a task: request it, and end its action after the decision. It waits without a process."""

from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType

from prefect_codepipeline.actions.registry import get_provider
from prefect_codepipeline.engine.approvals.decision import expire_approval
from prefect_codepipeline.engine.executions.attempt import configuration_of, failure, log_end, reason_of
from prefect_codepipeline.engine.executions.process import Execution, current_execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.executions.task_runs import name_of_end
from prefect_codepipeline.errors import ActionFailed, ApprovalAlreadyCompletedException
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.definition.timeouts import timeout_in_minutes
from prefect_codepipeline.model.definition.variables import resolve_action
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalDecided,
    ApprovalRequested,
)
from prefect_codepipeline.model.record.state import ActionState, StageState
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.runs import count_from, ended_state
from prefect_codepipeline.tasks.providers.approval.manual_approval import ManualApprovalConfiguration


@task(cache_policy=NO_CACHE, persist_result=False)
def run_approval(stage_name: str, action_name: str) -> State[Any]:
    """Request the approval, once per attempt; or end its action, when it is decided, has expired or is stopped."""
    execution = current_execution()
    stage = execution.state.stage(stage_name)
    known = stage.action(action_name)
    if known.finished:
        return _ended(known)
    if known.started:
        count_from(known.started.at)
    if known.started and execution.state.stop and not known.decision:
        return _end(
            execution, known.started.finished(utc_now(), "Abandoned", summary=execution.state.stop.summary)
        )
    if known.request is None:
        return _request(execution, stage, known)
    request, decision = known.request, known.decision
    if not decision and utc_now() >= request.expires_at:
        decision = _expire(execution, request)
    if decision is None:
        return _waiting(request)
    assert known.started, "an approval is requested after it was started"
    return _end(execution, _finished(known.started, decision))


def _request(execution: Execution, state: StageState, known: ActionState) -> State[Any]:
    """Create the token of the approval and record the request."""
    identity = {"stage": state.name, "action": known.name, "attempt": state.attempt}
    action_execution_id = known.started.action_execution_id if known.started else str(uuid4())
    try:
        resolved = resolve_action(known.action, execution.state.namespaces)
        configuration = _configuration(resolved)
    except ActionFailed as error:
        execution.write(_started(identity, action_execution_id, known.action))
        ended = {"at": utc_now(), "action_execution_id": action_execution_id, **failure(error)}
        return _end(execution, ActionFinished(**identity, **ended))
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


def _expire(execution: Execution, request: ApprovalRequested) -> ApprovalDecided | None:
    """The decision about an approval that was not answered in time."""
    policy = execution.settings.approval_policy(request.stage, request.action)
    with suppress(ApprovalAlreadyCompletedException):
        expire_approval(execution.id, request.token, policy)
    execution.look_for(f"approval-{request.token}-")
    return execution.state.stage(request.stage).action(request.action).decision


def _end(execution: Execution, finished: ActionFinished) -> State[Any]:
    written = execution.write(finished)
    log_end(get_run_logger(), written)
    return _ended(execution.state.stage(written.stage).action(written.action))


def _ended(known: ActionState) -> State[Any]:
    assert known.finished, "the action of this approval has ended"
    return ended_state(known.finished.status, reason_of(known.finished), name_of_end(known))


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
