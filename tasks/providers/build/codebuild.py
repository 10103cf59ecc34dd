"""Build/AWS/CodeBuild/1 and Test/AWS/CodeBuild/1: run the buildspec of a project, on this worker or in AWS.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeBuild.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator

from prefect_codepipeline.actions.codebuild.project.finding import find_project
from prefect_codepipeline.actions.codebuild.project.project_build import run_project_build
from prefect_codepipeline.actions.codebuild.service.clients import account_of_project
from prefect_codepipeline.actions.codebuild.service.running import can_find_again
from prefect_codepipeline.actions.codebuild.wanted_build import WantedBuild
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.actions.work import FetchedWhenUsed, InputTree
from prefect_codepipeline.blocks.codebuild_project import ProjectVariable
from prefect_codepipeline.errors import ActionFailed


class ProjectConfiguration(ActionConfiguration):
    """A project, and the settings of an action or a rule that differ from it."""

    project_name: str = Field(min_length=1)
    primary_source: str | None = None
    batch_enabled: bool = False
    combine_artifacts: bool = False
    environment_variables: list[ProjectVariable] = Field(default_factory=list)

    @field_validator("environment_variables", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        """Parse the JSON array: every value of a configuration is a text."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f'not a JSON array of {{"name", "value", "type"}} objects: {error}') from None


class CodeBuildConfiguration(ProjectConfiguration):
    """The configuration of an action.

    `ServiceRoleArnOverride` has no effect, even for projects that run in AWS: the worker's own credentials and the
    block's `aws_role_arn` are used.
    """

    buildspec_override: str | None = None
    service_role_arn_override: str | None = None


def _is_in_aws(configuration: CodeBuildConfiguration, context: ActionContext) -> bool:
    """A build in AWS outlives the worker that started it, and can be found again; a build on the worker dies with it."""
    return can_find_again(find_project(configuration.project_name), context)


def _named(configuration: CodeBuildConfiguration, context: ActionContext) -> Iterator[Lookup]:
    project = find_project(configuration.project_name)
    if project is None or project.where != "aws":
        return
    name = project.aws_project_name or configuration.project_name
    names = {"names": [name]}
    connect = account_of_project(project, context.settings.aws, context.action.region).client
    what = f"CodeBuild project {name!r}"
    yield Lookup(what, "codebuild", "batch_get_projects", names, "projects", connect=connect)


@action_provider(
    category="Build",
    provider="CodeBuild",
    inputs=(1, 5),
    outputs=(0, 5),
    restartable=_is_in_aws,
    online=_named,
)
@action_provider(
    category="Test",
    provider="CodeBuild",
    inputs=(1, 5),
    outputs=(0, 5),
    restartable=_is_in_aws,
    online=_named,
)
def run_codebuild(configuration: CodeBuildConfiguration, context: ActionContext) -> ActionResult:
    """Run the build and wait for its end."""
    if configuration.service_role_arn_override and not context.earlier:
        context.logger.warning("ServiceRoleArnOverride of action %r has no effect", context.action.name)
    return run_project_build(wanted_build(configuration, context), context)


def wanted_build(configuration: CodeBuildConfiguration, context: ActionContext) -> WantedBuild:
    """The build that an action wants from its project.

    Its `inputs` are fetched when they are used, and raise `ActionFailed` then for an invalid PrimarySource.
    """
    return WantedBuild(
        project_name=configuration.project_name,
        inputs=FetchedWhenUsed(len(context.input_artifacts), lambda: _sources(configuration, context)),
        outputs=[artifact.name for artifact in context.action.output_artifacts],
        variables=configuration.environment_variables,
        buildspec=configuration.buildspec_override,
        batch=configuration.batch_enabled,
        combine_artifacts=configuration.combine_artifacts,
    )


def _sources(configuration: CodeBuildConfiguration, context: ActionContext) -> list[InputTree]:
    """The input artifacts, the primary one first."""
    trees = list(context.input_artifacts)
    primary = configuration.primary_source
    names = [tree.name for tree in trees]
    if primary is None and len(trees) > 1:
        raise ActionFailed(
            f"PrimarySource is required with more than one input artifact; set it to one of {', '.join(names)}",
            code="ConfigurationError",
        )
    if primary is not None and primary not in names:
        raise ActionFailed(
            f"PrimarySource {primary!r} is not an input artifact of the action; set it to one of {', '.join(names)}",
            code="ConfigurationError",
        )
    return sorted(trees, key=lambda tree: tree.name != (primary or tree.name))
