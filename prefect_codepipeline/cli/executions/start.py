"""`codepipeline start`."""

from __future__ import annotations

from rich.text import Text

from prefect_codepipeline.cli.output import answer, print_json
from prefect_codepipeline.cli.parameters import AsJson, PipelineName, SourceRevisions, Variables
from prefect_codepipeline.cli.session import connect, console, pairs, who


def start(
    name: PipelineName,
    *,
    variable: Variables = [],  # noqa: B006
    source_revision: SourceRevisions = [],  # noqa: B006
    watch: bool = False,
    approve: bool = False,
    json: AsJson = False,
) -> int:
    """Start an execution of a deployed pipeline and print its id.

    Parameters
    ----------
    watch:
        Wait until the execution ends, display its progress, and ask for approvals.
    approve:
        With --watch, approve everything without asking.
    """
    connect()
    from prefect_codepipeline.cli.executions.as_json import execution_as_json
    from prefect_codepipeline.cli.executions.watch import exit_code
    from prefect_codepipeline.cli.executions.watch import watch as watch_execution
    from prefect_codepipeline.engine.operations.starting import start_pipeline_execution
    from prefect_codepipeline.prefect_api.ui import run_url

    execution_id = start_pipeline_execution(
        name, pairs(variable, "--variable"), pairs(source_revision, "--source-revision"), who()
    )
    if not watch:
        answer(json, {"pipelineExecutionId": execution_id}, execution_id)
        return 0
    if not json:
        console.print(Text(f"{name}: execution {execution_id}"))
        console.print(Text(f"in Prefect's UI: {run_url(execution_id)}"))
    ended = watch_execution(execution_id, name, approve=approve, ask=not json, display=not json)
    if json:
        print_json(execution_as_json(ended))
    return exit_code(ended)
