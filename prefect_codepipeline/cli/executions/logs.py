"""`codepipeline logs`: print the logs of an execution's actions, as Prefect stores them."""

from __future__ import annotations

import time
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from prefect_codepipeline.cli.output import print_json_line
from prefect_codepipeline.cli.parameters import ExecutionId, PipelineName
from prefect_codepipeline.cli.session import connect, console
from prefect_codepipeline.errors import ActionNotFoundException

_PAGE = 200
# Prefect's engine repeats the end of each run, after the sentence that says why.
_PREFECTS_OWN = "Finished in state "
_ENDED = ("COMPLETED", "FAILED", "CANCELLED")


def logs(
    name: PipelineName,
    action: str | None = None,
    *,
    follow: bool = False,
    execution: ExecutionId = None,
    json: Annotated[bool, Parameter(help="Print each line as JSON.")] = False,
) -> int:
    """Print the log of an execution, or of one action.

    Parameters
    ----------
    action:
        Name of the action; all actions by default.
    follow:
        Continue until the execution ends.
    """
    connect()
    from prefect_codepipeline.engine.executions.lookup import find_execution, read_execution

    known = find_execution(name, execution)
    if action and known.state and action not in (names := [a.name for _, a in known.state.actions]):
        raise ActionNotFoundException(
            f"pipeline {name!r} has no action {action!r}; it has: {', '.join(names)}"
        )
    offset = 0
    while True:
        ended = read_execution(known.id).run["state_type"] in _ENDED
        offset += _print_from(known.id, action, offset, json)
        if not follow or ended:
            return 0
        time.sleep(0.5)


def _print_from(execution_id: str, action: str | None, offset: int, json: bool) -> int:
    from prefect_codepipeline.engine.executions.lookup import log_page

    printed = 0
    while True:
        lines, read = log_page(execution_id, action, offset + printed, _PAGE)
        for line in lines:
            if line["message"].startswith(_PREFECTS_OWN):
                continue
            if json:
                print_json_line({key: line[key] for key in ("timestamp", "level", "message")})
            else:
                console.print(_line(line))
        printed += read
        if read < _PAGE:
            return printed


def _line(line: dict[str, Any]) -> Text:
    style = "red" if line["level"] >= 40 else "yellow" if line["level"] >= 30 else ""
    return Text.assemble((f"{line['timestamp'][11:19]} ", "dim"), (line["message"].rstrip("\n"), style))
