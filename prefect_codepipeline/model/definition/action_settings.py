"""Where and within which limits an action runs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# The image AWS runs Commands in, from its public registry.
AWS_STANDARD_IMAGE = "public.ecr.aws/codebuild/amazonlinux-x86_64-standard:5.0"


class ActionSettings(BaseModel):
    """Where and within which limits one action runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_on: Literal["docker", "host"] = Field(
        "docker",
        description="'docker': a container, or the host when no engine or image is to be had; 'host': a process.",
    )
    image: str = Field(AWS_STANDARD_IMAGE, description="The container image, by its full name.")
    cpus: float | None = Field(None, gt=0, description="How many CPUs the container may use; all when empty.")
    memory_mib: int | None = Field(
        None, ge=16, description="Memory limit of the container in MiB; none when empty."
    )
    network: bool = Field(True, description="False: the container has no network but its own loopback.")
    docker_host: str | None = Field(
        None, description="Name of a prefect-docker DockerHost block; the local engine when empty."
    )


class ActionOverride(BaseModel):
    """The settings of one stage or action that differ from the pipeline's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_on: Literal["docker", "host"] | None = Field(None, description="As in the pipeline's settings.")
    image: str | None = Field(None, description="As in the pipeline's settings.")
    cpus: float | None = Field(None, gt=0, description="As in the pipeline's settings.")
    memory_mib: int | None = Field(None, ge=16, description="As in the pipeline's settings.")
    network: bool | None = Field(None, description="As in the pipeline's settings.")
    docker_host: str | None = Field(None, description="As in the pipeline's settings.")
