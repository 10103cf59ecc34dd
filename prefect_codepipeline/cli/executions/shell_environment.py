"""Recreate the environment of an action that runs commands, for an interactive shell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from prefect_codepipeline.actions.codebuild.build.running import environment_of_build, with_mounts
from prefect_codepipeline.actions.codebuild.project.finding import find_project
from prefect_codepipeline.actions.codebuild.project.project_build import ProjectBuild
from prefect_codepipeline.actions.commands.containers import Compute, ContainerOptions, Engine
from prefect_codepipeline.actions.commands.environment import BuildEnvironment, build_environment
from prefect_codepipeline.actions.registry import ActionContext, get_provider
from prefect_codepipeline.engine.executions.attempt import configuration_of
from prefect_codepipeline.engine.executions.definitions import read_definition_block
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.pool_runs.action_context import ActionPlace, make_context
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.variables import resolve_action
from prefect_codepipeline.model.record.state import ActionState, StageState
from prefect_codepipeline.tasks.providers.build.codebuild import CodeBuildConfiguration, wanted_build
from prefect_codepipeline.tasks.providers.build.commands_compute import CommandsComputeConfiguration


@dataclass(frozen=True)
class ActionEnvironment:
    """The environment in which an action's commands run. `for_engine` takes the engine, or None for the host."""

    context: ActionContext
    compute: Compute
    options: ContainerOptions
    for_engine: Callable[[Engine | None], BuildEnvironment]
    prepare: Callable[[Engine], Engine]

    @property
    def directory(self) -> Path:
        """The working directory of the commands."""
        return self.context.input_artifacts[0].directory


def environment_of(
    known: KnownExecution, stage: StageState, action: ActionState, scratch: Path
) -> ActionEnvironment:
    """Recreate the environment of the last attempt of an action, with its input artifacts below `scratch`.

    Raises:
        ActionFailed: with code `ConfigurationError`, the action runs no commands on this worker, or something that it
            needs does not exist any more.
    """
    if known.state is None or action.started is None:
        raise ActionFailed(f"action {action.name!r} has not run yet", code="ConfigurationError")
    declaration = read_definition_block(known.state.pinned.definition_id).whole()
    execution = Execution(RecordOf(known.id), declaration, known.facts, process=0, can_suspend=False)
    resolved = resolve_action(action.action, execution.state.namespaces)
    provider = get_provider(resolved.action_type_id)
    configuration = configuration_of(provider, f"action {action.name!r}", resolved.configuration)
    if not isinstance(configuration, (CommandsComputeConfiguration, CodeBuildConfiguration)):
        raise ActionFailed(
            f"action {action.name!r} is of type {resolved.action_type_id}, which runs no commands; `codepipeline shell` "
            "works only for Commands, CodeBuild, CodeDeploy and EC2 actions",
            code="ConfigurationError",
        )
    context = make_context(
        ActionPlace.of(execution, stage.name, action.name),
        resolved,
        action.started.action_execution_id,
        scratch,
    )
    if isinstance(configuration, CommandsComputeConfiguration):
        return _of_commands(configuration, context)
    return _of_build(configuration, context)


def _of_commands(configuration: CommandsComputeConfiguration, context: ActionContext) -> ActionEnvironment:
    return ActionEnvironment(
        context,
        configuration.compute,
        ContainerOptions(),
        lambda engine: build_environment(context, engine.image if engine else None),
        lambda engine: engine,
    )


def _of_build(configuration: CodeBuildConfiguration, context: ActionContext) -> ActionEnvironment:
    block = find_project(configuration.project_name)
    if block and block.where == "aws":
        raise ActionFailed(
            f"a shell is not available for project {configuration.project_name!r}: it builds in AWS "
            "(its block has where='aws')",
            code="ConfigurationError",
        )
    wanted = wanted_build(configuration, context)
    single = ProjectBuild.of(block, wanted, context).single()
    build, context, options = single.prepared(())
    return ActionEnvironment(
        replace(context, deadline=float("inf")),
        Compute(),
        options,
        lambda engine: environment_of_build(build, context, engine),
        lambda engine: with_mounts(engine, build.spec, context),
    )
