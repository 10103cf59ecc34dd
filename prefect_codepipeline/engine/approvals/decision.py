"""Decide an approval from outside its flow: check the answer, write the decision once, then resume the execution."""

from __future__ import annotations

import logging
from typing import Any, Literal

from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.errors import (
    ActionNotFoundException,
    AnswerUnconfirmed,
    ApprovalAlreadyCompletedException,
    ApprovalNotAllowed,
    InvalidApprovalTokenException,
    PrefectUnavailable,
    StageNotFoundException,
    ValidationException,
)
from prefect_codepipeline.model.approvals.policy import ApprovalPolicy, is_fulfilled, judge
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ApprovalDecided,
    ApprovalRequested,
    ApprovalVoted,
)
from prefect_codepipeline.model.record.state import ActionState, ExecutionState
from prefect_codepipeline.prefect_api.suspension import resume

Answer = Literal["Approved", "Rejected"]
SUMMARY_LENGTH = 512
DECIDED_ELSEWHERE = "decided_elsewhere"
# Valid for every form; resumes the flow run without deciding anything.
WAKE_ONLY = {"decision": "Rejected", "comment": "", DECIDED_ELSEWHERE: "-"}
_logger = logging.getLogger(__name__)


def put_approval_result(
    execution_id: str, token: str, status: Answer, by: Approver | str, summary: str = ""
) -> ApprovalDecided | ApprovalVoted:
    """Answer an approval; the first answer decides, unless a policy requires several.

    Args:
        execution_id: the pipeline execution that waits for the approval.
        token: the token of the approval, from the execution's state.
        status: the answer.
        by: the approver; a text is a user at a terminal, `name@host`.
        summary: the reason, up to 512 characters.

    Returns:
        The decision, or the vote if the policy requires more votes.

    Raises:
        ValidationException: the summary is too long.
        InvalidApprovalTokenException: the execution has no such approval, or the approval has ended.
        ApprovalNotAllowed: the policy does not accept this answer; the message gives the reason.
        ApprovalAlreadyCompletedException: the approval is decided already; the message names the approver and the
            decision.
        AnswerUnconfirmed: Prefect did not answer when the answer was written; it may be recorded, or not.
        PrefectUnavailable: Prefect did not answer before; nothing is recorded.
    """
    if len(summary) > SUMMARY_LENGTH:
        raise ValidationException(f"the comment has {len(summary)} characters; the limit is {SUMMARY_LENGTH}")
    approver = Approver(via="cli", name=by) if isinstance(by, str) else by
    known = read_execution(execution_id)
    asked = _find_or_refuse(known, token)
    if asked.decision is None:
        assert known.state, "an execution that requested an approval has started"
        _check_is_open(asked, known.state)
        policy = approval_policy(known.state, asked)
        verdict = judge(policy, known.state, asked.votes, approver, status, utc_now())
        if verdict.kind == "refused":
            raise ApprovalNotAllowed(verdict.reason)
        if status == "Approved" and policy.quorum > 1:
            return _vote(
                execution_id, ApprovalVoted(at=utc_now(), token=token, approver=approver), policy, summary
            )
    return _decide(execution_id, token, status, approver.label, summary)


def _vote(
    execution_id: str, vote: ApprovalVoted, policy: ApprovalPolicy, summary: str
) -> ApprovalDecided | ApprovalVoted:
    try:
        RecordOf(execution_id).write_or_read(vote)
    except PrefectUnavailable as error:
        raise _unconfirmed(execution_id, "vote", error) from error
    try:
        return settle_votes(execution_id, vote.token, policy, summary) or vote
    except PrefectUnavailable as error:
        _logger.warning(
            "execution %s: the vote is recorded; reconcile will count the votes: %s", execution_id, error
        )
        return vote


def settle_votes(
    execution_id: str, token: str, policy: ApprovalPolicy, summary: str = ""
) -> ApprovalDecided | None:
    """Write the decision if there are enough votes. Of several concurrent voters, the last one sees all votes.

    Raises the same errors as `put_approval_result`.
    """
    facts = RecordOf(execution_id).read(f"approval-{token}-vote-")
    votes = [fact for fact in facts if isinstance(fact, ApprovalVoted)]
    if not is_fulfilled(policy, votes):
        return None
    label = ", ".join(vote.approver.label for vote in votes)
    return _decide(execution_id, token, "Approved", label, summary)


def expire_approval(execution_id: str, token: str, policy: ApprovalPolicy) -> ApprovalDecided:
    """Write the decision of the policy for an approval that was not decided in time.

    Raises:
        ApprovalAlreadyCompletedException: an approver decided before.
    """
    if policy.on_expiry == "Approve":
        return _decide(
            execution_id,
            token,
            "Approved",
            "codepipeline",
            "no approver decided in time, and the policy then approves",
        )
    return _decide(execution_id, token, "Expired", "codepipeline", "")


def approval_policy(state: ExecutionState, action: ActionState) -> ApprovalPolicy:
    """The policy of an approval, from the pipeline's current settings."""
    assert action.request, "only a requested approval has a policy"
    settings = settings_of(state.pinned.pipeline_name, state.pinned.settings_id)
    return settings.approval_policy(action.request.stage, action.request.action)


def as_comment(text: str) -> str:
    """Make a user's text safe to store: without control characters and without surrounding space."""
    return printable(text.replace("\r\n", "\n"), kept="\n").strip()


def find_approval(known: KnownExecution, token: str) -> ActionState | None:
    """The approval with that token, from any attempt of its stage, or None if there is none."""
    request = next((f for f in known.facts if isinstance(f, ApprovalRequested) and f.token == token), None)
    if request is None or known.state is None:
        return None
    stage = next((stage for stage in known.state.stages if stage.name == request.stage), None)
    action = next((a for a in stage.actions if a.name == request.action), None) if stage else None
    if action is None or (action.request and action.request.token == token):
        return action
    # The token is from an earlier attempt: rebuild the action's state from the facts of that attempt.
    decision = next((f for f in known.facts if isinstance(f, ApprovalDecided) and f.token == token), None)
    where = (request.stage, request.action, request.attempt)
    finished = next(
        (f for f in known.facts if isinstance(f, ActionFinished) and (f.stage, f.action, f.attempt) == where),
        None,
    )
    return ActionState(action.action, None, finished, request, decision)


def _decide(
    execution_id: str,
    token: str,
    status: Literal["Approved", "Rejected", "Expired"],
    by: str,
    summary: str,
) -> ApprovalDecided:
    fact = ApprovalDecided(at=utc_now(), token=token, status=status, by=by, summary=summary)
    try:
        decided = RecordOf(execution_id).write_or_read(fact)
    except PrefectUnavailable as error:
        decided = _read_back(execution_id, fact, error)
    # The time and the approver distinguish our fact from that of another.
    if decided != fact:  # the first one resumes the execution, and reconcile does if that failed
        raise ApprovalAlreadyCompletedException(f"{decided.by} has decided already: {decided.status}")
    _wake(execution_id, decided)
    return decided


def _read_back(execution_id: str, fact: ApprovalDecided, cause: PrefectUnavailable) -> ApprovalDecided:
    """The decision that is recorded after a write without a response."""
    try:
        recorded = RecordOf(execution_id).get(fact.key)
    except PrefectUnavailable:
        recorded = None
    if not isinstance(recorded, ApprovalDecided):  # the server may still execute the write
        raise _unconfirmed(execution_id, f"answer {fact.status!r}", cause) from cause
    return recorded


def _unconfirmed(execution_id: str, what: str, cause: PrefectUnavailable) -> AnswerUnconfirmed:
    return AnswerUnconfirmed(
        f"Prefect did not confirm the {what} for execution {execution_id}: it may be recorded, or not; "
        f"look at the execution before you answer again ({cause})"
    )


def _wake(execution_id: str, decided: ApprovalDecided) -> None:
    """Resume the execution. The decision stands whether this works or not: reconcile resumes what was decided."""
    try:
        resume(execution_id, answer_of(decided))
    except PrefectUnavailable as error:
        _logger.warning(
            "execution %s: the decision is recorded, but the execution could not be resumed; reconcile will do it: %s",
            execution_id,
            error,
        )


def _find_or_refuse(known: KnownExecution, token: str) -> ActionState:
    asked = find_approval(known, token)
    if asked is None:
        raise InvalidApprovalTokenException(f"execution {known.id} has no approval with that token")
    request = asked.request
    assert request, "the action was found by its approval request"
    if asked.finished and asked.finished.status == "Abandoned":
        raise InvalidApprovalTokenException(
            f"approval {request.action!r} of stage {request.stage!r} was abandoned when the execution was stopped"
        )
    return asked


def _check_is_open(asked: ActionState, state: ExecutionState) -> None:
    request = asked.request
    assert request, "the action was found by its approval request"
    what = f"approval {request.action!r} of stage {request.stage!r}"
    if state.stop:
        raise InvalidApprovalTokenException(
            f"{what} has ended: the execution was stopped by {state.stop.summary}"
        )
    if utc_now() >= request.expires_at:
        raise InvalidApprovalTokenException(f"{what} expired at {request.expires_at:%Y-%m-%d %H:%M} UTC")


def answer_of(decision: ApprovalDecided) -> dict[str, Any]:
    """The input for the flow run's form if the decision was made elsewhere.

    The form may belong to another approval of the same flow run, so this answer is marked as deciding nothing.
    """
    decided = "Approved" if decision.status == "Approved" else "Rejected"
    return {"decision": decided, "comment": decision.summary, DECIDED_ELSEWHERE: decision.token}


def is_decision(answer: dict[str, Any]) -> bool:
    """Whether an answer to a form came from a user, and not from a decision made elsewhere."""
    return DECIDED_ELSEWHERE not in answer


def open_approval(
    state: ExecutionState, stage_name: str | None = None, action_name: str | None = None
) -> ApprovalRequested:
    """The open approval of a stage and an action; both can be omitted if only one approval is open.

    Raises:
        StageNotFoundException, ActionNotFoundException: the pipeline has no such stage or action.
        ValidationException: no approval is open there, or several are open and it is not clear which one is meant.
    """
    stages = [stage.name for stage in state.stages]
    if stage_name and stage_name not in stages:
        raise StageNotFoundException(f"there is no stage {stage_name!r}; there are: {', '.join(stages)}")
    if stage_name and action_name:
        names = [action.name for action in state.stage(stage_name).actions]
        if action_name not in names:
            raise ActionNotFoundException(
                f"stage {stage_name!r} has no action {action_name!r}; it has: {', '.join(names)}"
            )
    requests = [
        action.request
        for stage, action in state.open_approvals
        if action.request and stage_name in (None, stage.name) and action_name in (None, action.name)
    ]
    if len(requests) == 1:
        return requests[0]
    if not requests:
        where = f" in stage {stage_name!r}" if stage_name else ""
        raise ValidationException(
            f"execution {state.execution_id} of pipeline {state.pinned.pipeline_name!r} does not wait for an approval"
            f"{where}"
        )
    open_ones = ", ".join(f"{request.stage} {request.action}" for request in requests)
    raise ValidationException(
        f"several approvals are open; name the stage and the action of one: {open_ones}"
    )
