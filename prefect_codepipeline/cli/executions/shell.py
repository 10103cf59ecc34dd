"""`codepipeline shell`: inspect the environment of an action, to find out why it failed."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from prefect_codepipeline.cli.parameters import ExecutionId, PipelineName
from prefect_codepipeline.cli.session import connect, console
from prefect_codepipeline.errors import ActionNotFoundException, CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.cli.executions.shell_environment import ActionEnvironment
    from prefect_codepipeline.engine.executions.lookup import KnownExecution
    from prefect_codepipeline.model.record.state import ActionState, StageState


def shell(name: PipelineName, action: str, *, execution: ExecutionId = None, host: str | None = None) -> int:
    """Open a shell with the image, input artifacts, environment variables and secrets of an action.

    If the standard input is not a terminal, it is run as a script. Exits with the shell's exit code. All changes
    are discarded, except on a host of a CodeDeploy action: there the shell is in the folder of the deployment.

    Parameters
    ----------
    action:
        A Commands, CodeBuild or CodeDeploy action that has run.
    host:
        Name of a host of a CodeDeploy action.
    """
    connect()
    from prefect_codepipeline.cli.executions.shell_environment import environment_of
    from prefect_codepipeline.cli.executions.shell_on_target import deploys_to_hosts, shell_on_target
    from prefect_codepipeline.engine.executions.lookup import find_execution

    known = find_execution(name, execution)
    stage, found = _find(known, action)
    if deploys_to_hosts(found):
        return shell_on_target(found, host)
    if host:
        raise CodePipelineError(
            f"--host is only for CodeDeploy and EC2 actions; action {action!r} is of another type"
        )
    # The preparations are in the log of the action already.
    logging.getLogger("prefect_codepipeline").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="codepipeline-shell-", ignore_cleanup_errors=True) as folder:
        environment = environment_of(known, stage, found, Path(folder))
        _print_introduction(known, stage, found, environment.directory)
        return _open(environment, found.name)


def _find(known: KnownExecution, name: str) -> tuple[StageState, ActionState]:
    actions = list(known.state.actions) if known.state else []
    for stage, action in actions:
        if action.name == name:
            return stage, action
    names = ", ".join(action.name for _, action in actions) or "no started actions"
    raise ActionNotFoundException(f"execution {known.id} has no action {name!r}; it has: {names}")


def _print_introduction(
    known: KnownExecution, stage: StageState, action: ActionState, directory: Path
) -> None:
    if not sys.stdin.isatty():
        return
    console.print(Text(f"{stage.name}/{action.name} of execution {known.id}: {action.status}"))
    console.print(Text(action.summary.partition("\n")[0], "red" if action.status == "Failed" else "dim"))
    console.print(Text(f"its source is in {directory}; changes are discarded", "dim"))


def _open(environment: ActionEnvironment, name: str) -> int:
    from prefect_codepipeline.actions.commands.containers import container_engine
    from prefect_codepipeline.actions.commands.interactive import shell_in_container, shell_on_host

    context = environment.context
    with container_engine(context, environment.compute, environment.options) as engine:
        variables = environment.for_engine(engine).variables
        if engine is None:
            return shell_on_host(environment.directory, variables, name)
        return shell_in_container(
            environment.prepare(engine), environment.directory, variables, context, name
        )
