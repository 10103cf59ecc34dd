"""`codepipeline build`: run one buildspec on this machine, without a pipeline or a server."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from cyclopts import Parameter

from prefect_codepipeline.cli.output import Style, answer
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.errors import ActionFailed, CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.actions.codebuild.build.running import BuildResult
    from prefect_codepipeline.actions.registry import ActionContext
    from prefect_codepipeline.actions.work import OutputTree
    from prefect_codepipeline.model.buildspec.parts import Buildspec

_NOT_COPIED = shutil.ignore_patterns(".venv", "__pycache__")


def build(
    *,
    buildspec: str | None = None,
    image: str | None = None,
    source: Path = Path("."),
    env: Annotated[list[str] | None, Parameter(negative=())] = None,
    env_file: Path | None = None,
    artifacts: Path | None = None,
    in_place: Annotated[bool, Parameter(negative=())] = False,
    privileged: Annotated[bool, Parameter(negative=())] = False,
    cache: Annotated[bool, Parameter(negative=())] = False,
    secrets_from: Literal["environment", "aws", "prefect"] = "environment",
    json: AsJson = False,
) -> int:
    """Run a buildspec: on this machine, or in a container. Exits with 1 if the build fails.

    Parameters
    ----------
    buildspec:
        Path of the buildspec in the source directory; buildspec.yml by default.
    image:
        Run in a container of this image. Without it, the commands run on this machine.
    source:
        The source directory. The build gets a copy of it.
    env:
        NAME=VALUE of an environment variable; overrides the buildspec's. May be repeated. Names that start with
        CODEBUILD_ are reserved.
    env_file:
        A file with one NAME=VALUE per line.
    artifacts:
        The folder for the artifacts. Existing files of the same name are replaced, others stay.
    in_place:
        Build in the source directory itself, not in a copy.
    privileged:
        Run the container privileged, for builds that start a Docker daemon of their own.
    cache:
        Keep the paths of the buildspec's `cache` for the next build of the same source directory.
    secrets_from:
        Source of parameter-store and secrets-manager values: CODEBUILD_PARAMETER_… and CODEBUILD_SECRET_… variables
        of the environment, AWS, or Prefect's blocks and variables.
    """
    from prefect_codepipeline.actions.codebuild.build.buildspec_files import read_buildspec
    from prefect_codepipeline.actions.commands.hidden_environment import hide_environment

    hide_environment()
    if not source.is_dir():
        raise CodePipelineError(f"--source {source} is not a directory")
    logger = _logger(sys.stderr if json else sys.stdout)
    variables = _variables(env or [], env_file)
    with tempfile.TemporaryDirectory(prefix="codepipeline-build-") as folder:
        work = Path(folder)
        tree = source.resolve() if in_place else _copied(source, work / "source")
        context = _context(tree, work, image, logger)
        spec = read_buildspec(buildspec, tree, context)
        result = _run(spec, context, variables, secrets_from, privileged, cache and source)
        kept = list(_kept_of(result, artifacts)) if artifacts else []
    answer(json, _as_json(result, kept), *_lines(result, kept))
    return 1 if result.failure else 0


def _run(
    spec: Buildspec,
    context: ActionContext,
    variables: dict[str, str],
    secrets_from: Literal["environment", "aws", "prefect"],
    privileged: bool,
    cached_source: Path | Literal[False],
) -> BuildResult:
    from prefect_codepipeline.actions.codebuild.build.cache import cache_place
    from prefect_codepipeline.actions.codebuild.build.running import Build, run_build
    from prefect_codepipeline.actions.codebuild.build.secrets import (
        SecretSource,
        WantedSecret,
        resolve_secrets,
    )
    from prefect_codepipeline.actions.commands.containers import Compute, ContainerOptions, container_engine

    wanted = [
        *(WantedSecret(name, "PARAMETER_STORE", ref) for name, ref in spec.env.parameter_store.items()),
        *(WantedSecret(name, "SECRETS_MANAGER", ref) for name, ref in spec.env.secrets_manager.items()),
    ]
    # A variable that the caller passed needs no look-up.
    wanted = [each for each in wanted if each.variable not in variables]
    secrets = resolve_secrets(wanted, SecretSource(secrets_from)) if wanted else {}
    build = Build(
        spec=spec,
        variables={**spec.env.variables, **secrets, **variables},
        secrets=list(secrets.values()),
        own_variables={"CODEBUILD_INITIATOR": "codepipeline build"},
        outputs=None,
        cache=cache_place(str(cached_source.resolve()), None) if cached_source else None,
    )
    options = ContainerOptions(privileged=privileged, as_root=True, fall_back=False)
    with container_engine(context, Compute(), options) as engine:
        return run_build(build, context, engine)


def _context(source: Path, work: Path, image: str | None, logger: logging.Logger) -> ActionContext:
    from prefect_codepipeline.actions.registry import ActionContext
    from prefect_codepipeline.actions.work import InputTree
    from prefect_codepipeline.model.definition.action_settings import ActionSettings
    from prefect_codepipeline.model.definition.declaration import ActionDeclaration, ActionTypeId

    kind = ActionTypeId(category="Build", owner="AWS", provider="CodeBuild", version="1")
    scratch = work / "scratch"
    scratch.mkdir()
    return ActionContext(
        pipeline_name="build",
        pipeline_execution_id="local",
        stage_name="build",
        action=ActionDeclaration(name="build", action_type_id=kind),
        action_execution_id=str(int(time.time())),
        scratch=scratch,
        deadline=float("inf"),
        input_artifacts=(InputTree("source", source, revision_id=_commit(source)),),
        settings=ActionSettings(run_on="docker", image=image) if image else ActionSettings(run_on="host"),
        logger=logger,
    )


def _variables(given: list[str], file: Path | None) -> dict[str, str]:
    from prefect_codepipeline.cli.session import pairs

    lines: list[str] = []
    if file:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CodePipelineError(f"--env-file {file} cannot be read: {error}") from None
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = {}
    for option, values in (("--env-file", pairs(lines, "--env-file")), ("--env", pairs(given, "--env"))):
        if reserved := sorted(name for name in values if name.startswith("CODEBUILD_")):
            raise CodePipelineError(
                f"{option} {', '.join(reserved)}: names that start with CODEBUILD_ are reserved for the variables that "
                "CodeBuild sets, and the build would ignore the value; choose another name"
            )
        found.update(values)
    return found


def _logger(stream: TextIO) -> logging.Logger:
    """A logger that prints the output of the build and nothing else."""
    logger = logging.getLogger("codepipeline.build")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    return logger


def _copied(source: Path, target: Path) -> Path:
    try:
        return Path(shutil.copytree(source, target, symlinks=True, ignore=_NOT_COPIED))
    except shutil.Error as error:
        first = error.args[0][0]
        raise CodePipelineError(f"{first[0]} cannot be copied for the build: {first[2]}") from None


def _commit(source: Path) -> str | None:
    """The checked-out commit, for CODEBUILD_RESOLVED_SOURCE_VERSION."""
    import subprocess

    try:
        found = subprocess.run(
            ["git", "-C", str(source), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


@dataclass(frozen=True)
class _Kept:
    """An artifact of a build that was copied to a folder."""

    name: str
    folder: Path
    files: list[str]


def _kept_of(result: BuildResult, folder: Path) -> Iterator[_Kept]:
    """Copy the artifacts to a folder; each to its own subfolder if there are several."""
    several = len(result.output_artifacts) > 1
    for name, tree in result.output_artifacts.items():
        yield _keep(name, tree, folder / name if several else folder)


def _keep(name: str, tree: OutputTree, folder: Path) -> _Kept:
    files = tree.files
    if files is None:
        files = [
            str(path.relative_to(tree.directory)) for path in tree.directory.rglob("*") if not path.is_dir()
        ]
    try:
        for file in files:
            place = folder / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            shutil.copy2(tree.directory / file, place, follow_symlinks=False)
    except OSError as error:
        raise ActionFailed(f"artifact {name!r} cannot be written to {folder}: {error}") from None
    return _Kept(name, folder, sorted(files))


def _lines(result: BuildResult, kept: list[_Kept]) -> Iterator[str | tuple[str, Style]]:
    for each in kept:
        yield f"Artifact {each.name}: {len(each.files)} files in {each.folder}"
    if result.reports.one_line:
        yield f"Reports: {result.reports.one_line}"
    for name, value in result.exported_variables.items():
        yield f"Exported variable {name}={value}"
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    if result.failure:
        yield f"Build failed ({phases}): {result.failure}", "red"
    else:
        yield f"Build succeeded ({phases})", "green"


def _as_json(result: BuildResult, kept: list[_Kept]) -> dict[str, Any]:
    from prefect_codepipeline.model.buildspec.reports import one_line

    return {
        "buildStatus": "FAILED" if result.failure else "SUCCEEDED",
        "failure": result.failure,
        "phases": [
            {"phaseType": name.upper(), "durationInSeconds": seconds}
            for name, seconds in result.seconds.items()
        ],
        "exportedVariables": dict(result.exported_variables),
        "artifacts": [vars(each) for each in kept],
        "reports": [
            {"name": report.group, "summary": one_line([report])} for report in result.reports.reports
        ],
    }
