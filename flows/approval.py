"""Wait for manual approvals without a process. Only a recorded decision lets an execution pass.

https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals.html
"""

import time
from contextlib import suppress
from typing import Any

from prefect import get_run_logger

from prefect_codepipeline.engine.approvals.decision import (
    WAKE_ONLY,
    answer_of,
    expire_approval,
    is_decision,
    put_approval_result,
    settle_votes,
)
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import (
    ApprovalAlreadyCompletedException,
    ApprovalNotAllowed,
    InvalidApprovalTokenException,
)
from prefect_codepipeline.flows.task_run import run_approval_step
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.definition.plan import Group
from prefect_codepipeline.model.record.facts import ApprovalDecided, ApprovalRefused, ApprovalRequested
from prefect_codepipeline.model.record.state import ActionState, ExecutionState, StageState
from prefect_codepipeline.model.views.page import plain, revision_text
from prefect_codepipeline.prefect_api.suspension import Form, Wake, answers, suspend
from prefect_codepipeline.tasks.approval import conclude_approval, request_approval

POLL_SECONDS = 0.5
# Prefect's Resume button accepts an answer and does not report the user.
FORM = Approver(via="prefect")
FORM_SCHEMA: dict[str, Any] = {
    "title": "Review",
    "type": "object",
    "properties": {
        "decision": {
            "title": "Decision",
            "type": "string",
            "enum": ["Approved", "Rejected"],
            "description": "Approved continues the execution; Rejected fails the action.",
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


def request_approvals(execution: Execution, stage: StageState, approvals: Group) -> None:
    """Request the approvals that were not requested yet."""
    for approval in approvals:
        if not stage.action(approval.name).request:
            run_approval_step(request_approval, execution, stage.name, approval.name)


def wait_for_approval(execution: Execution, stage_name: str, action_name: str) -> None:
    """Return when the approval is decided and its action has ended. Raises `Pause` if the run can be suspended."""
    known = execution.state.stage(stage_name).action(action_name)
    while not known.finished:
        if not known.decision:
            known = _read_decision(execution, stage_name, action_name)
        if known.decision or execution.look_for_stop():
            run_approval_step(conclude_approval, execution, stage_name, action_name)
        elif execution.can_suspend:
            _suspend(execution, stage_name, known)
        else:
            time.sleep(POLL_SECONDS)
        known = execution.state.stage(stage_name).action(action_name)


def abandon_approvals(execution: Execution, stage_name: str) -> None:
    """End the open approvals of an execution that is being stopped."""
    for action in execution.state.stage(stage_name).actions:
        if action.request and not action.finished:
            run_approval_step(conclude_approval, execution, stage_name, action.name)


def _read_decision(execution: Execution, stage_name: str, action_name: str) -> ActionState:
    """The current state of the approval. A new answer to the form, or the expiry, is recorded as the decision first."""
    known = execution.refresh().stage(stage_name).action(action_name)
    if known.finished or known.decision or not known.request:
        return known
    request, policy = known.request, execution.settings.approval_policy(stage_name, action_name)
    unread = _unread(execution, known)
    for key, answer in unread.items():
        comment = (answer.get("comment") or "")[:512]
        try:
            put_approval_result(execution.id, request.token, answer["decision"], FORM, comment)
        except ApprovalNotAllowed as refusal:
            _refuse(execution, request, key, str(refusal))
        except (ApprovalAlreadyCompletedException, InvalidApprovalTokenException):
            break  # it was decided in another way, or it has expired
    is_expired = utc_now() >= request.expires_at
    with suppress(ApprovalAlreadyCompletedException):
        settled = known.votes and settle_votes(execution.id, request.token, policy)
        if not settled and is_expired:
            expire_approval(execution.id, request.token, policy)
    if unread or known.votes or is_expired:
        execution.refresh()
    return execution.state.stage(stage_name).action(action_name)


def _unread(execution: Execution, known: ActionState) -> dict[str, dict[str, Any]]:
    """The answers to the form by their keys, without those that were refused before."""
    assert known.request, "only a requested approval has answers"
    refused = {refusal.answer for refusal in known.refusals}
    given = answers(execution.id, known.request.token)
    return {key: answer for key, answer in given.items() if is_decision(answer) and key not in refused}


def _refuse(execution: Execution, request: ApprovalRequested, answer_key: str, reason: str) -> None:
    execution.write(
        ApprovalRefused(at=utc_now(), token=request.token, by=FORM.label, reason=reason, answer=answer_key)
    )
    get_run_logger().warning(
        "The answer to action %r of stage %r was refused: %s", request.action, request.stage, reason
    )


def _suspend(execution: Execution, stage_name: str, known: ActionState) -> None:
    request = known.request
    assert request, "only a requested approval is waited for"

    def decided_while_suspending() -> Wake:
        decision = execution.record.get(f"approval-{request.token}-decision")
        if isinstance(decision, ApprovalDecided):
            return Wake(True, answer_of(decision))
        return Wake(execution.look_for_stop() is not None, WAKE_ONLY)

    form = form_of(execution.state, stage_name, request)
    message = f"waiting for approval of action {known.name!r} of stage {stage_name!r}"
    suspend(execution.id, message, decided_while_suspending, form)


def form_of(state: ExecutionState, stage_name: str, request: ApprovalRequested) -> Form:
    """What Prefect's Resume button asks a reviewer."""
    return Form(request.token, FORM_SCHEMA, describe(state, stage_name, request))


def describe(state: ExecutionState, stage_name: str, request: ApprovalRequested) -> str:
    """The text of the review form, as markdown."""
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
    lines += ["", *(f"The last answer was refused: {plain(r.reason)}." for r in asked.refusals[-1:])]
    lines += [
        "",
        f"Open until {request.expires_at:%Y-%m-%d %H:%M} UTC. Without an answer by then it counts as rejected.",
    ]
    return "\n".join(lines)
