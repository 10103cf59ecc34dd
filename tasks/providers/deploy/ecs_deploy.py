"""Deploy/AWS/ECS/1: new images for a service in ECS.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-ECS.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Annotated, Any

from pydantic import Field

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.ecs.deployments import Deployment, deploy
from prefect_codepipeline.actions.ecs.services import Service
from prefect_codepipeline.actions.ecs.task_definitions import (
    arguments_of,
    describe,
    family_of,
    registered,
    short_name,
)
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import wrong_configuration

MOST_BYTES = 100 << 10


class EcsDeployConfiguration(ActionConfiguration):
    """The configuration of an action."""

    cluster_name: Annotated[str, Field(min_length=1)]
    service_name: Annotated[str, Field(min_length=1)]
    file_name: str = "imagedefinitions.json"
    deployment_timeout: Annotated[int, Field(ge=1, le=60)] = 60


def _named(configuration: EcsDeployConfiguration, context: ActionContext) -> Iterator[Lookup]:
    cluster, service = configuration.cluster_name, configuration.service_name
    named = {"cluster": cluster, "services": [service]}
    what = f"service {service!r} of cluster {cluster!r}"
    yield Lookup(what, "ecs", "describe_services", named, "services[?status=='ACTIVE']")


@action_provider(
    category="Deploy", provider="ECS", inputs=(1, 1), outputs=(0, 0), restartable=True, online=_named
)
def deploy_to_ecs(configuration: EcsDeployConfiguration, context: ActionContext) -> ActionResult:
    """Register the service's task definition with the new images, deploy it, and wait until the service is steady.

    What an earlier process did is found again by the tag of the revision, and by the revision.
    """
    context = _within_its_timeout(configuration, context)
    service = Service.of(configuration.cluster_name, configuration.service_name, context)
    revision = registered(
        context,
        service.ecs,
        lambda: _with_new_images(configuration, service, context),
        lambda: family_of(service.required()["taskDefinition"]),
    )
    work = deploy(Deployment(service, revision.id, context))
    return ActionResult(
        summary=f"{service.what} runs {short_name(revision.id)!r}",
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _within_its_timeout(configuration: EcsDeployConfiguration, context: ActionContext) -> ActionContext:
    """The context with DeploymentTimeout, counted from the first start of the action."""
    passed = (datetime.now(timezone.utc) - context.began).total_seconds()
    end = time.monotonic() + configuration.deployment_timeout * 60 - passed
    return replace(context, deadline=min(context.deadline, end))


def _with_new_images(
    configuration: EcsDeployConfiguration, service: Service, context: ActionContext
) -> dict[str, Any]:
    """The arguments of a revision of the service's task definition."""
    images = _read_images(configuration, context)
    state = service.required()
    controller = state.get("deploymentController", {}).get("type", "ECS")
    if controller != "ECS":
        raise wrong_configuration(
            f"{service.what} has the deployment controller {controller}; this action needs ECS"
            + (": use an action of type Deploy/AWS/CodeDeployToECS/1" if controller == "CODE_DEPLOY" else "")
        )
    definition, tags = describe(service.ecs, state["taskDefinition"])
    containers = definition["containerDefinitions"]
    known = [container["name"] for container in containers]
    if unknown := [name for name in images if name not in known]:
        raise wrong_configuration(
            f"{configuration.file_name}: task definition {short_name(state['taskDefinition'])!r} of {service.what} has "
            f"no container {unknown[0]!r}; its containers: {', '.join(known)}"
        )
    renewed = [{**each, "image": images.get(each["name"], each.get("image"))} for each in containers]
    return arguments_of(service.ecs, {**definition, "containerDefinitions": renewed}, tags)


def _read_images(configuration: EcsDeployConfiguration, context: ActionContext) -> Mapping[str, str]:
    """The image of each container that the image definitions file names."""
    file, tree = configuration.file_name, context.input_artifacts[0]
    content = read_input_file([tree], f"{tree.name}::{file}", "FileName", MOST_BYTES)
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested too deeply
        raise wrong_configuration(f"{file} of {tree.name!r} is not JSON: {error}") from None
    form = '[{"name": "container", "imageUri": "image"}]'
    if not isinstance(entries, list) or not entries:
        raise wrong_configuration(f"{file} of {tree.name!r} is not a list of the form {form}")
    images: dict[str, str] = {}
    for entry in entries:
        name, image = (entry.get("name"), entry.get("imageUri")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(name, str) and name and isinstance(image, str) and image):
            raise wrong_configuration(
                f"{file} of {tree.name!r}: {json.dumps(entry)} is not an entry of the form {form}"
            )
        if name in images:
            raise wrong_configuration(
                f"{file} of {tree.name!r} names container {name!r} twice; remove one of the entries"
            )
        images[name] = image
    return images
