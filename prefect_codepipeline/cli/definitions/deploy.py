"""`codepipeline deploy`, `delete` and `list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from prefect_codepipeline.cli.output import print_json
from prefect_codepipeline.cli.parameters import AsJson, PipelineName
from prefect_codepipeline.cli.session import connect, console, pairs, who
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.create import Deployed
    from prefect_codepipeline.model.definition.declaration import PipelineDeclaration


def deploy(
    *files: Path,
    pool: str = "codepipeline",
    start: bool = False,
    variable: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006
) -> int:
    """Create or update pipelines. Deploys nothing if one of the files has errors.

    Parameters
    ----------
    files:
        Definitions in JSON or YAML. NAME.settings.yaml and NAME.resources.yaml beside them are deployed too.
    pool:
        The Prefect work pool whose workers run the executions.
    start:
        Start an execution of each pipeline.
    variable:
        NAME=VALUE of a pipeline variable for the executions that --start starts; may be repeated.
    """
    from prefect_codepipeline.deployments.checking.files import read_runnable
    from prefect_codepipeline.deployments.files.resources import read_beside
    from prefect_codepipeline.deployments.files.settings import read_settings_beside

    if not files:
        raise CodePipelineError("deploy takes one or more files")
    checked = [read_runnable(file) for file in files]
    declarations = [runnable.declaration for runnable in checked]
    settings = [read_settings_beside(*each) for each in zip(files, declarations, strict=True)]
    beside = [read_beside(file) for file in files]
    for file, runnable in zip(files, checked, strict=True):
        for problem in runnable.warnings:
            console.print(Text(f"{file}: warning: {problem}", "yellow"))
    connect()
    from prefect_codepipeline.actions.git.places import triggers_without_webhook
    from prefect_codepipeline.deployments.create import deploy_pipeline
    from prefect_codepipeline.deployments.files.settings import save_settings
    from prefect_codepipeline.deployments.resource_blocks import make_blocks
    from prefect_codepipeline.deployments.resource_schedules import add_declared
    from prefect_codepipeline.deployments.resource_transitions import disable_declared
    from prefect_codepipeline.deployments.resource_webhooks import make_webhooks

    for runnable, own_settings, own_beside in zip(checked, settings, beside, strict=True):
        if own_settings:
            save_settings(runnable.declaration.name, own_settings)
        created = make_blocks(own_beside.resources)
        deployed = deploy_pipeline(runnable, pool, who())
        more = make_webhooks(own_beside.resources) + add_declared(deployed.name, own_beside.resources)
        _print_result(deployed, [*created, *more])
        for sentence in [*triggers_without_webhook(runnable.declaration), *_roles(runnable.declaration)]:
            console.print(Text(f"  warning: {sentence}", "yellow"))
        for stage in disable_declared(deployed, own_beside.properties, who()):
            console.print(
                Text(f"  the inbound transition of stage {stage} is disabled, as declared in the template")
            )
        if start:
            _start(deployed, variable)
        else:
            console.print(Text(f"  start it with: codepipeline start {deployed.name}"))
    return 0


def _start(deployed: Deployed, variable: list[str]) -> None:
    from prefect_codepipeline.deployments.create import start_pipeline_execution

    execution_id = start_pipeline_execution(deployed.name, pairs(variable, "--variable"), {}, who())
    console.print(Text(f"  started: {execution_id}"))


def _roles(declaration: PipelineDeclaration) -> list[str]:
    """The roles of actions that the pipeline's settings leave unused."""
    from prefect_codepipeline.deployments.checking.accounts import unused_roles
    from prefect_codepipeline.engine.executions.definitions import settings_of
    from prefect_codepipeline.model.stored.settings import StoredSettings

    if not any(unused_roles(declaration, StoredSettings())):
        return []  # no action has a role: the settings need not be read
    return list(unused_roles(declaration, settings_of(declaration.name)))


def _print_result(deployed: Deployed, created: list[str]) -> None:
    """Print what a deploy changed, and the blocks that it created."""
    what = "created" if deployed.created else "updated" if deployed.changes else "unchanged"
    console.print(Text(f"{deployed.name}: {what}, version {deployed.version}"))
    for change in deployed.changes if not deployed.created else []:
        console.print(Text(f"  {change}"))
    for sentence in created:
        console.print(Text(f"  {sentence}"))
    for execution_id in deployed.cancelled:
        console.print(
            Text(f"  execution {execution_id} of an earlier version ends after its running actions")
        )


def delete(name: PipelineName) -> int:
    """Delete a pipeline: all versions of its definition, its deployment and its gates. Its executions stay visible."""
    connect()
    from prefect_codepipeline.deployments.delete import delete_pipeline

    versions = delete_pipeline(name)
    console.print(Text(f"{name}: deleted, {versions} version{'s' if versions != 1 else ''}"))
    return 0


def list_pipelines(*, json: AsJson = False) -> int:
    """List the deployed pipelines."""
    connect()
    from prefect_codepipeline.engine.operations.starting import list_deployments

    pipelines = list_deployments()
    if json:
        print_json(pipelines)
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Name", "Version", "Updated"):
        table.add_column(column)
    for pipeline in pipelines:
        table.add_row(*_row(pipeline))
    console.print(table)
    return 0


def _row(pipeline: dict[str, Any]) -> list[str]:
    return [pipeline["name"], str(pipeline["version"]), str(pipeline["updated"])]
