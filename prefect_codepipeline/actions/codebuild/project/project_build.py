"""Run a build of a CodeBuild project for an action or a rule: on this worker or in AWS, alone or as a batch.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeBuild.html
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from prefect_codepipeline.actions.codebuild.build.buildspec_files import read_buildspec
from prefect_codepipeline.actions.codebuild.build.running import BuildResult
from prefect_codepipeline.actions.codebuild.project.finding import find_project
from prefect_codepipeline.actions.codebuild.project.numbers import next_number
from prefect_codepipeline.actions.codebuild.project.project_batch import run_project_batch
from prefect_codepipeline.actions.codebuild.project.queue import turn_of
from prefect_codepipeline.actions.codebuild.project.single_build import SingleBuild
from prefect_codepipeline.actions.codebuild.reports.collecting import CollectedReports
from prefect_codepipeline.actions.codebuild.reports.publishing import keep_report_files, publish_reports
from prefect_codepipeline.actions.codebuild.service.running import (
    build_in_aws,
    project_is_gone,
    run_in_codebuild,
)
from prefect_codepipeline.actions.codebuild.wanted_build import WantedBuild
from prefect_codepipeline.actions.commands.failures import explain_full_disk
from prefect_codepipeline.actions.git.process import Access
from prefect_codepipeline.actions.git.source import clone_reference
from prefect_codepipeline.actions.registry import ActionContext, ActionResult
from prefect_codepipeline.actions.work import InputTree, OutputTree
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.prefect_api.ui import run_url


def run_project_build(wanted: WantedBuild, context: ActionContext) -> ActionResult:
    """Run the build that an action wants, as the project's CodeBuildProject block says, to its end.

    Raises:
        ActionFailed: the build failed; with code `Timeout`, it took too long; `ConfigurationError`, a setting is
            wrong or not supported.
        ActionAbandoned: the execution was cancelled.
    """
    block = find_project(wanted.project_name)
    if block and (block.where == "aws" or build_in_aws(context)):
        return run_in_codebuild(block, wanted, context)
    if build := build_in_aws(context):
        raise project_is_gone(wanted.project_name, build)
    local = ProjectBuild.of(block, wanted, context)
    with explain_full_disk(context), local.turn():
        return local.run()


def _settings(block: CodeBuildProject | None, context: ActionContext) -> ActionSettings:
    """The settings of the block, and those of the pipeline for what the block does not set."""
    if block is None:
        return context.settings
    return ActionSettings(
        run_on=block.where if block.where in ("docker", "host") else context.settings.run_on,
        image=block.image,
        cpus=block.size.cpus,
        memory_mib=block.size.memory_mib,
        network=block.network,
        docker_host=block.docker_host or context.settings.docker_host,
    )


@dataclass(frozen=True)
class ProjectBuild:
    """A build of a project that runs on this worker."""

    wanted: WantedBuild
    project: CodeBuildProject
    settings: ActionSettings
    context: ActionContext

    @classmethod
    def of(cls, block: CodeBuildProject | None, wanted: WantedBuild, context: ActionContext) -> ProjectBuild:
        """The build of a project with its block. Without one, a block's defaults and the pipeline's settings apply."""
        return cls(wanted, block or CodeBuildProject(), _settings(block, context), context)

    @property
    def id(self) -> str:
        """The id in CodeBuild's format: the project and a unique id."""
        return f"{self.wanted.project_name}:{self.context.action_execution_id}"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the project's turn, if the project limits its concurrent builds."""
        with ExitStack() as stack:
            if limit := self.project.concurrent_build_limit:
                minutes = self.project.queued_timeout_in_minutes
                stack.enter_context(turn_of(self.wanted.project_name, limit, minutes, self.context))
            yield

    def run(self) -> ActionResult:
        """Run the build and publish its reports; the result of the action.

        Raises:
            ActionFailed: as `run_project_build`.
            ActionAbandoned: the execution was cancelled.
        """
        single = self.single(str(next_number(self.wanted.project_name)))
        if not self.wanted.batch:
            result = single.run(self.wanted.outputs)
            return self._result([result], result.failure, result.output_artifacts)
        done = run_project_batch(single)
        return self._result(list(done.results.values()), done.failure, done.output_artifacts)

    def single(self, number: str | None = None) -> SingleBuild:
        """The build with fetched sources and parsed buildspec; `number` is CODEBUILD_BUILD_NUMBER.

        Raises:
            ActionFailed: with code `ConfigurationError`, there is no valid buildspec; with other codes, git failed.
        """
        sources, access = self._sources()
        context = replace(
            self.context,
            input_artifacts=sources,
            settings=self.settings,
            deadline=min(self.context.deadline, time.monotonic() + 60 * self.project.timeout_in_minutes),
        )
        wanted = self.wanted.buildspec or self.project.buildspec
        spec = read_buildspec(wanted, sources[0].directory, context)
        own = {
            "CODEBUILD_BUILD_ID": self.id,
            **({"CODEBUILD_BUILD_NUMBER": number} if number else {}),
            **self._region(),
            **_source_variables(sources, access),
        }
        return SingleBuild(self.wanted, self.project, spec, context, own, access)

    def _region(self) -> dict[str, str]:
        """The region of the action or, if it names none, of the project."""
        region = self.context.action.region or self.project.aws_region
        return {"AWS_REGION": region, "AWS_DEFAULT_REGION": region} if region else {}

    def _sources(self) -> tuple[tuple[InputTree, ...], Access | None]:
        """The inputs, with full clones instead of references to them; the access to the primary one's repository."""
        sources: list[InputTree] = []
        opened: list[Access | None] = []
        for tree in self.wanted.inputs:
            access = None
            if tree.format == "CODEBUILD_CLONE_REF":
                clone = tree.directory.with_name(f"{tree.name}.clone")
                access = clone_reference(tree.directory, clone, self.context)
                tree = replace(tree, directory=clone, format="CODE_ZIP")
            sources.append(tree)
            opened.append(access)
        return tuple(sources), opened[0]

    def _result(
        self, results: Sequence[BuildResult], failure: str | None, trees: Mapping[str, OutputTree]
    ) -> ActionResult:
        reports = self._publish(results)
        if failure:
            first, newline, rest = failure.partition("\n")
            found = f" ({reports.one_line})" if reports.one_line else ""
            raise ActionFailed(
                f"{first}{found}{newline}{rest}",
                external_execution_id=self.id,
                external_execution_url=self._url,
            )
        commands, seconds = (
            sum(result.commands for result in results),
            sum(sum(result.seconds.values()) for result in results),
        )
        parts = [f"{commands} command{'s' if commands != 1 else ''} ran in {seconds:.0f} s", reports.one_line]
        return ActionResult(
            summary="; ".join(filter(None, parts)),
            output_artifacts=trees,
            output_variables=_all_variables(results),
            external_execution_id=self.id,
            external_execution_url=self._url,
        )

    @property
    def _url(self) -> str | None:
        return run_url(self.context.pipeline_execution_id)

    def _publish(self, results: Sequence[BuildResult]) -> CollectedReports:
        """Publish the reports in Prefect and store their files; an error here does not fail the build."""
        found = [result.reports for result in results]
        reports = CollectedReports(
            tuple(each for part in found for each in part.reports),
            tuple(each for part in found for each in part.warnings),
            tuple(each for part in found for each in part.files),
        )
        context = self.context
        publish_reports(reports, context.pipeline_name, context.action.name)
        if context.store and reports.files:
            place = (
                context.pipeline_name,
                context.pipeline_execution_id,
                context.stage_name,
                context.action.name,
            )
            try:
                folder = keep_report_files(context.store, reports, *place)
                context.logger.info("The report files are stored in %s", folder)
            except ActionFailed as error:
                context.logger.warning("%s", error)
        return reports


def _source_variables(sources: Sequence[InputTree], access: Access | None) -> dict[str, str]:
    """The variables for the source's version and the URL of its repository, if they are known."""
    version = sources[0].revision_id
    return {
        **({"CODEBUILD_SOURCE_VERSION": version} if version else {}),
        **({"CODEBUILD_SOURCE_REPO_URL": access.url} if access else {}),
    }


def _all_variables(results: Sequence[BuildResult]) -> dict[str, str]:
    """The exported variables of all builds; if several export one name, the last one counts."""
    return {name: value for result in results for name, value in result.exported_variables.items()}
