"""Follow an execution: a live tree on a terminal, lines in a pipe, and prompts for approvals."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.live import Live
from rich.prompt import Prompt
from rich.text import Text

from prefect_codepipeline.cli.executions.tree import execution_tree, revision_lines
from prefect_codepipeline.cli.session import console, who
from prefect_codepipeline.engine.approvals.decision import put_approval_result
from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.errors import ApprovalAlreadyCompletedException
from prefect_codepipeline.model.record.facts import ApprovalRequested

POLL_SECONDS = 0.4
_ENDED = ("COMPLETED", "FAILED", "CANCELLED")


def watch(
    execution_id: str,
    *,
    approve: bool = False,
    ask: bool = True,
    is_over: Callable[[], bool] = lambda: False,
) -> KnownExecution:
    """Display the execution until it ends. Returns its final state.

    Args:
        execution_id: the execution's id.
        approve: approve everything without asking.
        ask: ask the user for approvals, if standard input and output are a terminal.
        is_over: returns True once the process that ran it has ended, whatever the record says.
    """
    can_ask = ask and sys.stdin.isatty() and console.is_terminal
    printed: set[str] = set()
    left_open: set[str] = set()
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            is_last_poll = is_over()
            execution = read_execution(execution_id)
            if console.is_terminal:
                live.update(
                    execution_tree(execution.state, execution.status)
                    if execution.state
                    else Text("starting …"),
                    refresh=True,
                )
            else:
                _print_changes(execution, printed)
            if execution.run["state_type"] in _ENDED or is_last_poll:
                return execution
            for request in _open_requests(execution):
                if approve:
                    _decide(execution_id, request, "Approved", "approved by --approve")
                elif can_ask and request.token not in left_open:
                    live.stop()
                    if not _ask(execution, request):
                        left_open.add(request.token)
                    live.start(refresh=True)
            time.sleep(POLL_SECONDS)


def exit_code(execution: KnownExecution) -> int:
    """0 if the execution succeeded; otherwise prints the reason and returns 1."""
    if execution.status == "Succeeded":
        return 0
    why = execution.state.summary if execution.state else ""
    why = why or (execution.run.get("state") or {}).get("message") or ""
    console.print(Text(f"{execution.status}: {why}" if why else execution.status, "red"))
    return 1


def _open_requests(execution: KnownExecution) -> list[ApprovalRequested]:
    if execution.state is None:
        return []
    return [action.request for _, action in execution.state.open_approvals if action.request]


def _ask(execution: KnownExecution, request: ApprovalRequested) -> bool:
    """Ask the user for a decision. Returns False if the user leaves the approval open."""
    assert execution.state, "only a recorded state has open approvals"
    console.print()
    console.print(Text(f"Approve {request.action!r} in stage {request.stage!r}?", "bold yellow"))
    for line in (request.custom_data, request.external_entity_link, *revision_lines(execution.state)):
        if line:
            console.print(Text(f"  {line}"))
    choice = Prompt.ask(
        "  approve, reject, or leave it open", choices=["approve", "reject", "leave"], console=console
    )
    if choice == "leave":
        return False
    comment = Prompt.ask("  comment", default="", show_default=False, console=console)
    _decide(execution.id, request, "Approved" if choice == "approve" else "Rejected", comment)
    return True


def _decide(execution_id: str, request: ApprovalRequested, status: str, comment: str) -> None:
    try:
        put_approval_result(
            execution_id,
            request.token,
            "Approved" if status == "Approved" else "Rejected",
            who(),
            comment[:512],
        )
    except ApprovalAlreadyCompletedException as error:
        console.print(Text(f"  {error}"))


def _print_changes(execution: KnownExecution, printed: set[str]) -> None:
    """Print one line for each change since the last poll, for logs and pipes."""
    if execution.state is None:
        return
    for stage, action in execution.state.actions:
        waits = action.is_waiting_for_approval
        status = "waiting for approval" if waits else action.status
        key = f"{stage.name}/{action.name}#{action.attempt}: {status}"
        if status and key not in printed:
            printed.add(key)
            details = f" ({action.summary.strip()})" if action.summary and not waits else ""
            console.print(Text(key.replace("#1:", ":") + details))
