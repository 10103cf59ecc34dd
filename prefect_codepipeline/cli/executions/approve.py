"""`codepipeline approve`, `reject` and `approval-link`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer
from prefect_codepipeline.cli.parameters import (
    AsJson,
    PipelineName,
    WaitingActionName,
    WaitingExecutionId,
    WaitingStageName,
)
from prefect_codepipeline.cli.session import connect, who

if TYPE_CHECKING:
    from prefect_codepipeline.model.record.facts import ApprovalRequested

Comment = Annotated[str, Parameter(name=["--message", "-m"], help="A comment, stored with the decision.")]


def approve(
    name: PipelineName,
    stage: WaitingStageName = None,
    action: WaitingActionName = None,
    *,
    message: Comment = "",
    execution: WaitingExecutionId = None,
    json: AsJson = False,
) -> int:
    """Approve an open approval of a pipeline."""
    return _decide("Approved", name, stage, action, message, execution, json)


def reject(
    name: PipelineName,
    stage: WaitingStageName = None,
    action: WaitingActionName = None,
    *,
    message: Comment = "",
    execution: WaitingExecutionId = None,
    json: AsJson = False,
) -> int:
    """Reject an open approval of a pipeline: the action, its stage and the execution fail."""
    return _decide("Rejected", name, stage, action, message, execution, json)


def approval_link(
    name: PipelineName,
    stage: WaitingStageName = None,
    action: WaitingActionName = None,
    *,
    to: str | None = None,
    execution: WaitingExecutionId = None,
    json: AsJson = False,
) -> int:
    """Print the link to the page of an approval. Everyone who has the link can decide.

    Parameters
    ----------
    to:
        The e-mail address of the person for whom the link is; a decision by the link is recorded under it.
    """
    connect()
    from prefect_codepipeline.engine.approvals.links import approval_link, load_gateway
    from prefect_codepipeline.errors import MissingBlock

    execution_id, request = _open(name, stage, action, execution)
    gateway = load_gateway()
    link = (
        approval_link(gateway, execution_id, request.token, request.expires_at, to or "") if gateway else None
    )
    if link is None:
        raise MissingBlock(
            "the gateway's URL is not known; start the gateway with `codepipeline gateway --url URL`"
        )
    answer(json, {"pipelineExecutionId": execution_id, "token": request.token, "url": link}, link)
    return 0


def _open(
    name: str, stage: str | None, action: str | None, execution: str | None
) -> tuple[str, ApprovalRequested]:
    from prefect_codepipeline.engine.approvals.decision import open_approval
    from prefect_codepipeline.engine.executions.lookup import find_execution, waiting_execution
    from prefect_codepipeline.errors import ValidationException

    known = find_execution(name, execution) if execution else waiting_execution(name)
    if known.state is None:
        raise ValidationException(f"execution {known.id} of pipeline {name!r} has not started")
    return known.id, open_approval(known.state, stage, action)


def _decide(
    status: Literal["Approved", "Rejected"],
    name: str,
    stage: str | None,
    action: str | None,
    message: str,
    execution: str | None,
    json: bool,
) -> int:
    connect()
    from prefect_codepipeline.engine.approvals.decision import put_approval_result
    from prefect_codepipeline.model.record.facts import ApprovalVoted

    execution_id, request = _open(name, stage, action, execution)
    written = put_approval_result(execution_id, request.token, status, who(), message)
    more = "; the policy requires more approvals" if isinstance(written, ApprovalVoted) else ""
    what = f"action {request.action!r} of stage {request.stage!r} of pipeline {name!r}"
    result = {
        "pipelineExecutionId": execution_id,
        "stageName": request.stage,
        "actionName": request.action,
        "status": status,
        "isDecided": not more,
    }
    answer(json, result, f"{status.lower()}: {what}{more}")
    return 0
