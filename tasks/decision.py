"""Decide an approval from outside its flow: write the decision once, then wake the execution."""

from __future__ import annotations

from typing import Any, Literal

from prefect_codepipeline.errors import (
    ActionNotFoundException,
    ApprovalAlreadyCompletedException,
    InvalidApprovalTokenException,
    StageNotFoundException,
    ValidationException,
)
from prefect_codepipeline.model.execution import ActionFinished, ApprovalDecided, ApprovalRequested
from prefect_codepipeline.model.state import ExecutionState
from prefect_codepipeline.tasks.record import RecordOf, utc_now
from prefect_codepipeline.tasks.suspension import resume

SUMMARY_LENGTH = 512
DECIDED_ELSEWHERE = "decided_elsewhere"
# Fits every form, wakes the run, and decides nothing.
WAKE_ONLY = {"decision": "Rejected", "comment": "", DECIDED_ELSEWHERE: "-"}


def put_approval_result(
    execution_id: str,
    token: str,
    status: Literal["Approved", "Rejected", "Expired"],
    by: str,
    summary: str = "",
) -> ApprovalDecided:
    """Answer an approval; the first answer counts.

    Args:
        execution_id: the pipeline execution that asks.
        token: of the approval, from its state.
        status: `Expired` when nobody answered in time.
        by: who decides.
        summary: why, up to 512 characters.

    Raises:
        ValidationException: the summary is too long.
        InvalidApprovalTokenException: the execution asks no such thing, or not any more.
        ApprovalAlreadyCompletedException: somebody was faster; says who, and what they decided.
    """
    if len(summary) > SUMMARY_LENGTH:
        raise ValidationException(f"the comment has {len(summary)} characters; the limit is {SUMMARY_LENGTH}")
    fact = ApprovalDecided(at=utc_now(), token=token, status=status, by=by, summary=summary)
    record = RecordOf(execution_id)
    _check_token(record, token)
    is_first = record.write(fact)
    decided = fact if is_first else record.get(fact.key)
    assert isinstance(decided, ApprovalDecided), f"key {fact.key!r} holds {decided!r}"
    resume(execution_id, answer_of(decided))
    if not is_first:
        raise ApprovalAlreadyCompletedException(f"{decided.by} has decided already: {decided.status}")
    return decided


def _check_token(record: RecordOf, token: str) -> None:
    facts = record.read()
    request = next((f for f in facts if isinstance(f, ApprovalRequested) and f.token == token), None)
    if request is None:
        raise InvalidApprovalTokenException(
            f"execution {record.execution_id} has no approval with that token"
        )
    ended = {
        (f.stage, f.action, f.attempt)
        for f in facts
        if isinstance(f, ActionFinished) and f.status == "Abandoned"
    }
    if (request.stage, request.action, request.attempt) in ended:
        raise InvalidApprovalTokenException(
            f"approval {request.action!r} of stage {request.stage!r} was abandoned when the execution was stopped"
        )


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
