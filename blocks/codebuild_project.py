"""What a CodeBuild project says of its builds, as a Prefect block."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator, model_validator

from prefect_codepipeline.model.definition.action_settings import AWS_STANDARD_IMAGE
from prefect_codepipeline.model.definition.compute_types import COMPUTE_SIZES, ComputeSize, ComputeType

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\x00-\x1f]*)?")
_ROLE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/.+")


class ProjectVariable(BaseModel):
    """An environment variable of a project; `value` is a reference unless its type is PLAINTEXT."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        min_length=1, pattern=r"\A[A-Za-z_][A-Za-z0-9_]*\z", description="Name of the variable."
    )
    value: str = Field(
        description=(
            "The value; for PARAMETER_STORE the parameter's name, for SECRETS_MANAGER "
            "'secret-id:json-key:version-stage:version-id'."
        )
    )
    type: Literal["PLAINTEXT", "PARAMETER_STORE", "SECRETS_MANAGER"] = Field(
        "PLAINTEXT", description="Whether the value is the text itself or says where it is kept."
    )

    @field_validator("name")
    @classmethod
    def _is_not_reserved(cls, name: str) -> str:
        if name.startswith("CODEBUILD_"):
            raise ValueError("names that begin with CODEBUILD_ are reserved; choose another")
        return name


class CodeBuildProject(Block):
    """Where and how the builds of a CodeBuild project run.

    An action finds the block that is named like its ProjectName in lower case, with hyphens for whatever a block's
    name cannot have ('My_App' is 'my-app'), else the one named `default`. A project with no block runs with the
    defaults below, so that an imported pipeline runs at once.

    Example:
        ```python
        from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject

        CodeBuildProject(image="python:3.13", compute_type="BUILD_GENERAL1_SMALL").save("my-app")
        project = CodeBuildProject.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str] = "CodeBuild Project"
    _block_type_slug: ClassVar[str] = "codebuild-project"
    _description: ClassVar[str] = "Where and how the builds of a CodeBuild project run."
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codebuild/latest/APIReference/API_Project.html"
    )

    where: Literal["docker", "host", "aws"] | None = Field(
        None,
        description=(
            "'docker': a container; 'host': processes of the worker; 'aws': CodeBuild itself. When empty: a "
            "container if an engine answers, else the host."
        ),
    )
    image: str = Field(AWS_STANDARD_IMAGE, description="The container image, by its full name.")
    runtime_images: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "The image for a runtime of install.runtime-versions, such as 'nodejs:18' or 'nodejs' for every "
            "version; the project's image when none fits."
        ),
    )
    privileged: bool = Field(
        False, description="Run the container privileged, for builds that start a Docker daemon of their own."
    )
    docker_socket: bool = Field(
        False,
        description="Give the build the engine's socket: it can build images, and is root on the engine's machine.",
    )
    compute_type: ComputeType | None = Field(
        None, description="CPUs and memory as AWS names them; no bound of the container's when empty."
    )
    cpus: float | None = Field(
        None, gt=0, description="CPUs of the container; the compute type's when empty."
    )
    memory_mib: int | None = Field(
        None, ge=16, description="Memory of the container in MiB; the compute type's when empty."
    )
    network: bool = Field(True, description="False: the container has no network but its own loopback.")
    docker_host: str | None = Field(
        None, description="Name of a prefect-docker DockerHost block; the local engine when empty."
    )
    registry_credentials: str | None = Field(
        None, description="Name of a prefect-docker DockerRegistryCredentials block, to pull the image with."
    )
    buildspec: str | None = Field(
        None, description="Path of the buildspec in the source, or its text; buildspec.yml when empty."
    )
    environment_variables: list[ProjectVariable] = Field(
        default_factory=list, description="Win over the buildspec's; the action's win over these."
    )
    timeout_in_minutes: int = Field(60, ge=1, le=2160, description="A build that takes longer is ended.")
    queued_timeout_in_minutes: int = Field(
        480, ge=1, le=480, description="A build that waits longer for its turn fails."
    )
    concurrent_build_limit: int | None = Field(
        None, ge=1, description="How many builds of the project run at once; any number when empty."
    )
    cache: Literal["local"] | None = Field(
        None,
        description="'local': keep what the buildspec's `cache` names between builds; nothing when empty.",
    )
    cache_location: str | None = Field(
        None,
        description="Absolute path of the folder that keeps the cache; one of the worker's user when empty.",
    )
    secrets_from: Literal["aws", "prefect", "environment"] = Field(
        "prefect",
        description=(
            "Where parameter-store and secrets-manager references are looked up: AWS, the Secret blocks and "
            "Variables of Prefect, or the environment of the worker."
        ),
    )
    aws_region: str | None = Field(
        None, description="Region of secrets and builds in AWS; the action's, then the worker's, when empty."
    )
    aws_profile: str | None = Field(
        None, description="Profile in the worker's ~/.aws; the worker's usual credentials when empty."
    )
    aws_role_arn: str | None = Field(None, description="Role to assume for secrets and builds in AWS.")
    aws_project_name: str | None = Field(
        None, description="Name of the project in AWS, for where='aws'; the action's ProjectName when empty."
    )
    aws_location: str | None = Field(
        None,
        description=(
            "'s3://bucket/prefix' for where='aws': inputs are uploaded there and outputs fetched from there. When "
            "empty, the project builds its own source and nothing is fetched."
        ),
    )

    @property
    def size(self) -> ComputeSize:
        """The bounds of a build's container."""
        size = COMPUTE_SIZES[self.compute_type] if self.compute_type else ComputeSize()
        return ComputeSize(self.cpus or size.cpus, self.memory_mib or size.memory_mib)

    def image_for(self, runtime: str, version: str) -> str | None:
        """The image that a runtime of `install.runtime-versions` is mapped to; None when there is none.

        The most exact key wins: 'nodejs:18.x', then 'nodejs:18', then 'nodejs'.
        """
        without_x = re.sub(r"(\.x)+\Z", "", str(version))
        keys = (f"{runtime}:{version}", f"{runtime}:{without_x}", runtime)
        return next((self.runtime_images[key] for key in keys if key in self.runtime_images), None)

    @field_validator("environment_variables")
    @classmethod
    def _has_each_name_once(cls, variables: list[ProjectVariable]) -> list[ProjectVariable]:
        names = [variable.name for variable in variables]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))}: declared more than once")
        return variables

    @field_validator("cache_location")
    @classmethod
    def _is_absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError(f"{value!r} is not an absolute path")
        return value

    @field_validator("aws_location")
    @classmethod
    def _is_in_s3(cls, value: str | None) -> str | None:
        if value is not None and not _BUCKET.fullmatch(value):
            raise ValueError(f"{value!r} is no place in S3; write s3://bucket or s3://bucket/prefix")
        return value

    @field_validator("aws_role_arn")
    @classmethod
    def _is_a_role(cls, value: str | None) -> str | None:
        if value is not None and not _ROLE.fullmatch(value):
            raise ValueError(
                f"{value!r} is not the ARN of a role; it looks like arn:aws:iam::123456789012:role/Name"
            )
        return value

    @model_validator(mode="after")
    def _asks_for_what_can_be_had(self) -> CodeBuildProject:
        if self.where in ("host", "aws"):
            asked = [name for name in ("privileged", "docker_socket") if getattr(self, name)]
            if asked:
                raise ValueError(f"{' and '.join(asked)}: for a container only; where is {self.where!r}")
        if self.cache_location and not self.cache:
            raise ValueError("cache_location is used with cache='local' only")
        return self
