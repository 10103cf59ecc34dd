"""Where an action runs, and its resource limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from prefect_codepipeline.model.definition.aws_settings import AwsSettings

# The image in which AWS runs Commands actions, from AWS's public registry.
AWS_STANDARD_IMAGE = "public.ecr.aws/codebuild/amazonlinux-x86_64-standard:5.0"
# A year. Without a limit, the end of the time could not be computed.
_MOST_WAIT_MINUTES = 365 * 24 * 60


def check_json(variables: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The same job variables. Raises `ValueError` if Prefect's API could not take them: YAML has values that JSON has not."""
    for name, value in (variables or {}).items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"job variable {name!r} cannot be written as JSON: {error}") from None
    return variables


def _at_most_a_year(minutes: int) -> int:
    return min(minutes, _MOST_WAIT_MINUTES)


class ActionSettings(BaseModel):
    """Where one action runs, and its resource limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_on: Literal["docker", "host"] = Field(
        "docker",
        description="'docker': a container, or the host if no engine or image is available; 'host': a process.",
    )
    image: str = Field(AWS_STANDARD_IMAGE, description="Full name of the container image.")
    cpus: float | None = Field(None, gt=0, description="Number of CPUs the container may use; empty: all.")
    memory_mib: int | None = Field(
        None, ge=16, description="Memory limit of the container in MiB; empty: no limit."
    )
    network: bool = Field(True, description="False: the container has only its own loopback interface.")
    docker_host: str | None = Field(
        None, description="Name of a prefect-docker DockerHost block; empty: the local engine."
    )
    poll: bool = Field(
        False,
        description="True: a source is polled even if its configuration says otherwise; ECR sources are polled only then.",
    )
    deploy_hosts: str | None = Field(
        None,
        min_length=1,
        description="Name of a DeployHosts block: EC2 actions deploy to its hosts; empty: to instances of AWS.",
    )
    work_pool: str | None = Field(
        None,
        description="The Prefect work pool on whose workers the action runs, as a flow run of its own; empty: where the "
        "pipeline runs.",
    )
    work_queue: str | None = Field(None, min_length=1, description="The work queue of that pool.")
    job_variables: Annotated[Mapping[str, Any], AfterValidator(check_json)] = Field(
        default_factory=dict, description="Job variables of that flow run, such as `image`."
    )
    wait_minutes: Annotated[int, AfterValidator(_at_most_a_year)] = Field(
        60, ge=1, description="How long the action waits for a worker of that pool before it fails."
    )
    aws: AwsSettings = Field(
        default_factory=AwsSettings, description="The account, region and endpoint of actions that use AWS."
    )

    def changed_by(self, override: ActionOverride) -> ActionSettings:
        """These settings, with those that an override sets in place of their own."""
        changes = override.model_dump(exclude_none=True, exclude={"aws"})
        is_elsewhere = override.work_pool not in (None, self.work_pool)
        if is_elsewhere:  # queues and job variables are those of a pool
            changes = {"work_queue": None, "job_variables": {}, **changes}
        elif override.job_variables:
            changes["job_variables"] = {**self.job_variables, **override.job_variables}
        aws = self.aws.changed_by(override.aws) if override.aws else self.aws
        return self.model_copy(update={**changes, "aws": aws})


class ActionOverride(BaseModel):
    """Settings of one stage or action that replace those of the pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_on: Literal["docker", "host"] | None = Field(None, description="As in the pipeline's settings.")
    image: str | None = Field(None, description="As in the pipeline's settings.")
    cpus: float | None = Field(None, gt=0, description="As in the pipeline's settings.")
    memory_mib: int | None = Field(None, ge=16, description="As in the pipeline's settings.")
    network: bool | None = Field(None, description="As in the pipeline's settings.")
    docker_host: str | None = Field(None, description="As in the pipeline's settings.")
    poll: bool | None = Field(None, description="As in the pipeline's settings.")
    deploy_hosts: str | None = Field(None, min_length=1, description="As in the pipeline's settings.")
    work_pool: str | None = Field(
        None, description="As in the pipeline's settings; '': where the pipeline runs."
    )
    work_queue: str | None = Field(None, min_length=1, description="As in the pipeline's settings.")
    job_variables: Annotated[Mapping[str, Any] | None, AfterValidator(check_json)] = Field(
        None, description="As in the pipeline's settings, and beside those if the work pool is the same."
    )
    wait_minutes: Annotated[int, AfterValidator(_at_most_a_year)] | None = Field(
        None, ge=1, description="As in the pipeline's settings."
    )
    aws: AwsSettings | None = Field(
        None, description="As in the pipeline's settings; empty fields change nothing."
    )
