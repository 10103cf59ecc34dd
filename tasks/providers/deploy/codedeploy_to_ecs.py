"""Deploy/AWS/CodeDeployToECS/1: a task definition with new images, deployed to a service in ECS by CodeDeploy.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-ECSbluegreen.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import model_validator

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.codedeploy_service.deployments import DeploymentGroup, deploy, group_lookup
from prefect_codepipeline.actions.ecs.task_definitions import accepted_keys, registered, short_name
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import wrong_configuration

MOST_BYTES = 3 << 20
IMAGE_FILE = "imageDetail.json"
_TASK_DEFINITION = "<TASK_DEFINITION>"
_PLACEHOLDER = re.compile(r"<\w+>")
# What ECS says of a task definition, beside its content.
_OF_ECS = {
    "taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities", "registeredAt",
    "registeredBy", "deregisteredAt", "deleteRequestedAt",
}  # fmt: skip


class CodeDeployToEcsConfiguration(ActionConfiguration):
    """The configuration of an action. `<Image1ContainerName>` in the task definition becomes the first image."""

    application_name: str
    deployment_group_name: str
    task_definition_template_artifact: str
    app_spec_template_artifact: str
    app_spec_template_path: str = "appspec.yaml"
    task_definition_template_path: str = "taskdef.json"
    image1_artifact_name: str | None = None
    image1_container_name: str | None = None
    image2_artifact_name: str | None = None
    image2_container_name: str | None = None
    image3_artifact_name: str | None = None
    image3_container_name: str | None = None
    image4_artifact_name: str | None = None
    image4_container_name: str | None = None

    @property
    def images(self) -> dict[int, tuple[str | None, str | None]]:
        """The artifact of each image, and the name of its placeholder."""
        return {
            1: (self.image1_artifact_name, self.image1_container_name),
            2: (self.image2_artifact_name, self.image2_container_name),
            3: (self.image3_artifact_name, self.image3_container_name),
            4: (self.image4_artifact_name, self.image4_container_name),
        }

    @model_validator(mode="after")
    def _has_both_names_of_each_image(self) -> CodeDeployToEcsConfiguration:
        for number, (artifact, container) in self.images.items():
            if bool(artifact) != bool(container):
                raise ValueError(
                    f"Image{number}ArtifactName and Image{number}ContainerName are given only together"
                )
        return self


def _named(configuration: CodeDeployToEcsConfiguration, context: ActionContext) -> Iterator[Lookup]:
    yield group_lookup(configuration.application_name, configuration.deployment_group_name)


@action_provider(
    category="Deploy",
    provider="CodeDeployToECS",
    inputs=(1, 5),
    outputs=(0, 0),
    restartable=True,
    online=_named,
)
def deploy_to_ecs_with_codedeploy(
    configuration: CodeDeployToEcsConfiguration, context: ActionContext
) -> ActionResult:
    """Register the task definition, deploy the AppSpec file that names it, and wait for CodeDeploy.

    What an earlier process did is found again by the tag of the task definition and the description of the deployment.
    """
    group = DeploymentGroup.of(configuration.application_name, configuration.deployment_group_name, context)
    ecs = client_of(context, "ecs")
    definition = registered(
        context,
        ecs,
        lambda: _to_register(configuration, context, accepted_keys(ecs)),
        lambda: str(_task_definition(configuration, context)["family"]),
    )
    work = deploy(group, lambda: _revision(configuration, context, definition.id))
    return ActionResult(
        summary=f"deployment {work.id!r} to {group.what} deployed {short_name(definition.id)!r}",
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _to_register(
    configuration: CodeDeployToEcsConfiguration, context: ActionContext, accepted: set[str]
) -> dict[str, Any]:
    """The arguments of `RegisterTaskDefinition`."""
    definition = _task_definition(configuration, context)
    if _TASK_DEFINITION not in _app_spec(configuration, context):  # read before anything is registered
        context.logger.warning(
            "%s has no %s: the task definition of this action is registered, but not deployed",
            configuration.app_spec_template_path,
            _TASK_DEFINITION,
        )
    if left_out := sorted(_OF_ECS & definition.keys() - accepted):
        context.logger.warning("%s of the task definition are set by ECS, and left out", ", ".join(left_out))
    return {key: value for key, value in definition.items() if key not in left_out}


def _task_definition(configuration: CodeDeployToEcsConfiguration, context: ActionContext) -> dict[str, Any]:
    """The task definition with its images in place of their placeholders."""
    path = configuration.task_definition_template_path
    artifact = configuration.task_definition_template_artifact
    text = _text(context, artifact, path, "TaskDefinitionTemplatePath")
    for placeholder, image in _images(configuration, context):
        if placeholder not in text:
            context.logger.warning("%s has no %s: image %s is not used", path, placeholder, image)
        text = text.replace(placeholder, json.dumps(image)[1:-1])
    what = f"TaskDefinitionTemplatePath: {path!r} of {artifact!r}"
    definition = _object(text, what)
    if not isinstance(definition.get("family"), str):
        raise wrong_configuration(
            f"{what} has no 'family'; it must be a task definition as RegisterTaskDefinition takes it"
        )
    containers = definition.get("containerDefinitions")
    for container in containers if isinstance(containers, list) else ():
        left = container.get("image") if isinstance(container, dict) else None
        if isinstance(left, str) and _PLACEHOLDER.fullmatch(left):
            raise wrong_configuration(
                f"{what}: container {container.get('name')!r} has the image {left}; name this placeholder in "
                f"Image1ContainerName as {left.strip('<>')!r}, and its artifact in Image1ArtifactName"
            )
    return definition


def _images(configuration: CodeDeployToEcsConfiguration, context: ActionContext) -> Iterator[tuple[str, str]]:
    """The placeholders in the task definition, and the images in their place."""
    for number, (artifact, container) in configuration.images.items():
        if artifact and container:
            key = f"Image{number}ArtifactName"
            detail = _object(
                _text(context, artifact, IMAGE_FILE, key), f"{key}: {IMAGE_FILE} of {artifact!r}"
            )
            image = detail.get("ImageURI")
            if not (isinstance(image, str) and image):
                raise wrong_configuration(f"{key}: {IMAGE_FILE} of {artifact!r} has no text 'ImageURI'")
            yield f"<{container.strip('<>')}>", image


def _revision(
    configuration: CodeDeployToEcsConfiguration, context: ActionContext, task_definition: str
) -> dict[str, Any]:
    """The revision that CodeDeploy deploys: the AppSpec file."""
    content = _app_spec(configuration, context).replace(_TASK_DEFINITION, task_definition)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {"revisionType": "AppSpecContent", "appSpecContent": {"content": content, "sha256": digest}}


def _app_spec(configuration: CodeDeployToEcsConfiguration, context: ActionContext) -> str:
    return _text(
        context,
        configuration.app_spec_template_artifact,
        configuration.app_spec_template_path,
        "AppSpecTemplatePath",
    )


def _text(context: ActionContext, artifact: str, path: str, key: str) -> str:
    content = read_input_file(context.input_artifacts, f"{artifact}::{path}", key, MOST_BYTES)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong_configuration(f"{key}: {path!r} of {artifact!r} is not UTF-8: {error}") from None


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise wrong_configuration(f"{what} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise wrong_configuration(f"{what} is not a JSON object")
    return found
