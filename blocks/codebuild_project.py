"""The build settings of a CodeBuild project, as a Prefect block."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator, model_validator

from prefect_codepipeline.model.definition.action_settings import AWS_STANDARD_IMAGE
from prefect_codepipeline.model.definition.aws_settings import BucketLocation
from prefect_codepipeline.model.definition.compute_types import COMPUTE_SIZES, ComputeSize, ComputeType
from prefect_codepipeline.model.names import refuse_repeated

_ROLE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/.+")


class ProjectVariable(BaseModel):
    """An environment variable of a project. `value` is a reference unless the type is PLAINTEXT."""

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
        "PLAINTEXT",
        description="PLAINTEXT: the value itself. Otherwise the value is a reference to AWS or Prefect.",
    )

    @field_validator("name")
    @classmethod
    def _is_not_reserved(cls, name: str) -> str:
        if name.startswith("CODEBUILD_"):
            raise ValueError("names that start with CODEBUILD_ are reserved; choose another name")
        return name


class CodeBuildProject(Block):
    """Where and how the builds of a CodeBuild project run.

    An action uses the block named like its ProjectName in lower case, with hyphens for characters that block names
    cannot contain ('My_App' is 'my-app'), else the block `default`. A project without a block uses the defaults
    below, so that an imported pipeline runs without further set-up.

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
            "'docker': a container; 'host': processes on the worker's machine; 'aws': AWS CodeBuild. If empty: a "
            "container if a container engine answers, else the host."
        ),
    )
    image: str = Field(AWS_STANDARD_IMAGE, description="Full name of the container image.")
    runtime_images: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "The image for each runtime of install.runtime-versions; keys such as 'nodejs:18', or 'nodejs' for every "
            "version. If no key matches, the project's image is used."
        ),
    )
    privileged: bool = Field(
        False, description="Run the container privileged, for builds that start their own Docker daemon."
    )
    docker_socket: bool = Field(
        False,
        description="Give the build access to the engine's socket. It can build images, but is root on the engine's machine.",
    )
    compute_type: ComputeType | None = Field(
        None, description="CPUs and memory, by AWS's name; no limit if empty."
    )
    cpus: float | None = Field(
        None, gt=0, description="CPUs of the container; those of the compute type if empty."
    )
    memory_mib: int | None = Field(
        None, ge=16, description="Memory of the container in MiB; that of the compute type if empty."
    )
    network: bool = Field(True, description="False: the container has only a loopback network.")
    docker_host: str | None = Field(
        None, description="Name of a prefect-docker DockerHost block; the local engine if empty."
    )
    registry_credentials: str | None = Field(
        None, description="Name of a prefect-docker DockerRegistryCredentials block, used to pull the image."
    )
    buildspec: str | None = Field(
        None, description="Path of the buildspec in the source, or its text; buildspec.yml if empty."
    )
    environment_variables: list[ProjectVariable] = Field(
        default_factory=list,
        description="Environment variables of the builds. They override the buildspec's; the action's override these.",
    )
    timeout_in_minutes: int = Field(60, ge=1, le=2160, description="A build that runs longer is ended.")
    queued_timeout_in_minutes: int = Field(
        480, ge=1, le=480, description="A build that is queued longer fails."
    )
    concurrent_build_limit: int | None = Field(
        None, ge=1, description="Maximum number of builds of the project that run at once; no limit if empty."
    )
    cache: Literal["local"] | None = Field(
        None,
        description="'local': keep the paths of the buildspec's `cache` between builds; no cache if empty.",
    )
    cache_location: str | None = Field(
        None,
        description="Absolute path of the cache folder; a folder of the worker's user if empty.",
    )
    secrets_from: Literal["aws", "prefect", "environment"] = Field(
        "prefect",
        description=(
            "Where parameter-store and secrets-manager references are resolved: AWS, Prefect's Secret blocks and "
            "Variables, or the environment variables of the worker."
        ),
    )
    aws_region: str | None = Field(
        None, description="AWS region of secrets and builds; if empty the action's, else the worker's."
    )
    aws_profile: str | None = Field(
        None, description="Profile in the worker's ~/.aws; the worker's default credentials if empty."
    )
    aws_role_arn: str | None = Field(None, description="Role to assume for secrets and builds in AWS.")
    aws_project_name: str | None = Field(
        None, description="Name of the project in AWS, for where='aws'; the action's ProjectName if empty."
    )
    aws_location: BucketLocation | None = Field(
        None,
        description=(
            "'s3://bucket/prefix' for where='aws': inputs are uploaded there and outputs are downloaded from there. If "
            "empty, the project builds its own source and no outputs are downloaded."
        ),
    )

    @property
    def size(self) -> ComputeSize:
        """The limits of a build's container."""
        size = COMPUTE_SIZES[self.compute_type] if self.compute_type else ComputeSize()
        return ComputeSize(self.cpus or size.cpus, self.memory_mib or size.memory_mib)

    def image_for(self, runtime: str, version: str) -> str | None:
        """The image that a runtime of `install.runtime-versions` is mapped to, or None.

        The most specific key wins: 'nodejs:18.x', then 'nodejs:18', then 'nodejs'.
        """
        without_x = re.sub(r"(\.x)+\Z", "", str(version))
        keys = (f"{runtime}:{version}", f"{runtime}:{without_x}", runtime)
        return next((self.runtime_images[key] for key in keys if key in self.runtime_images), None)

    @field_validator("environment_variables")
    @classmethod
    def _has_each_name_once(cls, variables: list[ProjectVariable]) -> list[ProjectVariable]:
        refuse_repeated(sorted(variable.name for variable in variables))
        return variables

    @field_validator("cache_location")
    @classmethod
    def _is_absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError(f"{value!r} is not an absolute path")
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
    def _check_combinations(self) -> CodeBuildProject:
        if self.where in ("host", "aws"):
            container_only = [name for name in ("privileged", "docker_socket") if getattr(self, name)]
            if container_only:
                raise ValueError(
                    f"{' and '.join(container_only)}: only for a container, but where is {self.where!r}"
                )
        if self.cache_location and not self.cache:
            raise ValueError("cache_location requires cache='local'")
        return self
