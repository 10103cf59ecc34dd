"""Follow an execution: a live tree on a terminal, lines in a pipe, and prompts for approvals."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from rich.live import Live
from rich.prompt import Prompt
from rich.text import Text

from prefect_codepipeline.cli.executions.tree import execution_view, gate_lines, retry_command, revision_lines
from prefect_codepipeline.cli.session import console, print_whole, who
from prefect_codepipeline.engine.approvals.decision import put_approval_result
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.gate_state import Gates
from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.errors import ApprovalAlreadyCompletedException
from prefect_codepipeline.model.record.facts import ApprovalRequested

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

POLL_SECONDS = 0.4
_ENDED = ("COMPLETED", "FAILED", "CANCELLED")
Answer = Literal["Approved", "Rejected"]
_ANSWERS: dict[str, Answer | None] = {
    **dict.fromkeys(("y", "yes", "approve"), "Approved"),
    **dict.fromkeys(("n", "no", "reject"), "Rejected"),
    **dict.fromkeys(("", "l", "leave"), None),
}


def watch(
    execution_id: str,
    name: str,
    *,
    approve: bool = False,
    ask: bool = True,
    display: bool = True,
    is_over: Callable[[], bool] = lambda: False,
) -> KnownExecution:
    """Display the execution until it ends. Returns its final state.

    Args:
        execution_id: the execution's id.
        name: the pipeline.
        approve: approve everything without asking.
        ask: ask the user for approvals, if standard input and output are a terminal.
        display: display the progress.
        is_over: returns True once the process that ran it has ended, whatever the record says.
    """
    can_ask = ask and sys.stdin.isatty() and console.is_terminal
    printed: set[str] = set()
    left_open: set[str] = set()
    # What is displayed while it waits is removed at the end, and printed as a whole.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            is_last_poll = is_over()
            execution = read_execution(execution_id)
            has_ended = execution.run["state_type"] in _ENDED or is_last_poll
            gates = Gates() if has_ended or not display else read_gates(name)
            view = execution_view(name, execution, gates)
            if display and console.is_terminal:
                live.update(_Bottom(view), refresh=True)
            elif display:
                _print_changes(execution, gates, printed)
            if has_ended:
                break
            for request in _open_requests(execution):
                if approve:
                    _decide(execution_id, request, "Approved", "approved by --approve")
                elif can_ask and request.token not in left_open:
                    live.stop()
                    print_whole(view)
                    if not _ask(execution, request):
                        left_open.add(request.token)
                    live.start(refresh=True)
            time.sleep(POLL_SECONDS)
    if display:
        _print_end(execution, view)
    return execution


def exit_code(execution: KnownExecution) -> int:
    """0 if the execution succeeded, else 1."""
    return 0 if execution.status == "Succeeded" else 1


class _Bottom:
    """A view in as many lines as the terminal has: of a longer one the end, where the reasons and commands are."""

    def __init__(self, view: RenderableType) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(
            self._view, options.update(height=None, no_wrap=False, overflow="fold"), pad=False, new_lines=True
        )
        room = console.size.height - 1
        if len(lines) > room:
            yield Text("…", "dim")
            lines = lines[len(lines) - room + 1 :]
        for line in lines:
            yield from line


def _print_end(execution: KnownExecution, view: RenderableType) -> None:
    """Print on a terminal the whole view; in a pipe, which has a line for each change, the rest of it."""
    if console.is_terminal:
        print_whole(view)
        return
    state = execution.state
    for line in revision_lines(state) if state else []:
        console.print(Text(line))
    console.print(Text(f"{execution.status}: {execution.summary}".removesuffix(": ")))
    if command := retry_command(execution):
        console.print(Text(f"retry with: {command}"))


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
    status = _choice()
    if status is None:
        return False
    comment = Prompt.ask("  comment", default="", show_default=False, console=console)
    _decide(execution.id, request, status, comment)
    return True


def _choice() -> Answer | None:
    """The answer of the user; None to leave the approval open."""
    while True:
        question = "  y approves, n rejects, Enter leaves it open"
        text = Prompt.ask(question, default="", show_default=False, console=console).strip().lower()
        if text in _ANSWERS:
            return _ANSWERS[text]
        console.print(Text(f"  {text!r} is no answer", "red"))


def _decide(execution_id: str, request: ApprovalRequested, status: Answer, comment: str) -> None:
    try:
        put_approval_result(execution_id, request.token, status, who(), comment[:512])
    except ApprovalAlreadyCompletedException as error:
        console.print(Text(f"  {error}"))


def _print_changes(execution: KnownExecution, gates: Gates, printed: set[str]) -> None:
    """Print one line for each change since the last poll, for logs and pipes."""
    lines = [] if execution.state else [f"execution {execution.id} has not started; it waits for a worker"]
    for stage, action in execution.state.actions if execution.state else ():
        waits = action.is_waiting_for_approval
        status = "waiting for approval" if waits else action.status
        if status:
            key = f"{stage.name}/{action.name}#{action.attempt}: {status}".replace("#1:", ":")
            details = f" ({action.summary.strip()})" if action.summary and not waits else ""
            _print_once(key, key + details, printed)
    for line in (*lines, *gate_lines(gates)):
        _print_once(line, line, printed)


def _print_once(key: str, line: str, printed: set[str]) -> None:
    if key not in printed:
        printed.add(key)
        console.print(Text(line))
