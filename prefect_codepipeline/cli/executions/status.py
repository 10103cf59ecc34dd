"""`codepipeline status` and `executions`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from prefect_codepipeline.cli.output import print_json, print_table
from prefect_codepipeline.cli.parameters import AsJson, PipelineName
from prefect_codepipeline.cli.session import connect, console, print_whole
from prefect_codepipeline.model.views.pipeline_stages import short

if TYPE_CHECKING:
    from prefect_codepipeline.engine.executions.lookup import KnownExecution
    from prefect_codepipeline.engine.operations.pipeline_state import PipelineState


def status(
    name: PipelineName,
    *,
    execution: Annotated[
        str | None, Parameter(help="Show this execution instead of the pipeline; its id.")
    ] = None,
    watch: Annotated[bool, Parameter(negative=())] = False,
    exit_status: Annotated[bool, Parameter(negative=())] = False,
    json: AsJson = False,
) -> int:
    """Show the state of a pipeline: each stage with its latest execution, the transitions, what waits and why.

    Parameters
    ----------
    watch:
        Wait until an execution ends, the latest by default, and display its progress.
    exit_status:
        Exit with 1 if the execution, the latest by default, failed or was stopped; with --watch, if it does not succeed.
    """
    connect()
    from prefect_codepipeline.cli.executions.as_json import execution_as_json, pipeline_as_json
    from prefect_codepipeline.cli.executions.pipeline_view import pipeline_view

    pipeline = None if execution or watch else _deployed(name)
    if pipeline:
        if json:
            print_json(pipeline_as_json(pipeline))
        else:
            print_whole(pipeline_view(pipeline))
        return _code(pipeline.latest) if exit_status else 0
    known = _one(name, execution, watch=watch, display=not json)
    if json:
        print_json(execution_as_json(known))
    elif not watch:
        _print(name, known)
    return _code(known) if exit_status else 0


def _deployed(name: str) -> PipelineState | None:
    """The state of a deployed pipeline; None if it was never deployed, but has been run in the foreground."""
    from prefect_codepipeline.engine.executions.lookup import find_runs
    from prefect_codepipeline.engine.operations.pipeline_state import read_pipeline_state
    from prefect_codepipeline.errors import PipelineNotFoundException

    try:
        return read_pipeline_state(name)
    except PipelineNotFoundException:
        if any(not run["deployment_id"] for run in find_runs(name, limit=1)):
            return None
        raise


def _one(name: str, execution: str | None, *, watch: bool, display: bool) -> KnownExecution:
    from prefect_codepipeline.engine.executions.lookup import find_execution

    known = find_execution(name, execution)
    if not watch:
        return known
    from prefect_codepipeline.cli.executions.watch import watch as watch_execution

    return watch_execution(known.id, name, ask=False, display=display)


def _print(name: str, known: KnownExecution) -> None:
    from prefect_codepipeline.cli.executions.tree import execution_view
    from prefect_codepipeline.engine.executions.gate import read_gates

    print_whole(execution_view(name, known, read_gates(name)))


def _code(known: KnownExecution | None) -> int:
    return 1 if known and known.status not in ("Succeeded", "InProgress", "Stopping") else 0


def executions(
    name: PipelineName, *, limit: int = 20, before: str | None = None, json: AsJson = False
) -> int:
    """List the executions of a pipeline, latest first.

    Parameters
    ----------
    limit:
        Maximum number of executions, up to 200.
    before:
        Only those that started before this execution; its id or its beginning.
    """
    limit = min(max(limit, 1), 200)
    connect()
    from prefect_codepipeline.cli.executions.as_json import execution_as_json
    from prefect_codepipeline.engine.executions.definitions import first_created, unknown_pipeline
    from prefect_codepipeline.engine.executions.lookup import (
        CLOCKS_OF_SERVER,
        find_run,
        known_executions,
    )
    from prefect_codepipeline.engine.executions.run_lists import latest_runs

    start = find_run(name, before) if before is not None else None
    created = first_created(name)
    # A pipeline that was only run in the foreground was never created.
    since = created - CLOCKS_OF_SERVER if created else datetime.fromtimestamp(0, timezone.utc)
    runs = latest_runs(name, since, limit + 1, start)
    found = known_executions(runs[:limit], shows_newer=True)
    if not found and start is None and created is None:
        raise unknown_pipeline(name)
    if json:
        print_json([execution_as_json(execution) for execution in found])
        return 0
    print_table(("Execution", "Status", "Started", "Trigger", "Revision"), map(_row, found))
    if len(runs) > limit:
        options = f"--limit {limit} " if limit != 20 else ""
        last = short(runs[limit - 1]["id"])
        console.print(Text(f"earlier ones: codepipeline executions {name} {options}--before {last}", "dim"))
    return 0


def _row(execution: KnownExecution) -> Sequence[str]:
    from prefect_codepipeline.cli.executions.pipeline_view import time_text
    from prefect_codepipeline.model.views.pipeline_stages import revisions

    state = execution.state
    if state is None:
        return execution.id, execution.status, execution.newer or "not started", "", ""
    trigger = f"{state.pinned.trigger_type} {state.pinned.trigger_detail}"
    revision = revisions(state.source_revisions.values())
    return execution.id, execution.status, time_text(state.started_at), trigger, revision
