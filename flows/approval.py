"""Manual approvals: ask, wait without a process, and let nothing pass but a decision that was written down.

https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals.html
"""

import time
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from prefect_codepipeline.errors import (
    ActionFailed,
    ApprovalAlreadyCompletedException,
    ApprovalNotAllowed,
    InvalidApprovalTokenException,
)
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.declaration import ActionDeclaration
from prefect_codepipeline.model.execution import (
    ActionFinished,
    ActionStarted,
    ApprovalDecided,
    ApprovalRefused,
    ApprovalRequested,
)
from prefect_codepipeline.model.page import plain, revision_text
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.model.state import ActionState, ExecutionState
from prefect_codepipeline.model.timeouts import timeout_in_minutes
from prefect_codepipeline.model.variables import resolve_action
from prefect_codepipeline.tasks.action_context import configuration_of
from prefect_codepipeline.tasks.decision import (
    WAKE_ONLY,
    answer_of,
    expire_approval,
    is_decision,
    put_approval_result,
    settle_votes,
)
from prefect_codepipeline.tasks.execution import Execution, current_execution
from prefect_codepipeline.tasks.providers.manual_approval import ManualApprovalConfiguration
from prefect_codepipeline.tasks.record import utc_now
from prefect_codepipeline.tasks.registry import get_provider
from prefect_codepipeline.tasks.suspension import Form, Wake, answers, suspend

POLL_SECONDS = 0.5
# Prefect's Resume button takes an answer and does not say from whom.
FORM = Approver(via="prefect")
FORM_SCHEMA: dict[str, Any] = {
    "title": "Review",
    "type": "object",
    "properties": {
        "decision": {
            "title": "Decision",
            "type": "string",
            "enum": ["Approved", "Rejected"],
            "description": "Approved goes on; Rejected fails the action.",
            "position": 0,
        },
        "comment": {
            "title": "Comment",
            "type": "string",
            "default": "",
            "maxLength": 512,
            "description": "Why; kept with the decision.",
            "position": 1,
        },
    },
    "required": ["decision"],
}


@task(cache_policy=NO_CACHE, persist_result=False)
def request_approval(stage_name: str, action_name: str) -> State[Any]:
    """Mint the token of an approval and write down what is to be reviewed, once per attempt."""
    execution = current_execution()
    state = execution.state.stage(stage_name)
    known = state.action(action_name)
    if known.request:
        return Completed(name="Requested", message=_until(known.request))
    execution.check_is_ours()
    identity = {"stage": state.name, "action": known.name, "attempt": state.attempt}
    action_execution_id = known.started.action_execution_id if known.started else str(uuid4())
    try:
        resolved = resolve_action(known.action, execution.state.namespaces)
        configuration = _configuration(resolved)
    except ActionFailed as error:
        execution.write(_started(identity, action_execution_id, known.action))
        details = ErrorDetails(code=error.code, message=str(error))
        finished = ActionFinished(
            **identity,
            at=utc_now(),
            action_execution_id=action_execution_id,
            status="Failed",
            error_details=details,
        )
        execution.write(finished)
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
    return Completed(name="Requested", message=_until(request))


@task(cache_policy=NO_CACHE, persist_result=False)
def conclude_approval(stage_name: str, action_name: str) -> State[Any]:
    """Turn the decision about an approval into the end of its action."""
    execution = current_execution()
    known = execution.state.stage(stage_name).action(action_name)
    assert known.started, "an approval is concluded after it was requested"
    if known.decision is None:
        stop = execution.state.stop
        assert stop, "an approval is concluded after it was decided, or because the execution is stopped"
        execution.write(_abandoned(known.started, stop.summary))
        return Cancelled(name="Abandoned", message=stop.reason)
    finished = execution.write(known.finished or _finished(known.started, known.decision))
    message = finished.error_details.message if finished.error_details else finished.summary
    if finished.status == "Succeeded":
        return Completed(name="Approved", message=message)
    return Failed(name="Rejected" if known.decision.status == "Rejected" else "Expired", message=message)


def wait_for_approval(execution: Execution, stage_name: str, action_name: str) -> None:
    """Return once the approval is decided and its action has ended. Raises `Pause` where the run can suspend."""
    while not (known := _look(execution, stage_name, action_name)).finished:
        if known.decision or execution.look_for_stop():
            _conclude(stage_name, action_name)
        elif execution.can_suspend:
            _suspend(execution, stage_name, known)
        else:
            execution.check_is_ours()
            time.sleep(POLL_SECONDS)


def abandon_approvals(execution: Execution, stage_name: str) -> None:
    """End the open approvals of an execution that is being stopped."""
    for action in execution.state.stage(stage_name).actions:
        if action.request and not action.finished:
            _conclude(stage_name, action.name)


def _conclude(stage_name: str, action_name: str) -> None:
    conclude_approval.with_options(name=action_name, task_run_name=action_name)(
        stage_name, action_name, return_state=True
    )


def _look(execution: Execution, stage_name: str, action_name: str) -> ActionState:
    """The approval as it stands; an answer to the form, or the end of its time, becomes the decision."""
    known = execution.refresh().stage(stage_name).action(action_name)
    if known.finished or known.decision or not known.request:
        return known
    policy = execution.settings.approval_policy(stage_name, action_name)
    for key, answer in _unread(execution, known).items():
        comment = (answer.get("comment") or "")[:512]
        try:
            put_approval_result(execution.id, known.request.token, answer["decision"], FORM, comment)
        except ApprovalNotAllowed as refusal:
            _refuse(execution, known.request, key, str(refusal))
        except (ApprovalAlreadyCompletedException, InvalidApprovalTokenException):
            break  # somebody was faster, or its time is over
    with suppress(ApprovalAlreadyCompletedException):
        settled = known.votes and settle_votes(execution.id, known.request.token, policy)
        if not settled and utc_now() >= known.request.expires_at:
            expire_approval(execution.id, known.request.token, policy)
    return execution.refresh().stage(stage_name).action(action_name)


def _unread(execution: Execution, known: ActionState) -> dict[str, dict[str, Any]]:
    """What was put into the form, by its key, but for what was refused before."""
    assert known.request, "only a requested approval has answers"
    refused = {refusal.answer for refusal in known.refusals}
    given = answers(execution.id, known.request.token)
    return {key: answer for key, answer in given.items() if is_decision(answer) and key not in refused}


def _refuse(execution: Execution, request: ApprovalRequested, answer_key: str, reason: str) -> None:
    execution.write(
        ApprovalRefused(at=utc_now(), token=request.token, by=FORM.label, reason=reason, answer=answer_key)
    )
    get_run_logger().warning(
        "The answer to action %r of stage %r does not count: %s", request.action, request.stage, reason
    )


def _suspend(execution: Execution, stage_name: str, known: ActionState) -> None:
    request = known.request
    assert request, "only a requested approval is waited for"

    def decided_meanwhile() -> Wake:
        decision = execution.record.get(f"approval-{request.token}-decision")
        if isinstance(decision, ApprovalDecided):
            return Wake(True, answer_of(decision))
        return Wake(execution.look_for_stop() is not None, WAKE_ONLY)

    form = form_of(execution.state, stage_name, request)
    message = f"waiting for approval of action {known.name!r} of stage {stage_name!r}"
    suspend(execution.id, message, decided_meanwhile, form)


def form_of(state: ExecutionState, stage_name: str, request: ApprovalRequested) -> Form:
    """What Prefect's Resume button asks a reviewer."""
    return Form(request.token, FORM_SCHEMA, describe(state, stage_name, request))


def describe(state: ExecutionState, stage_name: str, request: ApprovalRequested) -> str:
    """What a reviewer must know, as markdown."""
    pinned = state.pinned
    lines = [
        f"### Approve {plain(request.action)!r} in stage {plain(stage_name)!r} of {plain(pinned.pipeline_name)!r}?",
        "",
    ]
    if request.custom_data:
        lines += [plain(request.custom_data), ""]
    if request.external_entity_link:
        lines += [f"Link for the review: {plain(request.external_entity_link)}", ""]
    lines += [
        f"- {plain(name)}: {revision_text(revision)}" for name, revision in state.source_revisions.items()
    ]
    asked = state.stage(stage_name).action(request.action)
    lines += [f"- approved by {plain(vote.approver.label)}" for vote in asked.votes]
    lines += ["", *(f"The last answer does not count: {plain(r.reason)}." for r in asked.refusals[-1:])]
    lines += [
        "",
        f"Open until {request.expires_at:%Y-%m-%d %H:%M} UTC. If nobody answers by then, it counts as rejected.",
    ]
    return "\n".join(lines)


def _configuration(action: ActionDeclaration) -> ManualApprovalConfiguration:
    configuration = configuration_of(get_provider(action.action_type_id), action)
    assert isinstance(configuration, ManualApprovalConfiguration), (
        f"{action.action_type_id} is no manual approval"
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
    """Nobody works on an approval, so a stop need not wait for it."""
    return ActionFinished(
        at=utc_now(),
        stage=started.stage,
        action=started.action,
        attempt=started.attempt,
        action_execution_id=started.action_execution_id,
        status="Abandoned",
        summary=why,
    )


def _finished(started: ActionStarted, decision: ApprovalDecided) -> ActionFinished:
    approved = decision.status == "Approved"
    said = f": {decision.summary}" if decision.summary else ""
    message = (
        "nobody decided in time, which counts as a rejection"
        if decision.status == "Expired"
        else f"{decision.status.lower()} by {decision.by}{said}"
    )
    code = "Timeout" if decision.status == "Expired" else "JobFailed"
    return ActionFinished(
        at=utc_now(),
        stage=started.stage,
        action=started.action,
        attempt=started.attempt,
        action_execution_id=started.action_execution_id,
        status="Succeeded" if approved else "Failed",
        summary=message,
        error_details=None if approved else ErrorDetails(code=code, message=message),
        last_updated_by=decision.by,
    )


def _until(request: ApprovalRequested) -> str:
    return f"open until {request.expires_at:%Y-%m-%d %H:%M} UTC"
