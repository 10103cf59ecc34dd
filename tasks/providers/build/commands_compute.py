"""Compute/AWS/Commands/1: run shell commands, in a container or on the host.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-Commands.html
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from prefect_codepipeline.actions.artifacts.globs import compile_glob, select_files
from prefect_codepipeline.actions.commands.container_run import run_in_container
from prefect_codepipeline.actions.commands.containers import Compute, Engine, container_engine
from prefect_codepipeline.actions.commands.environment import BuildEnvironment, build_environment
from prefect_codepipeline.actions.commands.failures import explain_full_disk, last_lines, shortened, why
from prefect_codepipeline.actions.commands.log import CommandLog
from prefect_codepipeline.actions.commands.processes import Script, run_on_host
from prefect_codepipeline.actions.commands.shell_session import (
    read_exported_variables,
    read_output_variables,
    write_session,
)
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    action_provider,
)
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.compute_types import COMPUTE_SIZES
from prefect_codepipeline.model.definition.variables import MAX_OUTPUT_VARIABLES_BYTES, bytes_of

ComputeType = Literal["BUILD_GENERAL1_SMALL", "BUILD_GENERAL1_MEDIUM", "BUILD_GENERAL1_LARGE"]


class CommandsComputeConfiguration(ActionConfiguration):
    """AWS's settings of the build container.

    `ComputeType` limits the CPUs and the memory of a container if the pipeline's settings do not; without it there is
    no limit. The settings of the network have no effect, and a warning says so.
    """

    environment_type: Literal["LINUX_CONTAINER", "WINDOWS_SERVER_2022_CONTAINER"] = "LINUX_CONTAINER"
    compute_type: ComputeType | None = None
    vpc_id: str | None = None
    subnets: str | None = None
    security_group_ids: str | None = None

    @property
    def compute(self) -> Compute:
        """The limits of the container."""
        return Compute(*COMPUTE_SIZES[self.compute_type]) if self.compute_type else Compute()


@action_provider(
    category="Compute", provider="Commands", inputs=(1, 10), outputs=(0, 1), timeout_in_minutes=55
)
def run_commands(configuration: CommandsComputeConfiguration, context: ActionContext) -> ActionResult:
    """Run the commands in one shell; the first that fails fails the action.

    A command that calls `exit 0` ends the session: the remaining commands do not run, and the action succeeds.
    """
    _check(configuration, context)
    with (
        explain_full_disk(context),
        container_engine(context, configuration.compute) as engine,
    ):
        environment = build_environment(context, engine.image if engine else None)
        session = write_session(
            context.scratch / "session", context.action.commands or [], context.action.output_variables or []
        )
        log = CommandLog(context.logger, session, environment.secrets)
        code = _run(engine, environment, log, context)
        if code:
            raise ActionFailed(_failure(code, log, engine))
        return ActionResult(
            summary=_summary(log, context),
            output_variables=_output_variables(log, context),
            output_artifacts=_output_artifacts(context),
        )


def _check(configuration: CommandsComputeConfiguration, context: ActionContext) -> None:
    if configuration.environment_type != "LINUX_CONTAINER":
        raise ActionFailed(
            f"EnvironmentType {configuration.environment_type} is not supported: commands run on Linux; "
            "use LINUX_CONTAINER",
            code="ConfigurationError",
        )
    if configuration.vpc_id or configuration.subnets or configuration.security_group_ids:
        context.logger.warning(
            "VpcId, Subnets and SecurityGroupIds of action %r have no effect: "
            "its commands use the network of the worker",
            context.action.name,
        )
    for artifact in context.action.output_artifacts:
        for pattern in artifact.files or ():
            compile_glob(pattern)
    _check_no_secret_outputs(context)


def _check_no_secret_outputs(context: ActionContext) -> None:
    secrets = {
        variable.name
        for variable in context.action.environment_variables or ()
        if variable.type == "SECRETS_MANAGER"
    }
    exported = secrets.intersection(context.action.output_variables or ())
    if exported:
        raise ActionFailed(
            f"outputVariables: {', '.join(map(repr, sorted(exported)))}: a secret cannot be an output variable, "
            "because every user can read output variables",
            code="ConfigurationError",
        )


def _run(
    engine: Engine | None, environment: BuildEnvironment, log: CommandLog, context: ActionContext
) -> int:
    directory = context.input_artifacts[0].directory
    run = partial(run_in_container, engine) if engine else run_on_host
    try:
        return run(Script(log.session.script, directory, environment.variables), log.receive, context)
    except ActionFailed as error:
        log.close()
        raise ActionFailed(f"{_which(log)}: {error}{last_lines(log.tail)}", code=error.code) from error
    finally:
        log.close()


def _failure(code: int, log: CommandLog, engine: Engine | None) -> str:
    reason = why(code, log.tail, engine.image if engine else None)
    return f"{_which(log)} failed with exit code {code}{reason}{last_lines(log.tail)}"


def _which(log: CommandLog) -> str:
    """The command that was running: its number, the number of commands, and its text."""
    count = len(log.session.commands)
    if not 1 <= log.command <= count:
        return "the shell of the commands"
    text = log.mask(log.session.commands[log.command - 1])
    return f"command {log.command} of {count} ({shortened(text)!r})"


def _summary(log: CommandLog, context: ActionContext) -> str:
    count = len(log.session.commands)
    if log.command <= count:
        context.logger.warning(
            "Command %s of %s ended the shell with exit code 0: the commands after it did not run",
            log.command,
            count,
        )
    return f"{min(log.command, count)} of {count} commands ran"


def _output_variables(log: CommandLog, context: ActionContext) -> dict[str, str]:
    variables = read_output_variables(log.session)
    exported = read_exported_variables(log.session)
    for name in context.action.output_variables or ():
        if name not in variables:
            context.logger.warning("Output variable %r was not set by the commands and is left out", name)
        elif name not in exported:
            context.logger.warning(
                "Output variable %r is set but not exported, and AWS gives out exported variables only; "
                "write `export %s=…`",
                name,
                name,
            )
        elif log.mask(variables[name]) != variables[name]:
            context.logger.warning("Output variable %r contains a secret, which was masked", name)
    size = bytes_of(variables)
    if size > MAX_OUTPUT_VARIABLES_BYTES:
        sizes = ", ".join(f"{name} {len(value.encode())}" for name, value in variables.items())
        raise ActionFailed(
            f"the output variables have {size} bytes ({sizes}); the limit is {MAX_OUTPUT_VARIABLES_BYTES}: "
            "pass large data in an output artifact"
        )
    return {name: log.mask(value) for name, value in variables.items()}


def _output_artifacts(context: ActionContext) -> dict[str, OutputTree]:
    directory = context.input_artifacts[0].directory
    return {
        artifact.name: OutputTree(
            directory, select_files(directory, artifact.files) if artifact.files else None
        )
        for artifact in context.action.output_artifacts
    }
