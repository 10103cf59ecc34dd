"""`codepipeline logs`: what the actions of an execution printed, as Prefect keeps it."""

from __future__ import annotations

import time
from typing import Any

from rich.text import Text

from prefect_codepipeline.cli.session import connect, console
from prefect_codepipeline.errors import ActionNotFoundException

_PAGE = 200
_ENDED = ("COMPLETED", "FAILED", "CANCELLED")


def logs(name: str, action: str | None = None, *, follow: bool = False, execution: str | None = None) -> int:
    """The log of an execution, or of one action of it.

    Parameters
    ----------
    name:
        The pipeline.
    action:
        One action only.
    follow:
        Go on until the execution ends.
    execution:
        The id of another execution than the latest.
    """
    connect()
    from prefect_codepipeline.engine.executions.lookup import latest_execution, read_execution

    known = read_execution(execution) if execution else latest_execution(name)
    if action and known.state and action not in (names := [a.name for _, a in known.state.actions]):
        raise ActionNotFoundException(
            f"pipeline {name!r} has no action {action!r}; it has: {', '.join(names)}"
        )
    offset = 0
    while True:
        ended = read_execution(known.id).run["state_type"] in _ENDED
        offset += _print_from(known.id, action, offset)
        if not follow or ended:
            return 0
        time.sleep(0.5)


def _print_from(execution_id: str, action: str | None, offset: int) -> int:
    from prefect_codepipeline.engine.executions.lookup import log_page

    printed = 0
    while page := log_page(execution_id, action, offset + printed, _PAGE):
        for line in page:
            console.print(_line(line))
        printed += len(page)
        if len(page) < _PAGE:
            break
    return printed


def _line(line: dict[str, Any]) -> Text:
    style = "red" if line["level"] >= 40 else "yellow" if line["level"] >= 30 else ""
    return Text.assemble((f"{line['timestamp'][11:19]} ", "dim"), (line["message"].rstrip("\n"), style))
