"""The repository to which an image is pushed: in ECR, in ECR Public, or in the registry that the settings name.

https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.commands.environment import secret_value
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

# ECR Public has its API in this region only.
PUBLIC_REGION = "us-east-1"
# Docker's own registry has another name in the configuration of docker.
_DOCKER_HUB = {"docker.io", "index.docker.io", "registry-1.docker.io"}


@dataclass(frozen=True)
class ImageRepository:
    """A repository by its URI without a tag; `credentials` are `user:password`; `arn` is that of ECR, if it has one."""

    uri: str
    credentials: str | None = field(repr=False, default=None)
    arn: str | None = None

    @property
    def host(self) -> str:
        return self.uri.partition("/")[0]

    @property
    def secrets(self) -> list[str]:
        """What must not be in a log."""
        if self.credentials is None:
            return []
        return [self.credentials.partition(":")[2], base64.b64encode(self.credentials.encode()).decode()]

    def write_login(self, folder: Path) -> Path:
        """Write a configuration of docker that only this user can read, and return its folder."""
        folder.mkdir(mode=0o700)
        host = "https://index.docker.io/v1/" if self.host in _DOCKER_HUB else self.host
        encoded = base64.b64encode((self.credentials or "").encode()).decode()
        content = {
            "auths": {host: {"auth": encoded}} if self.credentials else {},
            # buildx, if only the user of the worker has it.
            "cliPluginsExtraDirs": [str(Path.home() / ".docker" / "cli-plugins")],
        }
        handle = os.open(folder / "config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(content, file)
        return folder

    def page(self, digest: str) -> str | None:
        """The page of an image in the console, or None."""
        if self.arn is None:
            return None
        name = self.uri.partition("/")[2]
        path = f"ecr/repositories/private/{{account}}/{name}/_/image/{digest}/details?region={{region}}"
        return console_url(self.arn, path)


def find_repository(context: ActionContext, name: str, kind: Literal["private", "public"]) -> ImageRepository:
    """The repository of that name, with credentials for it.

    Raises:
        ActionFailed: there is none, it is not allowed, or AWS does not answer.
    """
    if registry := context.settings.aws.registry:
        secret = context.settings.aws.registry_secret
        credentials = secret_value(secret, "registry_secret of the pipeline's settings") if secret else None
        return ImageRepository(f"{urlsplit(registry).netloc}/{name}", credentials)
    if kind == "public":
        found, data = _look_up(client_of(context, "ecr-public", PUBLIC_REGION), name)
        return ImageRepository(found["repositoryUri"], _credentials(data))
    found, data = _look_up(client_of(context, "ecr"), name)
    return ImageRepository(found["repositoryUri"], _credentials(data[0]), found.get("repositoryArn"))


def _look_up(ecr: Any, name: str) -> tuple[dict[str, Any], Any]:
    """The description of a repository, and what authorizes requests to its registry."""
    from botocore.exceptions import ClientError

    where = f"ECR repository {name!r} in region {ecr.meta.region_name}"
    with translated(f"looking up {where}"):
        try:
            (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
        except ClientError as error:
            if error_code(error) == "RepositoryNotFoundException":
                raise ActionFailed(
                    f"there is no {where}; create it, or correct ECRRepositoryName, RegistryType or the region",
                    code="ConfigurationError",
                ) from error
            raise
    with translated(f"asking for a token to push to {where}"):
        data = ecr.get_authorization_token()["authorizationData"]
    return found, data


def _credentials(data: Any) -> str:
    return base64.b64decode(data["authorizationToken"]).decode()
