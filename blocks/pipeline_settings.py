"""What a pipeline's definition has no key for: where its actions run, and with which blocks."""

from __future__ import annotations

from typing import ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import BaseModel, ConfigDict, Field, HttpUrl

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


class PipelineSettings(Block):
    """Where the actions of a pipeline run, where its artifacts lie, and where it reports.

    The block named like the pipeline is used, else the one named `default`, else the defaults below.
    """

    _block_type_name: ClassVar[str] = "Pipeline Settings"
    _block_type_slug: ClassVar[str] = "pipeline-settings"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-Commands.html"
    )
    _description: ClassVar[str] = "Where the actions of a CodePipeline pipeline run, and with which blocks."

    defaults: ActionSettings = Field(
        default_factory=ActionSettings, description="For every action of the pipeline."
    )
    overrides: dict[str, ActionOverride] = Field(
        default_factory=dict,
        description="What differs for one stage ('Build') or one action ('Build/Test'); the action's wins.",
    )
    artifact_store: str | None = Field(
        None, description="Name of the ArtifactStore block; 'default', or a local folder, when empty."
    )
    slack_channel: str | None = Field(
        None, description="Name of the SlackChannel block to report to; nobody is told when empty."
    )

    def for_action(self, stage_name: str, action_name: str) -> ActionSettings:
        """The settings of one action: the defaults, changed by its stage's override, then by its own."""
        changes: dict[str, object] = {}
        for name in (stage_name, f"{stage_name}/{action_name}"):
            if override := self.overrides.get(name):
                changes |= override.model_dump(exclude_none=True)
        return self.defaults.model_copy(update=changes)
