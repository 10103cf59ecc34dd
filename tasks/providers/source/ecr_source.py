"""Source/AWS/ECR/1: an image in ECR; its artifact is the file `imageDetail.json`, which names the image by its digest.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-ECR.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timezone
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.image_registry import find_manifest
from prefect_codepipeline.actions.commands.environment import secret_value
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    OutputTree,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.record.artifacts import SourceRevision

FILE = "imageDetail.json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DOMAINS = {"aws-cn": "amazonaws.com.cn"}


class EcrSourceConfiguration(ActionConfiguration):
    """The configuration of an action."""

    repository_name: str = Field(min_length=1)
    image_tag: str = "latest"


@action_provider(category="Source", provider="ECR", inputs=(0, 0), outputs=(1, 1), restartable=True)
def read_from_ecr(configuration: EcrSourceConfiguration, context: ActionContext) -> ActionResult:
    """Pin the digest of the tagged image, or of the overriding one, and write it into the artifact."""
    wanted = context.source_revision_override or configuration.image_tag
    if registry := context.settings.aws.registry:
        image, variables, url = _in_registry(registry, configuration, wanted, context)
    else:
        ecr = client_of(context, "ecr")
        image = _find(ecr, configuration.repository_name, wanted)
        variables = _variables(ecr, image, configuration.image_tag)
        url = _url(ecr, variables)
    context.logger.info("Image %s of %s: %s", wanted, configuration.repository_name, image["imageDigest"])
    summary = f"{variables['RepositoryName']}:{variables['ImageTag'] or variables['ImageDigest']}"
    directory = context.scratch / "source"
    directory.mkdir()
    (directory / FILE).write_text(json.dumps(_detail(image, variables), indent=2) + "\n")
    return ActionResult(
        summary=summary,
        output_artifacts={context.action.output_artifacts[0].name: OutputTree(directory)},
        output_variables=variables,
        external_execution_id=image["imageDigest"],
        external_execution_url=url,
        source_revision=SourceRevision(
            revision_id=image["imageDigest"],
            revision_summary=summary,
            revision_url=url,
            created=image.get("imagePushedAt"),
        ),
    )


def _in_registry(
    registry: str, configuration: EcrSourceConfiguration, wanted: str, context: ActionContext
) -> tuple[Mapping[str, Any], dict[str, str], None]:
    """The image in a registry other than ECR, in the form that ECR describes an image in."""
    secret, repository = context.settings.aws.registry_secret, configuration.repository_name
    credentials = secret_value(secret, "registry_secret of the pipeline's settings") if secret else None
    found = find_manifest(registry, repository, wanted, credentials)
    host = urlsplit(registry).netloc
    tag = "" if _DIGEST.fullmatch(wanted) else wanted
    variables = {
        "RegistryId": host,
        "RepositoryName": repository,
        "ImageTag": tag,
        "ImageDigest": found.digest,
        "ImageURI": f"{host}/{repository}@{found.digest}",
    }
    image = {"imageDigest": found.digest, "imageTags": [tag] if tag else []}
    return {**image, **({"imageSizeInBytes": found.size} if found.size else {})}, variables, None


def _find(ecr: Any, repository: str, wanted: str) -> Mapping[str, Any]:
    from botocore.exceptions import ClientError

    image = {"imageDigest": wanted} if _DIGEST.fullmatch(wanted) else {"imageTag": wanted}
    what, region = f"image {wanted!r} of ECR repository {repository!r}", ecr.meta.region_name
    with translated(f"looking up {what} in region {region}"):
        try:
            found = ecr.describe_images(repositoryName=repository, imageIds=[image])["imageDetails"]
        except ClientError as error:
            if error_code(error) == "ImageNotFoundException":
                raise ActionFailed(
                    f"there is no {what} in region {region}; push it, or correct ImageTag",
                    code="RevisionUnavailable",
                ) from error
            if error_code(error) == "RepositoryNotFoundException":
                raise ActionFailed(
                    f"there is no ECR repository {repository!r} in region {region}; correct RepositoryName or the region",
                    code="ConfigurationError",
                ) from error
            raise
    return dict(found[0])


def _variables(ecr: Any, image: Mapping[str, Any], wanted_tag: str) -> dict[str, str]:
    tags = image.get("imageTags") or []
    registry, repository, digest = image["registryId"], image["repositoryName"], image["imageDigest"]
    domain = _DOMAINS.get(ecr.meta.partition, "amazonaws.com")
    return {
        "RegistryId": registry,
        "RepositoryName": repository,
        # An image that was chosen by its digest may have other tags, or none.
        "ImageTag": wanted_tag if wanted_tag in tags else next(iter(tags), ""),
        "ImageDigest": digest,
        "ImageURI": f"{registry}.dkr.ecr.{ecr.meta.region_name}.{domain}/{repository}@{digest}",
    }


def _detail(image: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """The content of `imageDetail.json`, in AWS's order and formats."""
    pushed = image.get("imagePushedAt")
    return {
        "ImageSizeInBytes": str(image.get("imageSizeInBytes", "")),
        "ImageDigest": variables["ImageDigest"],
        "Version": "1.0",
        "ImagePushedAt": pushed.astimezone(timezone.utc).strftime("%a %b %d %H:%M:%S UTC %Y")
        if pushed
        else "",
        "RegistryId": variables["RegistryId"],
        "RepositoryName": variables["RepositoryName"],
        "ImageURI": variables["ImageURI"],
        "ImageTags": list(image.get("imageTags") or []),
    }


def _url(ecr: Any, variables: Mapping[str, str]) -> str | None:
    registry, repository = variables["RegistryId"], variables["RepositoryName"]
    arn = f"arn:{ecr.meta.partition}:ecr:{ecr.meta.region_name}:{registry}:repository/{repository}"
    page = f"ecr/repositories/private/{{account}}/{repository}/_/image/{variables['ImageDigest']}/details"
    return console_url(arn, f"{page}?region={{region}}")
