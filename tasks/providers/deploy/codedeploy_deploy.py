"""Deploy/AWS/CodeDeploy/1: the input, a bundle with an AppSpec file, deployed to own hosts or by CodeDeploy in AWS.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeDeploy.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from prefect_codepipeline.actions.aws.location import upload_revision
from prefect_codepipeline.actions.codedeploy_service.deployments import DeploymentGroup, deploy, group_lookup
from prefect_codepipeline.actions.deploying.bundle import find_appspec
from prefect_codepipeline.actions.deploying.finding import find_application, find_group
from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.actions.deploying.rollout.deployment import deploy_to_hosts
from prefect_codepipeline.actions.deploying.rollout.target import Target
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, PrefectUnavailable
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup as HostsGroup
from prefect_codepipeline.model.codedeploy.names import deployment_id


class CodeDeployConfiguration(ActionConfiguration):
    """The configuration of an action."""

    application_name: Annotated[str, Field(min_length=1)]
    deployment_group_name: Annotated[str, Field(min_length=1)]


def _named(configuration: CodeDeployConfiguration, context: ActionContext) -> Iterator[Lookup]:
    application, name = configuration.application_name, configuration.deployment_group_name
    with suppress(PrefectUnavailable):  # without a server no group is known here
        block = find_application(application)
        group = block.group(name) if block else None
        if group and group.place != "aws":
            return
    yield group_lookup(application, name)


@action_provider(
    category="Deploy",
    provider="CodeDeploy",
    inputs=(1, 1),
    outputs=(0, 0),
    restartable=True,
    online=_named,
)
def deploy_with_codedeploy(configuration: CodeDeployConfiguration, context: ActionContext) -> ActionResult:
    """Deploy to the hosts of the application's block, or by CodeDeploy in AWS, and wait for the end."""
    group = _group_on_hosts(configuration, context)
    if group is None:
        return _deploy_in_aws(configuration, context)
    return deploy_to_hosts(Target(configuration.application_name, group, context))


def _group_on_hosts(configuration: CodeDeployConfiguration, context: ActionContext) -> HostsGroup | None:
    """The deployment group, unless it is in AWS. A deployment that has begun on hosts never continues in AWS."""
    application, name = configuration.application_name, configuration.deployment_group_name
    refusal = None
    try:
        group = find_group(application, name)
    except ActionFailed as error:
        group, refusal = None, error
    if group and group.place != "aws":
        return group
    begun = find_deployment(deployment_id(context.action_execution_id)) if context.earlier else None
    if begun:
        context.logger.warning(
            "The settings of deployment group %r of application %r were changed or deleted in mid-deployment: it continues "
            "with those that it began with, but without the access to hosts that they had",
            name, application,
        )  # fmt: skip
        return begun.deployment.settings
    if refusal:
        raise refusal
    return None


def _deploy_in_aws(configuration: CodeDeployConfiguration, context: ActionContext) -> ActionResult:
    """Upload the bundle to the location in S3, deploy it, and wait for CodeDeploy.

    What an earlier process did is found again by the description of the deployment.
    """
    application = find_application(configuration.application_name)
    if application and application.aws_location:
        context = _with_location(context, application.aws_location)
    group = DeploymentGroup.of(configuration.application_name, configuration.deployment_group_name, context)
    work = deploy(group, lambda: _revision(group))
    return ActionResult(
        summary=f"deployment {work.id!r} to {group.what} succeeded",
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _with_location(context: ActionContext, location: str) -> ActionContext:
    """The context with another place in S3 than that of the settings."""
    aws = context.settings.aws.model_copy(update={"location": location, "locations": None})
    return replace(context, settings=context.settings.model_copy(update={"aws": aws}))


def _revision(group: DeploymentGroup) -> dict[str, Any]:
    """The revision that CodeDeploy deploys: the bundle as it was uploaded."""
    (tree,) = group.context.input_artifacts
    find_appspec(tree.directory, f"input artifact {tree.name!r}")
    group.context.report_progress("uploading the bundle to S3")
    uploaded = upload_revision(group.context, tree, group.codedeploy.meta.region_name)
    place = {"bucket": uploaded.bucket, "key": uploaded.key, "bundleType": "zip", "eTag": uploaded.e_tag}
    if uploaded.version:
        place["version"] = uploaded.version
    return {"revisionType": "S3", "s3Location": place}
