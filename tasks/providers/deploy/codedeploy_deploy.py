"""Deploy/AWS/CodeDeploy/1: the input, a bundle with an AppSpec file, deployed to hosts by CodeDeploy in AWS.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeDeploy.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from prefect_codepipeline.actions.aws.location import upload_revision
from prefect_codepipeline.actions.codedeploy_service.deployments import DeploymentGroup, deploy, group_lookup
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed

# The agent on the hosts looks for them in this order.
_APP_SPECS = ("appspec.yml", "appspec.yaml")


class CodeDeployConfiguration(ActionConfiguration):
    """The configuration of an action."""

    application_name: Annotated[str, Field(min_length=1)]
    deployment_group_name: Annotated[str, Field(min_length=1)]


def _named(configuration: CodeDeployConfiguration, context: ActionContext) -> Iterator[Lookup]:
    yield group_lookup(configuration.application_name, configuration.deployment_group_name)


@action_provider(
    category="Deploy",
    provider="CodeDeploy",
    inputs=(1, 1),
    outputs=(0, 0),
    restartable=True,
    online=_named,
)
def deploy_with_codedeploy(configuration: CodeDeployConfiguration, context: ActionContext) -> ActionResult:
    """Upload the bundle to the location in S3, deploy it, and wait for CodeDeploy.

    What an earlier process did is found again by the description of the deployment.
    """
    group = DeploymentGroup.of(configuration.application_name, configuration.deployment_group_name, context)
    work = deploy(group, lambda: _revision(group))
    return ActionResult(
        summary=f"deployment {work.id!r} to {group.what} succeeded",
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _revision(group: DeploymentGroup) -> dict[str, Any]:
    """The revision that CodeDeploy deploys: the bundle as it was uploaded."""
    (tree,) = group.context.input_artifacts
    _check_bundle(tree)
    group.context.report_progress("uploading the bundle to S3")
    uploaded = upload_revision(group.context, tree, group.codedeploy.meta.region_name)
    place = {"bucket": uploaded.bucket, "key": uploaded.key, "bundleType": "zip", "eTag": uploaded.e_tag}
    if uploaded.version:
        place["version"] = uploaded.version
    return {"revisionType": "S3", "s3Location": place}


def _check_bundle(tree: InputTree) -> None:
    """The AppSpec file must be where the agent on the hosts finds it: a single folder at the root counts as the root."""
    if _has_app_spec(tree.directory):
        return
    inside = list(tree.directory.iterdir())
    if len(inside) == 1 and inside[0].is_dir() and _has_app_spec(inside[0]):
        return
    elsewhere = sorted(
        str(path.relative_to(tree.directory))
        for name in _APP_SPECS
        for path in tree.directory.rglob(name)
        if path.is_file()
    )
    found = f"; it is in {elsewhere[0]!r}, where CodeDeploy does not look" if elsewhere else ""
    raise ActionFailed(
        f"input artifact {tree.name!r} has no {' or '.join(_APP_SPECS)} at its root{found}; put it there, or let the "
        "build give an output artifact that has it at its root",
        code="ConfigurationError",
    )


def _has_app_spec(directory: Path) -> bool:
    return any((directory / name).is_file() for name in _APP_SPECS)
