"""The batch of a CodeBuild project: each build in its own directories, and the artifacts of all of them.

https://docs.aws.amazon.com/codebuild/latest/userguide/batch-build-buildspec.html
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.codebuild.build.artifacts import ALL_OF_IT
from prefect_codepipeline.actions.codebuild.build.buildspec_files import read_buildspec
from prefect_codepipeline.actions.codebuild.build.running import BuildResult
from prefect_codepipeline.actions.codebuild.project.batch import BatchResult, run_batch
from prefect_codepipeline.actions.codebuild.project.single_build import SingleBuild
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import CancellationToken, OutputTree
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.parts import Batch, BatchBuild, BatchEnv, Buildspec
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.compute_types import COMPUTE_SIZES


@dataclass(frozen=True)
class ProjectBatchResult:
    """The result of a batch: `failure` is None if it succeeded; `results` has the builds that ran to their end."""

    failure: str | None
    results: Mapping[str, BuildResult]
    output_artifacts: Mapping[str, OutputTree]


def run_project_batch(common: SingleBuild) -> ProjectBatchResult:
    """Run the batch of a buildspec. `common` contains what is the same for all its builds.

    Raises:
        ActionFailed: with code `ConfigurationError`, the buildspec has no batch; `Timeout`, it took too long.
        ActionAbandoned: the execution was cancelled.
    """
    batch = common.spec.batch
    if batch is None:
        raise ActionFailed(
            "BatchEnabled is set, but the buildspec has no `batch`; add one, or remove BatchEnabled",
            code="ConfigurationError",
        )
    context = common.context
    done = run_batch(batch, partial(_run, common), context)
    for identifier, why in done.skipped.items():
        context.logger.warning("Build %s of the batch did not run: %s", identifier, why)
    failure = _failure_of(batch, done)
    trees = {} if failure else _outputs(done, common)
    return ProjectBatchResult(failure, done.results, trees)


def _run(common: SingleBuild, build: BatchBuild, token: CancellationToken) -> BuildResult:
    scratch = common.context.scratch / f"batch-{build.identifier}"
    scratch.mkdir()
    inputs = tuple(
        replace(tree, directory=_copy(tree.directory, scratch / "inputs" / tree.name))
        for tree in common.context.input_artifacts
    )
    context = replace(
        common.context,
        scratch=_created(scratch / "scratch"),
        input_artifacts=inputs,
        settings=_settings(common.context.settings, build.env),
        cancellation=token,
        logger=_BuildLogger(common.context.logger, build.identifier),
        report_progress=_progress(common.context, build.identifier),
    )
    spec = common.spec
    if build.buildspec:
        spec = read_buildspec(build.buildspec, inputs[0].directory, context)
    own = {
        **common.own_variables,
        "CODEBUILD_BUILD_ID": f"{common.own_variables['CODEBUILD_BUILD_ID']}-{build.identifier}",
        "CODEBUILD_BATCH_BUILD_IDENTIFIER": build.identifier,
    }
    single = replace(
        common, spec=spec, context=context, own_variables=own, project=_project(common.project, build.env)
    )
    return single.run(_outputs_of(build, common, spec), build.env.variables)


def _project(project: CodeBuildProject, env: BatchEnv) -> CodeBuildProject:
    """The project with the build's privileged mode, which a buildspec can turn on only if the block allows it."""
    if env.privileged_mode and not project.privileged:
        raise ActionFailed(
            "batch: env.privileged-mode is set, but the CodeBuildProject block does not allow it; set privileged in the "
            "block, or remove privileged-mode",
            code="ConfigurationError",
        )
    return (
        project
        if env.privileged_mode is None
        else project.model_copy(update={"privileged": env.privileged_mode})
    )


def _settings(settings: ActionSettings, env: BatchEnv) -> ActionSettings:
    if env.type and env.type.startswith("WINDOWS"):
        raise ActionFailed(
            f"batch: env.type {env.type} is not supported: builds run on Linux or macOS",
            code="ConfigurationError",
        )
    changes: dict[str, Any] = {"image": env.image} if env.image else {}
    if size := COMPUTE_SIZES.get(env.compute_type or ""):
        changes.update(cpus=size.cpus, memory_mib=size.memory_mib)
    return settings.model_copy(update=changes)


def _progress(context: ActionContext, identifier: str) -> Any:
    def report(summary: str = "", *_: object, **__: object) -> None:
        context.report_progress(f"{identifier}: {summary}")

    return report


# -- artifacts

# An output is named like a build, or `<build>_<secondary artifact>`. Every build adds to an output of another name.


def _outputs_of(build: BatchBuild, common: SingleBuild, spec: Buildspec) -> dict[str, str]:
    """The outputs that a build contributes to, each with the artifact block of its buildspec."""
    shared = _shared(common)
    own = {
        build.identifier: ALL_OF_IT,
        **{f"{build.identifier}_{name}": name for name in spec.secondary_artifacts},
    }
    return {
        **{output: name for output, name in own.items() if output in common.wanted.outputs},
        **({shared[0]: ALL_OF_IT} if len(shared) == 1 else {name: name for name in shared}),
    }


def _shared(common: SingleBuild) -> list[str]:
    batch = common.spec.batch
    names = [build.identifier for build in batch.builds] if batch else []
    return [
        output
        for output in common.wanted.outputs
        if not any(output == name or output.startswith(f"{name}_") for name in names)
    ]


def _outputs(done: BatchResult, common: SingleBuild) -> dict[str, OutputTree]:
    """The outputs of the action. In an output of several builds, each build has a folder, named by its identifier.

    With CombineArtifacts the files of all builds are merged into one folder; a later file replaces one of the same path.
    """
    shared = _shared(common)
    found: dict[str, OutputTree] = {}
    for identifier, result in done.results.items():
        for name, tree in result.output_artifacts.items():
            if name not in shared:
                found[name] = tree
                continue
            directory = _created(common.context.scratch / f"output-{name}")
            _copy_over(tree, directory if common.wanted.combine_artifacts else directory / identifier)
            found[name] = OutputTree(directory)
    return found


def _copy_over(tree: OutputTree, target: Path) -> None:
    """Copy a tree into a directory; existing files are replaced."""
    if tree.files is None:
        shutil.copytree(tree.directory, target, symlinks=True, dirs_exist_ok=True)
        return
    for name in tree.files:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        shutil.copy2(tree.directory / name, place, follow_symlinks=False)


def _failure_of(batch: Batch, done: BatchResult) -> str | None:
    """Why the batch failed, or None if it succeeded; ignored failures do not count."""
    counted = [
        f"{build.identifier}: {why}"
        for build in batch.builds
        if not build.ignore_failure
        and (why := done.failures.get(build.identifier) or done.skipped.get(build.identifier))
    ]
    if not counted:
        return None
    first = f"{len(counted)} of {len(batch.builds)} builds of the batch did not succeed"
    return "\n".join([first, *counted])


class _BuildLogger(logging.LoggerAdapter[Any]):
    """Prefixes each line with the identifier of a build."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any], identifier: str) -> None:
        super().__init__(logger, {})
        self._prefix = f"[{identifier}] "

    def log(self, level: int, msg: object, *args: object, **_: Any) -> None:
        text = str(msg) % args if args else str(msg)
        self.logger.log(level, "%s", "\n".join(self._prefix + line for line in text.split("\n")))


def _copy(directory: Path, target: Path) -> Path:
    return Path(shutil.copytree(directory, target, symlinks=True))


def _created(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
