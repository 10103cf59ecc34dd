"""Follow an execution at the terminal: a live tree, lines in a pipe, and approvals asked for."""

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
    """Show the execution until it ends; how it ended.

    Args:
        execution_id: its id.
        approve: approve everything without a question.
        ask: ask for approvals where somebody sits at the terminal.
        is_over: True when the process that ran it has ended, whatever the record says.
    """
    can_ask = ask and sys.stdin.isatty() and console.is_terminal
    shown: set[str] = set()
    left_open: set[str] = set()
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            last_look = is_over()
            execution = read_execution(execution_id)
            if console.is_terminal:
                live.update(
                    execution_tree(execution.state, execution.status)
                    if execution.state
                    else Text("starting …"),
                    refresh=True,
                )
            else:
                _print_news(execution, shown)
            if execution.run["state_type"] in _ENDED or last_look:
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
    """0 when the execution succeeded; prints why when it did not."""
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
    """Ask for a decision; False when it is left to somebody else."""
    assert execution.state, "an approval is asked for by a state"
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


def _print_news(execution: KnownExecution, shown: set[str]) -> None:
    """One line for each thing that happened since the last look, for logs and pipes."""
    if execution.state is None:
        return
    for stage, action in execution.state.actions:
        waits = action.is_waiting_for_approval
        status = "waiting for approval" if waits else action.status
        key = f"{stage.name}/{action.name}#{action.attempt}: {status}"
        if status and key not in shown:
            shown.add(key)
            details = f" ({action.summary.strip()})" if action.summary and not waits else ""
            console.print(Text(key.replace("#1:", ":") + details))
