"""`codepipeline status` and `executions`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.text import Text

from prefect_codepipeline.cli.output import print_json
from prefect_codepipeline.cli.parameters import AsJson, ExecutionId, PipelineName
from prefect_codepipeline.cli.session import connect, console


def status(
    name: PipelineName, *, execution: ExecutionId = None, watch: bool = False, json: AsJson = False
) -> int:
    """Show the status of an execution: stages, actions, failures, revisions.

    Parameters
    ----------
    watch:
        Wait until the execution ends, and display its progress.
    """
    connect()
    from prefect_codepipeline.cli.executions.tree import (
        execution_tree,
        gate_lines,
        progress_line,
        revision_lines,
    )
    from prefect_codepipeline.engine.executions.gate import read_gates
    from prefect_codepipeline.engine.executions.lookup import latest_execution, read_execution
    from prefect_codepipeline.prefect_api.ui import run_url

    known = read_execution(execution) if execution else latest_execution(name)
    if watch:
        from prefect_codepipeline.cli.executions.watch import watch as watch_execution

        known = watch_execution(known.id, ask=False)
    if json:
        print_json(as_json(known))
        return 0
    if known.state is None:
        console.print(Text(f"{name}: execution {known.id} has not started; it waits for a worker"))
        return 0
    if not watch:
        console.print(execution_tree(known.state, known.status))
    console.print(Text(progress_line(known.state), "dim"))
    for line in revision_lines(known.state):
        console.print(Text(line))
    for line in gate_lines(read_gates(name)):
        console.print(Text(line, "yellow"))
    for stage, action in known.state.open_approvals:
        console.print(
            Text(f"decide with: codepipeline approve {name} {stage.name} {action.name} -m COMMENT", "yellow")
        )
    console.print(Text(f"in Prefect's UI: {run_url(known.id)}", "dim"))
    return 0


def executions(name: PipelineName, *, limit: int = 20, page: int = 1, json: AsJson = False) -> int:
    """List the executions of a pipeline, latest first.

    Parameters
    ----------
    limit:
        Maximum number of executions, up to 200.
    page:
        2 for the executions after the first `limit`, and so on.
    """
    limit = min(max(limit, 1), 200)
    before = limit * (max(page, 1) - 1)
    connect()
    from rich.table import Table

    from prefect_codepipeline.engine.executions.lookup import find_runs, known_execution
    from prefect_codepipeline.engine.operations.starting import list_deployments
    from prefect_codepipeline.errors import PipelineNotFoundException

    found = [known_execution(run) for run in find_runs(name, limit=limit, offset=before)]
    if not found and not before and name not in {pipeline["name"] for pipeline in list_deployments()}:
        raise PipelineNotFoundException(f"pipeline {name!r} does not exist; see: codepipeline list")
    if json:
        print_json([as_json(execution) for execution in found])
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Execution", "Status", "Started", "Trigger", "Revision"):
        table.add_column(column, no_wrap=True, min_width=36 if column == "Execution" else None)
    for execution in found:
        if execution.state:
            pinned, revisions = execution.state.pinned, list(execution.state.source_revisions.values())
            first = (
                f"{revisions[0].revision_id[:12]} {revisions[0].revision_summary.partition(chr(10))[0]}"
                if revisions
                else ""
            )
            table.add_row(
                execution.id, execution.status, _time(execution.state.started_at),
                f"{pinned.trigger_type} {pinned.trigger_detail}", Text(first),
            )  # fmt: skip
    console.print(table)
    if len(found) == limit and find_runs(name, limit=1, offset=before + limit):
        options = f"--limit {limit} " if limit != 20 else ""
        console.print(Text(f"earlier ones: codepipeline executions {name} {options}--page {page + 1}", "dim"))
    return 0


def as_json(execution: Any) -> dict[str, Any]:
    """An execution as JSON, with AWS's key names where AWS has them."""
    state = execution.state
    if state is None:
        return {"pipelineExecutionId": execution.id, "status": execution.status, "stages": []}
    return {
        "pipelineName": state.pinned.pipeline_name,
        "pipelineVersion": state.pinned.pipeline_version,
        "pipelineExecutionId": execution.id,
        "status": execution.status,
        "statusSummary": state.summary,
        "startTime": state.started_at.isoformat(),
        "lastUpdateTime": state.updated_at.isoformat(),
        "trigger": {"triggerType": state.pinned.trigger_type, "triggerDetail": state.pinned.trigger_detail},
        "variables": [
            {"name": name, "resolvedValue": value} for name, value in state.pinned.variables.items()
        ],
        "sourceRevisions": [
            {
                "actionName": name,
                "revisionId": revision.revision_id,
                "revisionSummary": revision.revision_summary,
                "revisionUrl": revision.revision_url,
            }
            for name, revision in state.source_revisions.items()
        ],
        "stages": [_stage_as_json(stage) for stage in state.stages],
    }


def _stage_as_json(stage: Any) -> dict[str, Any]:
    return {
        "stageName": stage.name,
        "status": stage.status,
        "attempt": stage.attempt,
        "retryStageMetadata": {
            "autoStageRetryAttempt": stage.automatic_retries,
            "manualStageRetryAttempt": stage.manual_retries,
            "latestRetryTrigger": stage.latest_retry_trigger,
        },
        "actions": [_action_as_json(action) for action in stage.actions],
        "conditions": [
            {"conditionType": each.kind, "status": each.status, "summary": each.summary}
            for each in stage.conditions
        ],
    }


def _action_as_json(action: Any) -> dict[str, Any]:
    finished = action.finished
    return {
        "actionName": action.name,
        "status": action.status,
        "attempt": action.attempt,
        "actionExecutionId": action.started.action_execution_id if action.started else None,
        "summary": action.summary,
        "percentComplete": action.percent_complete,
        "externalExecutionId": action.external_execution_id,
        "externalExecutionUrl": action.external_execution_url,
        "errorDetails": finished.error_details.model_dump() if finished and finished.error_details else None,
        "token": action.request.token if action.is_waiting_for_approval else None,
        "waitsSince": action.wait.since.isoformat() if action.wait else None,
        "waitsUntil": action.wait.until.isoformat() if action.wait else None,
        "outputVariables": finished.output_variables if finished else {},
    }


def _time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
