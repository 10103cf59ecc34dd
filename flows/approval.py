"""Prefect's form for manual approvals, and the answers to it. Only a recorded decision lets an execution pass.

https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals.html
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from prefect import get_run_logger

from prefect_codepipeline.engine.approvals.decision import is_decision, put_approval_result, settle_votes
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import (
    AnswerUnconfirmed,
    ApprovalAlreadyCompletedException,
    ApprovalNotAllowed,
    InvalidApprovalTokenException,
    PrefectUnavailable,
)
from prefect_codepipeline.model.approvals.policy import is_fulfilled
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.record.facts import ApprovalRefused, ApprovalRequested
from prefect_codepipeline.model.record.state import ActionState, ExecutionState
from prefect_codepipeline.model.views.page import plain, revision_text
from prefect_codepipeline.prefect_api.suspension import Form, answers

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


def take_answers(execution: Execution, actions: Iterable[ActionState], *, only_votes: bool = False) -> None:
    """Record the decisions of open approvals that the answers to Prefect's form, or their votes, amount to.

    The form can be answered only while the run is suspended, so a process reads its answers once; `only_votes` is for
    later looks.
    """
    for known in actions:
        if not known.is_waiting_for_approval or execution.state.stop:
            continue
        if not only_votes:
            _take_form_answers(execution, known)
        _take_votes(execution, known)


def _take_form_answers(execution: Execution, known: ActionState) -> None:
    request = known.request
    assert request, "only a requested approval has answers"
    unread = _unread(execution, known)
    for key, answer in unread.items():
        comment = (answer.get("comment") or "")[:512]
        try:
            put_approval_result(execution.id, request.token, answer["decision"], FORM, comment)
        except ApprovalNotAllowed as refusal:
            _refuse(execution, request, key, str(refusal))
        except (ApprovalAlreadyCompletedException, InvalidApprovalTokenException):
            break  # it was decided in another way, or it has expired
    if unread:
        execution.look_for(f"approval-{request.token}-")


def _take_votes(execution: Execution, known: ActionState) -> None:
    """Decide in place of a voter that was interrupted between the last vote and the decision."""
    request = known.request
    if not request or not known.votes:
        return
    policy = execution.settings.approval_policy(request.stage, request.action)
    if is_fulfilled(policy, known.votes):
        # What cannot be read or written now is tried again at the next look.
        with suppress(ApprovalAlreadyCompletedException, AnswerUnconfirmed, PrefectUnavailable):
            settle_votes(execution.id, request.token, policy)
        with suppress(PrefectUnavailable):
            execution.look_for(f"approval-{request.token}-")


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


def first_form(state: ExecutionState) -> Form | None:
    """What Prefect's Resume button asks: the first open approval; None if none is open."""
    for stage, action in state.open_approvals:
        if action.request and not stage.finished:
            return form_of(state, stage.name, action.request)
    return None


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
