"""`codepipeline deploy`, `delete` and `list`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from prefect_codepipeline.cli.output import answer, print_json, print_line, without_control
from prefect_codepipeline.cli.parameters import AsJson, PipelineName
from prefect_codepipeline.cli.session import (
    connect,
    console,
    find_own_type,
    job_variables,
    pairs,
    print_whole,
    who,
)
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.prefect_api.deployments import Place

if TYPE_CHECKING:
    from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
    from prefect_codepipeline.deployments.checking.runnable import Runnable
    from prefect_codepipeline.deployments.create import Deployed
    from prefect_codepipeline.deployments.files.resources import Beside


def deploy(
    *files: Path,
    pool: str | None = None,
    queue: str | None = None,
    job_variable: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006
    start: bool = False,
    variable: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006
    json: AsJson = False,
) -> int:
    """Create or update pipelines. Deploys nothing if one of the files has errors.

    Parameters
    ----------
    files:
        Definitions in JSON or YAML. NAME.settings.yaml and NAME.resources.yaml beside them are deployed too.
    pool:
        The work pool whose workers run the executions; by default as in the settings, else as it is, else `codepipeline`.
    queue:
        The work queue of that pool; by default as in the settings, else as it is.
    job_variable:
        KEY=VALUE of a job variable; VALUE may be JSON, and null removes it. May be repeated; the others stay.
    start:
        Start an execution of each pipeline.
    variable:
        NAME=VALUE of a pipeline variable for the executions that --start starts; may be repeated.
    """
    if not files:
        raise CodePipelineError("deploy takes one or more files")
    console.stderr = json  # the sentences, so that the output is JSON only
    read = [_read(file) for file in files]
    given = Place(pool, queue, job_variables(job_variable))
    connect()
    _check_groups(files, read)
    _check_engines(read, given)
    for each in read:
        _check_places(each, given)
    results = []
    for each in read:
        deployed = _deploy(each, given)
        execution_id = _start(deployed, variable) if start else None
        if execution_id is None:
            console.print(Text(f"  start it with: codepipeline start {deployed.name}"))
        results.append({**asdict(deployed), "pipelineExecutionId": execution_id})
    if json:
        print_json(results)
    return 0


@dataclass(frozen=True)
class _Read:
    """A definition that can run, and the contents of the files beside it."""

    runnable: Runnable
    settings: PipelineSettings | None
    beside: Beside


def _read(file: Path) -> _Read:
    """Read a definition and the files beside it, and print the warnings about them."""
    from prefect_codepipeline.deployments.checking.files import read_runnable
    from prefect_codepipeline.deployments.files.resources import read_beside
    from prefect_codepipeline.deployments.files.settings import read_settings_beside

    runnable = read_runnable(file, find_own_type)
    read = _Read(runnable, read_settings_beside(file, runnable.declaration), read_beside(file))
    for sentence in _warnings(file, runnable, read.beside):
        console.print(Text(f"{file}: warning: {sentence}", "yellow"))
    return read


def _check_groups(files: Sequence[Path], read: Sequence[_Read]) -> None:
    """Check the deployment groups that the pipelines deploy to, and print the warnings.

    Raises:
        InvalidDefinition: a group is known neither here nor by AWS.
    """
    from prefect_codepipeline.deployments.checking.deployment_groups import check_groups
    from prefect_codepipeline.engine.executions.definitions import settings_of

    for file, each in zip(files, read, strict=True):
        declaration = each.runnable.declaration
        settings = each.settings or settings_of(declaration.name)
        for problem in check_groups(declaration, settings, each.beside, str(file)):
            console.print(Text(f"{file}: warning: {problem}", "yellow"))


def _check_places(read: _Read, given: Place) -> None:
    """Refuse work pools, queues and job variables that do not exist or are not allowed, and prepare those of actions."""
    from prefect_codepipeline.deployments.checking.work_pools import check_places
    from prefect_codepipeline.engine.executions.definitions import settings_of

    declaration = read.runnable.declaration
    settings = read.settings or settings_of(declaration.name)
    for sentence in check_places(declaration, settings, _place(read, given)):
        console.print(Text(f"  {sentence}"))


def _place(read: _Read, given: Place) -> Place:
    """Where the executions start. Options take precedence over settings, and those over what is there."""
    settings = read.settings
    if settings is None:
        return given
    return given.or_else(Place(settings.work_pool, settings.work_queue, settings.job_variables))


def _check_engines(read: Sequence[_Read], given: Place) -> None:
    """Refuse containers where there is no engine for them. Raises `ValidationException`."""
    from prefect_codepipeline.deployments.work_pools.engines import check_engines
    from prefect_codepipeline.engine.executions.definitions import settings_of

    for each in read:
        declaration = each.runnable.declaration
        settings = each.settings or settings_of(declaration.name)
        check_engines(declaration, settings, each.beside, _place(each, given))


def _deploy(read: _Read, given: Place) -> Deployed:
    """Create or update a pipeline and everything beside it, and print what was done."""
    from prefect_codepipeline.deployments.resource_blocks import make_blocks
    from prefect_codepipeline.deployments.resource_schedules import add_declared
    from prefect_codepipeline.deployments.resource_tags import put_declared_tags
    from prefect_codepipeline.deployments.resource_transitions import disable_declared
    from prefect_codepipeline.deployments.resource_types import make_types
    from prefect_codepipeline.deployments.resource_webhooks import make_webhooks
    from prefect_codepipeline.model.wire.arns import Account

    created = [*make_types(read.beside.resources), *make_blocks(read.beside.resources)]
    deployed = _deploy_definition(read, given)
    more = make_webhooks(read.beside.resources) + add_declared(deployed.name, read.beside.resources)
    if deployed.created:  # later, users decide, as with transitions
        left_out = put_declared_tags(Account().pipeline(deployed.name), read.beside.properties)
        more += [left_out] if left_out else []
    _print_result(deployed, [*created, *more])
    _print_later_warnings(read.runnable)
    _print_disabled(disable_declared(deployed, read.beside.properties, who()))
    return deployed


def _warnings(file: Path, runnable: Runnable, beside: Beside) -> Iterator[str]:
    """What will fail or surprise when the pipeline runs."""
    from prefect_codepipeline.deployments.checking.needed import import_command, needed_values

    yield from map(str, runnable.warnings)
    needed = needed_values(runnable.declaration.to_wire(), beside)
    command = import_command(file, beside, [value.name for value in needed])
    for value in needed:
        yield f"{value.paths[0]} needs the value of {value.name}: {command}"


def _print_later_warnings(runnable: Runnable) -> None:
    """Print the warnings that need the server's blocks."""
    from prefect_codepipeline.actions.git.places import triggers_without_webhook
    from prefect_codepipeline.deployments.checking.accounts import unused_roles
    from prefect_codepipeline.deployments.resource_blocks import problems_of_project_blocks
    from prefect_codepipeline.engine.executions.definitions import settings_of
    from prefect_codepipeline.engine.notifications.receivers import missing_receivers

    declaration = runnable.declaration
    settings = settings_of(declaration.name)
    sentences = (
        *triggers_without_webhook(declaration),
        *problems_of_project_blocks(declaration),
        *unused_roles(declaration, settings),
        *missing_receivers(settings),
    )
    for sentence in sentences:
        console.print(Text(f"  warning: {sentence}", "yellow"))


def _deploy_definition(read: _Read, given: Place) -> Deployed:
    """Save the settings and deploy."""
    from prefect_codepipeline.deployments.create import deploy_pipeline
    from prefect_codepipeline.deployments.files.settings import save_settings

    place = _place(read, given)
    if read.settings:
        save_settings(read.runnable.declaration.name, read.settings)
    return deploy_pipeline(
        read.runnable, place.work_pool, who(), work_queue=place.work_queue, job_variables=place.job_variables
    )


def _print_disabled(stages: Iterable[str]) -> None:
    for stage in stages:
        console.print(
            Text(f"  the inbound transition of stage {stage} is disabled, as declared in the template")
        )


def _start(deployed: Deployed, variable: list[str]) -> str:
    from prefect_codepipeline.deployments.create import start_pipeline_execution

    execution_id = start_pipeline_execution(deployed.name, pairs(variable, "--variable"), {}, who())
    console.print(Text(f"  started: {execution_id}"))
    return execution_id


def _print_result(deployed: Deployed, created: list[str]) -> None:
    """Print what a deploy changed, and the blocks that it created."""
    is_updated = deployed.changes or deployed.moved
    what = "created" if deployed.created else "updated" if is_updated else "unchanged"
    console.print(Text(f"{deployed.name}: {what}, version {deployed.version}"))
    for change in [*deployed.changes, *deployed.moved] if not deployed.created else []:
        console.print(Text(f"  {change}"))
    for sentence in created:
        console.print(Text(f"  {sentence}"))
    for execution_id in deployed.cancelled:
        console.print(
            Text(f"  execution {execution_id} of an earlier version ends after its running actions")
        )


def delete(
    name: PipelineName, *, yes: Annotated[bool, Parameter(negative=())] = False, json: AsJson = False
) -> int:
    """Delete a pipeline: all versions of its definition, its deployment and its gates. Its executions stay visible.

    Parameters
    ----------
    yes:
        Delete it without asking.
    """
    connect()
    from prefect_codepipeline.deployments.delete import check_deletable, delete_pipeline

    if json and not yes:
        raise CodePipelineError(f"pipeline {name!r} was not deleted: --json asks nothing, add --yes")
    check_deletable(name)
    if not yes and not _confirmed(name):
        print_line(f"{name}: not deleted")
        return 1
    versions = delete_pipeline(name)
    said = f"{name}: deleted, {versions} version{'s' if versions != 1 else ''}"
    answer(json, {"name": name, "versions": versions}, said)
    return 0


def _confirmed(name: str) -> bool:
    """Ask the user. Raises `CodePipelineError` if no user is at a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CodePipelineError(f"pipeline {name!r} was not deleted: confirm with --yes")
    question = f"Delete pipeline {name!r} with all its versions? [y/N] "
    return input(without_control(question)).strip().lower() in ("y", "yes")


def list_pipelines(*, json: AsJson = False) -> int:
    """List the deployed pipelines: state, stages, revision and open approvals of each."""
    connect()
    from prefect_codepipeline.cli.executions.as_json import pipeline_as_json
    from prefect_codepipeline.cli.executions.pipeline_view import pipelines_view
    from prefect_codepipeline.engine.operations.pipeline_state import read_pipeline_states

    pipelines = read_pipeline_states()
    if json:
        print_json([pipeline_as_json(pipeline) for pipeline in pipelines])
    elif not pipelines:
        print_line("there are no pipelines; deploy one with: codepipeline deploy FILE")
    else:
        print_whole(pipelines_view(pipelines))
    return 0
