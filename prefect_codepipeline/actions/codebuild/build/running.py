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
    surroundings,
)
from prefect_codepipeline.actions.commands.failures import last_lines, why
from prefect_codepipeline.actions.commands.processes import Script, run_on_host
from prefect_codepipeline.actions.commands.shell_session import read_output_variables
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.parts import Buildspec, PhaseName

# What a pattern of RETRY may take to match; one that backtracks for ever does not match.
_MATCH_SECONDS = 5
_MATCH = "import re, sys; sys.exit(not re.search(sys.argv[1], sys.stdin.read(), re.S))"

_LEAST_FREE_BYTES = 65_536
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


@dataclass(frozen=True)
class Build:
    """What is built, with everything of the action and its project that concerns the build itself.

    `variables` are declared, by the buildspec, the project and the action in this order; a `CODEBUILD_*` among them
    is none. `secrets` are the values that must appear nowhere. `own_variables` are CodeBuild's that only the caller
    knows. The source directory is the first input artifact. `outputs` are those of the action, None stands for
    all that the buildspec has. `cache` is None when nothing is kept between builds.
    """

    spec: Buildspec
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)
    own_variables: Mapping[str, str] = field(default_factory=dict)
    outputs: Outputs = ()
    cache: CachePlace | None = None


@dataclass(frozen=True)
class BuildResult:
    """How a build ended: `failure` is None when it succeeded, `seconds` is by phase."""

    failure: str | None
    seconds: Mapping[PhaseName, float]
    commands: int
    exported_variables: Mapping[str, str]
    output_artifacts: Mapping[str, OutputTree]
    reports: CollectedReports


def run_build(build: Build, context: ActionContext, engine: Engine | None = None) -> BuildResult:
    """Run a build to its end, in a container of the engine, or on the host without one.

    Raises:
        ActionFailed: the build did not come to its end: with code `Timeout`, its time was over;
            `ConfigurationError`, something asked for is not to be had here; `JobFailed`, no artifact was found.
        ActionAbandoned: the execution was cancelled.
    """
    _refuse_what_cannot_be(build.spec, engine)
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
        context.logger.warning("%s\nThe build is retried, for the %s. time", done.message(failed), retries)


@dataclass(frozen=True)
class _Done:
    """The phases of a build have ended."""

    script: BuildScript
    log: BuildLog
    failures: Sequence[CommandFailure]
    image: str | None

    def message(self, failed: CommandFailure) -> str:
        """Why a phase failed, with AWS's words for it."""
        phase, number = failed.block.phase.name.upper(), failed.number
        place = "" if failed.block.kind == "commands" else " of finally"
        if not number:
            # What the shell could not write down either.
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
    """The attempts of one build: more than one only when a phase asks for retries, each with the source as it was."""

    def __init__(
        self, build: Build, context: ActionContext, engine: Engine | None, environment: BuildEnvironment
    ) -> None:
        self._build, self._context, self._engine = build, context, engine
        self._number = 0
        self._kept: dict[Path, Path] = {}
        self._environment = environment
        if any(phase.on_failure and phase.on_failure.action == "RETRY" for phase in build.spec.phases):
            self._keep()

    def run(self) -> _Done:
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
        return _Done(script, log, read_failures(script), image)

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
            # The directory itself stays: it may be what a container has mounted.
            for child in directory.iterdir():
                shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
            shutil.copytree(kept, directory, symlinks=True, dirs_exist_ok=True)

    def _directories(self) -> Iterator[Path]:
        yield from (artifact.directory for artifact in self._context.input_artifacts)
        yield from (self._context.scratch / name for name in ("home", "tmpdir"))


def with_mounts(engine: Engine, spec: Buildspec, context: ActionContext) -> Engine:
    """What the cache keeps of the home directory lies on this machine, where the next build finds it."""
    folders = home_folders(spec.cache) if spec.cache else []
    for folder in folders:
        (context.scratch / "home" / folder).mkdir(parents=True, exist_ok=True)
    if users_of(spec):
        _let_in(context)
    return replace(engine, mounts={f"/root/{name}": context.scratch / "home" / name for name in folders})


def _let_in(context: ActionContext) -> None:
    """Other users of the container reach the directories, which nobody else on this machine does: they lie in ours."""
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
        # No shell has begun yet that could do it.
        expand=lambda text: _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text),
        tell=partial(context.logger.info, "%s"),
        warn=partial(context.logger.warning, "%s"),
    )


def _finish(build: Build, done: _Done, context: ActionContext) -> BuildResult:
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
        exported_variables=_exported(build, done, context),
        output_artifacts=artifacts,
        reports=reports,
    )


def _exported(build: Build, done: _Done, context: ActionContext) -> dict[str, str]:
    found = read_output_variables(done.script)
    for name in build.spec.env.exported_variables:
        if name not in found:
            context.logger.warning("Exported variable %r was not set by the build and is left out", name)
        elif done.log.mask(found[name]) != found[name]:
            context.logger.warning("Exported variable %r contains a secret, which was masked", name)
    return {name: done.log.mask(value) for name, value in found.items()}


def environment_of_build(build: Build, context: ActionContext, engine: Engine | None) -> BuildEnvironment:
    """What the commands of a build see."""
    around = surroundings(context, in_container=engine is not None)
    if engine:
        # The image's own: its version managers and tools are there.
        del around["HOME"]
    image = engine.image if engine else None
    declared = {name: value for name, value in build.variables.items() if not name.startswith("CODEBUILD_")}
    own = {**codebuild_variables(context, image), **build.own_variables}
    return environment_of({**around, **declared, **own}, build.secrets)


def _refuse_what_cannot_be(spec: Buildspec, engine: Engine | None) -> None:
    if spec.env.shell in ("powershell.exe", "cmd.exe"):
        raise ActionFailed(
            f"env.shell {spec.env.shell} is a shell of Windows, and builds run on Linux or macOS here; "
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
            f"run-as {', '.join(others)}: on the host a build runs as the worker's own user, {own}; "
            "run it in a container, or leave run-as out",
            code="ConfigurationError",
        )


def _shell(spec: Buildspec) -> str | None:
    return spec.env.shell.rpartition("/")[2] if spec.env.shell else None


def _is_retried(failed: CommandFailure, done: _Done, retries: int) -> bool:
    on_failure = failed.block.phase.on_failure
    if not on_failure or on_failure.action != "RETRY" or retries >= on_failure.retries:
        return False
    return on_failure.pattern == ".*" or _matches(on_failure.pattern, done.message(failed))


def _matches(pattern: str, message: str) -> bool:
    """In a process of its own, which can be ended: a pattern may take longer than the universe lasts."""
    re.compile(pattern)
    try:
        command = [sys.executable, "-I", "-S", "-c", _MATCH, pattern]
        return subprocess.run(command, input=message.encode(), timeout=_MATCH_SECONDS).returncode == 0
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
