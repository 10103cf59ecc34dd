"""`codepipeline approve` and `reject`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from rich.text import Text

from prefect_codepipeline.cli.session import connect, console, who

Comment = Annotated[str, Parameter(name=["--message", "-m"])]


def approve(
    name: str,
    stage: str | None = None,
    action: str | None = None,
    *,
    message: Comment = "",
    execution: str | None = None,
) -> int:
    """Approve what a pipeline waits for.

    Parameters
    ----------
    name:
        The pipeline.
    stage:
        The stage; needed when several approvals are open.
    action:
        The action; needed when several approvals of the stage are open.
    message:
        A comment, kept with the decision.
    execution:
        The id of another execution than the latest.
    """
    return _decide("Approved", name, stage, action, message, execution)


def reject(
    name: str,
    stage: str | None = None,
    action: str | None = None,
    *,
    message: Comment = "",
    execution: str | None = None,
) -> int:
    """Reject what a pipeline waits for: the action, its stage and the execution fail.

    Parameters
    ----------
    name:
        The pipeline.
    stage:
        The stage; needed when several approvals are open.
    action:
        The action; needed when several approvals of the stage are open.
    message:
        A comment, kept with the decision.
    execution:
        The id of another execution than the latest.
    """
    return _decide("Rejected", name, stage, action, message, execution)


def _decide(
    status: Literal["Approved", "Rejected"],
    name: str,
    stage: str | None,
    action: str | None,
    message: str,
    execution: str | None,
) -> int:
    connect()
    from prefect_codepipeline.errors import ValidationException
    from prefect_codepipeline.model.execution import ApprovalVoted
    from prefect_codepipeline.tasks.decision import open_approval, put_approval_result
    from prefect_codepipeline.tasks.executions import read_execution, waiting_execution

    known = read_execution(execution) if execution else waiting_execution(name)
    if known.state is None:
        raise ValidationException(f"execution {known.id} of pipeline {name!r} has not begun")
    request = open_approval(known.state, stage, action)
    written = put_approval_result(known.id, request.token, status, who(), message)
    more = "; the policy asks for more approvals" if isinstance(written, ApprovalVoted) else ""
    what = f"action {request.action!r} of stage {request.stage!r} of pipeline {name!r}"
    console.print(Text(f"{status.lower()}: {what}{more}"))
    return 0
