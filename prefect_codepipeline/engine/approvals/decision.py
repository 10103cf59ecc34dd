"""Decide an approval from outside its flow: judge the answer, write the decision once, then wake the execution."""

from __future__ import annotations

from typing import Any, Literal

from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.errors import (
    ActionNotFoundException,
    ApprovalAlreadyCompletedException,
    ApprovalNotAllowed,
    InvalidApprovalTokenException,
    StageNotFoundException,
    ValidationException,
)
from prefect_codepipeline.model.approvals.policy import ApprovalPolicy, is_fulfilled, judge
from prefect_codepipeline.model.approver import Approver
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
# Fits every form, wakes the run, and decides nothing.
WAKE_ONLY = {"decision": "Rejected", "comment": "", DECIDED_ELSEWHERE: "-"}


def put_approval_result(
    execution_id: str, token: str, status: Answer, by: Approver | str, summary: str = ""
) -> ApprovalDecided | ApprovalVoted:
    """Answer an approval; the first answer counts, unless a policy asks for more.

    Args:
        execution_id: the pipeline execution that asks.
        token: of the approval, from its state.
        status: the answer.
        by: who decides; a text is a user at a terminal, `name@host`.
        summary: why, up to 512 characters.

    Returns:
        The decision, or the vote where the policy waits for more of them.

    Raises:
        ValidationException: the summary is too long.
        InvalidApprovalTokenException: the execution asks no such thing, or not any more.
        ApprovalNotAllowed: the policy does not let this answer count; says why.
        ApprovalAlreadyCompletedException: somebody was faster; says who, and what they decided.
    """
    if len(summary) > SUMMARY_LENGTH:
        raise ValidationException(f"the comment has {len(summary)} characters; the limit is {SUMMARY_LENGTH}")
    approver = Approver(via="cli", name=by) if isinstance(by, str) else by
    known = read_execution(execution_id)
    asked = _asked(known, token)
    if asked.decision is None:
        assert known.state, "what asks for an approval has begun"
        _check_is_open(asked, known.state)
        policy = approval_policy(known.state, asked)
        verdict = judge(policy, known.state, asked.votes, approver, status, utc_now())
        if verdict.kind == "refused":
            raise ApprovalNotAllowed(verdict.reason)
        if status == "Approved" and policy.quorum > 1:
            vote = ApprovalVoted(at=utc_now(), token=token, approver=approver)
            RecordOf(execution_id).write_or_read(vote)
            return settle_votes(execution_id, token, policy, summary) or vote
    return _decide(execution_id, token, status, approver.label, summary)


def settle_votes(
    execution_id: str, token: str, policy: ApprovalPolicy, summary: str = ""
) -> ApprovalDecided | None:
    """Decide when those who have voted are enough. Of several who vote at once, the last sees them all.

    Raises as `put_approval_result` does.
    """
    facts = RecordOf(execution_id).read(f"approval-{token}-vote-")
    votes = [fact for fact in facts if isinstance(fact, ApprovalVoted)]
    if not is_fulfilled(policy, votes):
        return None
    label = ", ".join(vote.approver.label for vote in votes)
    return _decide(execution_id, token, "Approved", label, summary)


def expire_approval(execution_id: str, token: str, policy: ApprovalPolicy) -> ApprovalDecided:
    """Write down that nobody decided in time, which means what the policy says.

    Raises:
        ApprovalAlreadyCompletedException: somebody did.
    """
    if policy.on_expiry == "Approve":
        return _decide(
            execution_id,
            token,
            "Approved",
            "codepipeline",
            "nobody decided in time, which the policy takes for a yes",
        )
    return _decide(execution_id, token, "Expired", "codepipeline", "")


def approval_policy(state: ExecutionState, action: ActionState) -> ApprovalPolicy:
    """The policy that an approval is under, as the pipeline's settings say it now."""
    assert action.request, "only what was asked for has a policy"
    settings = settings_of(state.pinned.pipeline_name, state.pinned.settings_id)
    return settings.approval_policy(action.request.stage, action.request.action)


def as_comment(text: str) -> str:
    """What somebody typed, as it may be kept: text that does nothing to a terminal, without space around it."""
    lines = text.replace("\r\n", "\n")
    return "".join(character for character in lines if character.isprintable() or character == "\n").strip()


def find_approval(known: KnownExecution, token: str) -> ActionState | None:
    """The approval with that token, of whichever attempt of its stage; None when there is none."""
    request = next((f for f in known.facts if isinstance(f, ApprovalRequested) and f.token == token), None)
    if request is None or known.state is None:
        return None
    stage = next((stage for stage in known.state.stages if stage.name == request.stage), None)
    action = next((a for a in stage.actions if a.name == request.action), None) if stage else None
    if action is None or (action.request and action.request.token == token):
        return action
    # An earlier attempt: what the current one stands at is not its affair.
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
    record = RecordOf(execution_id)
    is_first = record.write(fact)
    decided = fact if is_first else record.get(fact.key)
    assert isinstance(decided, ApprovalDecided), f"key {fact.key!r} holds {decided!r}"
    resume(execution_id, answer_of(decided))
    if not is_first:
        raise ApprovalAlreadyCompletedException(f"{decided.by} has decided already: {decided.status}")
    return decided


def _asked(known: KnownExecution, token: str) -> ActionState:
    asked = find_approval(known, token)
    if asked is None:
        raise InvalidApprovalTokenException(f"execution {known.id} has no approval with that token")
    request = asked.request
    assert request, "it was found by its request"
    if asked.finished and asked.finished.status == "Abandoned":
        raise InvalidApprovalTokenException(
            f"approval {request.action!r} of stage {request.stage!r} was abandoned when the execution was stopped"
        )
    return asked


def _check_is_open(asked: ActionState, state: ExecutionState) -> None:
    request = asked.request
    assert request, "it was found by its request"
    what = f"approval {request.action!r} of stage {request.stage!r}"
    if state.stop:
        raise InvalidApprovalTokenException(
            f"{what} is over: the execution was stopped by {state.stop.summary}"
        )
    if utc_now() >= request.expires_at:
        raise InvalidApprovalTokenException(f"{what} expired at {request.expires_at:%Y-%m-%d %H:%M} UTC")


def answer_of(decision: ApprovalDecided) -> dict[str, Any]:
    """What the run's form takes when a decision was made elsewhere.

    The form may be that of another approval of the same run, so the answer says that it decides nothing by itself.
    """
    decided = "Approved" if decision.status == "Approved" else "Rejected"
    return {"decision": decided, "comment": decision.summary, DECIDED_ELSEWHERE: decision.token}


def is_decision(answer: dict[str, Any]) -> bool:
    """Whether an answer to a form was given by somebody who read it."""
    return DECIDED_ELSEWHERE not in answer


def open_approval(
    state: ExecutionState, stage_name: str | None = None, action_name: str | None = None
) -> ApprovalRequested:
    """The approval that is meant by a stage and an action; neither is needed when only one is open.

    Raises:
        StageNotFoundException, ActionNotFoundException: no such stage or action in the pipeline.
        ValidationException: none is open there, or several are and it is not said which.
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
            f"execution {state.execution_id} of pipeline {state.pinned.pipeline_name!r} waits for no approval{where}"
        )
    open_ones = ", ".join(f"{request.stage} {request.action}" for request in requests)
    raise ValidationException(f"several approvals are open, say which: {open_ones}")
