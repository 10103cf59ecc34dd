"""Run one build as CodeBuild does: the phases of a buildspec, then its reports, artifacts and cache.

Nothing here needs Prefect.

https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from prefect_codepipeline.actions.codebuild.build.artifacts import Outputs, artifact_texts, collect_artifacts
from prefect_codepipeline.actions.codebuild.build.cache import BuildCache, CachePlace, home_folders
from prefect_codepipeline.actions.codebuild.build.log import BuildLog
from prefect_codepipeline.actions.codebuild.build.runtimes import runtimes_of, select_runtimes
from prefect_codepipeline.actions.codebuild.build.script import (
    BuildScript,
    CommandFailure,
    read_failures,
    read_texts,
    users_of,
    write_build,
)
from prefect_codepipeline.actions.codebuild.reports.collecting import CollectedReports, collect_reports
from prefect_codepipeline.actions.commands.container_run import run_in_container
from prefect_codepipeline.actions.commands.containers import Engine
from prefect_codepipeline.actions.commands.environment import (
    BuildEnvironment,
    codebuild_variables,
    environment_of,
    inherited_variables,
)
from prefect_codepipeline.actions.commands.failures import last_lines, why
from prefect_codepipeline.actions.commands.processes import Script, run_on_host
from prefect_codepipeline.actions.commands.shell_session import read_exported_variables, read_output_variables
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.parts import Buildspec, PhaseName

# A RETRY pattern that takes longer (catastrophic backtracking) counts as not matching.
_MATCH_SECONDS = 5
_MATCH = "import re, sys; sys.exit(not re.search(sys.argv[1], sys.stdin.read(), re.S))"

_LEAST_FREE_BYTES = 65_536
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


@dataclass(frozen=True)
class Build:
    """The buildspec to run, with the settings of the action and its project that affect the build.

    `variables` are those of the buildspec, the project and the action; later ones win, and names that start with
    `CODEBUILD_` are ignored. `secrets` are the values to mask in all output. `own_variables` are CodeBuild's
    variables that only the caller knows. The source directory is the first input artifact. `outputs` are the output
    artifacts of the action; None means all artifacts of the buildspec. `cache` is None if nothing is cached.
    """

    spec: Buildspec
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)
    own_variables: Mapping[str, str] = field(default_factory=dict)
    outputs: Outputs = ()
    cache: CachePlace | None = None


@dataclass(frozen=True)
class BuildResult:
    """The result of a build: `failure` is None if it succeeded; `seconds` is the duration of each phase."""

    failure: str | None
    seconds: Mapping[PhaseName, float]
    commands: int
    exported_variables: Mapping[str, str]
    output_artifacts: Mapping[str, OutputTree]
    reports: CollectedReports


def run_build(build: Build, context: ActionContext, engine: Engine | None = None) -> BuildResult:
    """Run a build in a container of the engine, or on the host if `engine` is None.

    Raises:
        ActionFailed: the build could not be completed: with code `Timeout`, the deadline passed;
            `ConfigurationError`, the build needs something that is not supported; `JobFailed`, no artifact was found.
        ActionAbandoned: the execution was cancelled.
    """
    _check_supported(build.spec, engine)
    environment = environment_of_build(build, context, engine)
    cache = _cache_of(build, context, environment)
    if engine:
        engine = with_mounts(engine, build.spec, context)
    if cache:
        cache.restore()
    attempts = _Attempts(build, context, engine, environment)
    retries = 0
    while True:
        done = attempts.run()
        failed = done.failures[0] if done.failures else None
        if not failed or not _is_retried(failed, done, retries):
            result = _finish(build, done, context)
            if cache and not result.failure:
                cache.save()
            return result
        retries += 1
        context.logger.warning("%s\nThe build is retried (retry %s)", done.message(failed), retries)


@dataclass(frozen=True)
class _EndedAttempt:
    """An attempt of a build whose phases have ended."""

    script: BuildScript
    log: BuildLog
    failures: Sequence[CommandFailure]
    image: str | None

    def message(self, failed: CommandFailure) -> str:
        """Why a phase failed, in CodeBuild's words."""
        phase, number = failed.block.phase.name.upper(), failed.number
        place = "" if failed.block.kind == "commands" else " of finally"
        if not number:
            # A full disk also keeps the shell from recording the failed command.
            full = shutil.disk_usage(self.script.state).free < _LEAST_FREE_BYTES
            why_not = ": the disk is full" if full else ""
            return f"phase {phase}: its shell ended with exit status {failed.exit_code}{why_not}"
        at = failed.block.first + number - 1
        tail = self.log.tails.get(at, [])
        command = self.log.mask(self.script.commands[at - 1])
        return (
            f"phase {phase}, command {number} of {len(failed.block.commands)}{place}: Error while executing "
            f"command: {_cut(command)}. Reason: exit status {failed.exit_code}"
            f"{why(failed.exit_code, tail, self.image)}{last_lines(tail)}"
        )


class _Attempts:
    """The attempts of one build; if a phase has RETRY, each attempt starts from a copy of the original source."""

    def __init__(
        self, build: Build, context: ActionContext, engine: Engine | None, environment: BuildEnvironment
    ) -> None:
        self._build, self._context, self._engine = build, context, engine
        self._number = 0
        self._kept: dict[Path, Path] = {}
        self._environment = environment
        if any(phase.on_failure and phase.on_failure.action == "RETRY" for phase in build.spec.phases):
            self._keep()

    def run(self) -> _EndedAttempt:
        self._number += 1
        if self._number > 1:
            self._restore()
        build, context = self._build, self._context
        script = write_build(
            context.scratch / f"build-{self._number}",
            build.spec,
            shell=_shell(build.spec),
            texts=artifact_texts(build.spec),
            prelude=select_runtimes(runtimes_of(build.spec)),
        )
        log = BuildLog(context.logger, script, self._environment.secrets, context.report_progress)
        self._run(script, log)
        image = self._engine.image if self._engine else None
        return _EndedAttempt(script, log, read_failures(script), image)

    def _run(self, script: BuildScript, log: BuildLog) -> None:
        context = self._context
        run = partial(run_in_container, self._engine) if self._engine else run_on_host
        source = context.input_artifacts[0].directory
        try:
            code = run(Script(script.script, source, self._environment.variables), log.receive, context)
        except ActionFailed as error:
            log.close()
            raise ActionFailed(f"{_where(log)}: {error}{last_lines(log.tail)}", code=error.code) from error
        finally:
            log.close()
        if code:
            raise ActionFailed(self._why_the_shell_ended(code, log))

    def _why_the_shell_ended(self, code: int, log: BuildLog) -> str:
        engine = self._engine
        if engine and not log.command and "exec sh failed" in "".join(log.tail):
            return f"image {engine.image!r} has no `sh`, which every build needs; use an image with a shell"
        before = f"{_where(log)}: " if log.command else ""
        return f"{before}the shell of the build ended with exit status {code}{last_lines(log.tail)}"

    def _keep(self) -> None:
        for number, directory in enumerate(self._directories()):
            kept = self._context.scratch / f"kept-{number}"
            shutil.copytree(directory, kept, symlinks=True)
            self._kept[directory] = kept

    def _restore(self) -> None:
        for directory, kept in self._kept.items():
            # Keep the directory itself: a container may have it mounted.
            for child in directory.iterdir():
                shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
            shutil.copytree(kept, directory, symlinks=True, dirs_exist_ok=True)

    def _directories(self) -> Iterator[Path]:
        yield from (artifact.directory for artifact in self._context.input_artifacts)
        yield from (self._context.scratch / name for name in ("home", "tmpdir"))


def with_mounts(engine: Engine, spec: Buildspec, context: ActionContext) -> Engine:
    """Mount the cached folders of the home directory into the container, so that the cache can save them."""
    folders = home_folders(spec.cache) if spec.cache else []
    for folder in folders:
        (context.scratch / "home" / folder).mkdir(parents=True, exist_ok=True)
    if users_of(spec):
        _open_directories(context)
    return replace(engine, mounts={f"/root/{name}": context.scratch / "home" / name for name in folders})


def _open_directories(context: ActionContext) -> None:
    """Give all users of the container access; on the host the parent directory still keeps other users out."""
    for directory in (context.scratch, *(tree.directory for tree in context.input_artifacts)):
        directory.chmod(0o777)
    (context.scratch / "tmpdir").chmod(0o777)


def _cache_of(build: Build, context: ActionContext, environment: BuildEnvironment) -> BuildCache | None:
    if not build.cache or not build.spec.cache:
        return None
    variables = environment.variables
    return BuildCache(
        cache=build.spec.cache,
        place=build.cache,
        root=context.input_artifacts[0].directory,
        home=context.scratch / "home",
        # The shell that could expand variables has not started yet.
        expand=lambda text: _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text),
        info=partial(context.logger.info, "%s"),
        warn=partial(context.logger.warning, "%s"),
    )


def _finish(build: Build, done: _EndedAttempt, context: ActionContext) -> BuildResult:
    source = context.input_artifacts[0].directory
    reports = collect_reports(build.spec.reports, source, done.log.mask)
    for warning in reports.warnings:
        context.logger.warning("%s", warning)
    failure = "\n".join(map(done.message, done.failures)) or None
    artifacts: Mapping[str, OutputTree] = {}
    if not failure:
        texts = read_texts(done.script)
        warn = partial(context.logger.warning, "%s")
        artifacts = collect_artifacts(build.spec, build.outputs, source, texts, context.scratch, warn)
    return BuildResult(
        failure=failure,
        seconds=done.log.seconds,
        commands=len(done.script.commands),
        exported_variables=_export_variables(build, done, context),
        output_artifacts=artifacts,
        reports=reports,
    )


def _export_variables(build: Build, done: _EndedAttempt, context: ActionContext) -> dict[str, str]:
    found = read_exported_variables(done.script)
    is_set = read_output_variables(done.script)
    for name in build.spec.env.exported_variables:
        if name not in found and name in is_set:
            context.logger.warning(
                "Exported variable %r is left out: the build sets it only in its shell; write `export %s=…`",
                name,
                name,
            )
        elif name not in found:
            context.logger.warning("Exported variable %r was not set by the build and is left out", name)
        elif done.log.mask(found[name]) != found[name]:
            context.logger.warning("Exported variable %r contains a secret, which was masked", name)
    return {name: done.log.mask(value) for name, value in found.items()}


def environment_of_build(build: Build, context: ActionContext, engine: Engine | None) -> BuildEnvironment:
    """The environment of a build's commands."""
    inherited = inherited_variables(context, in_container=engine is not None)
    if engine:
        # Keep the image's own HOME: its version managers and tools are there.
        del inherited["HOME"]
    image = engine.image if engine else None
    declared = {name: value for name, value in build.variables.items() if not name.startswith("CODEBUILD_")}
    own = {**codebuild_variables(context, image), **build.own_variables}
    return environment_of({**inherited, **declared, **own}, build.secrets)


def _check_supported(spec: Buildspec, engine: Engine | None) -> None:
    if spec.env.shell in ("powershell.exe", "cmd.exe"):
        raise ActionFailed(
            f"env.shell {spec.env.shell} needs Windows, but the worker runs builds on Linux or macOS; "
            "use bash or /bin/sh, or run the project in AWS",
            code="ConfigurationError",
        )
    try:
        own = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a worker in a container may have no name
        own = str(os.getuid())
    others = [user for user in users_of(spec) if user != own]
    if others and not engine:
        raise ActionFailed(
            f"run-as {', '.join(others)}: on the host a build can run only as the worker's own user, {own}; "
            "run the build in a container, or remove run-as",
            code="ConfigurationError",
        )


def _shell(spec: Buildspec) -> str | None:
    return spec.env.shell.rpartition("/")[2] if spec.env.shell else None


def _is_retried(failed: CommandFailure, done: _EndedAttempt, retries: int) -> bool:
    on_failure = failed.block.phase.on_failure
    if not on_failure or on_failure.action != "RETRY" or retries >= on_failure.retries:
        return False
    return on_failure.pattern == ".*" or _matches(on_failure.pattern, done.message(failed))


def _matches(pattern: str, message: str) -> bool:
    """Match in a separate process, which can be killed: some patterns would practically never end."""
    re.compile(pattern)
    try:
        command = [sys.executable, "-I", "-S", "-c", _MATCH, pattern]
        return subprocess.run(command, input=message.encode(), env={}, timeout=_MATCH_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _where(log: BuildLog) -> str:
    place = log.build.place_of(log.command)
    if not place:
        return "the shell of the build"
    block, number = place
    command = _cut(log.mask(log.build.commands[log.command - 1]))
    return f"phase {block.phase.name.upper()}, command {number} of {len(block.commands)} ({command!r})"


def _cut(command: str) -> str:
    first, newline, _ = command.strip().partition("\n")
    return f"{first[:200]} [...]" if newline or len(first) > 200 else first
