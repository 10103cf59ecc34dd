"""Deploy/AWS/EC2/1: deploy files and scripts to instances of EC2 or other nodes of Systems Manager.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-EC2Deploy.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pydantic import Field

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.aws.location import upload_bytes, upload_tree
from prefect_codepipeline.actions.aws.remote_work import Following, bearing_silence, failed, follow
from prefect_codepipeline.actions.instances.deploy_spec import (
    MAX_BYTES,
    Steps,
    check_files,
    steps_of_file,
    steps_of_scripts,
)
from prefect_codepipeline.actions.instances.fleet import Fleet
from prefect_codepipeline.actions.instances.host_script import mark_of, write_script
from prefect_codepipeline.actions.instances.rollout import Bundle, Limits, Rollout
from prefect_codepipeline.actions.instances.target_groups import TargetGroups
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

BATCH, ERROR = r"[1-9][0-9]{0,2}%?", r"[0-9]{1,3}%?"
_NO_AWS = ("NoCredentialsError", "NoRegionError", "PartialCredentialsError")


class Ec2DeployConfiguration(ActionConfiguration):
    """The configuration of an action."""

    instance_tag_key: str = Field(min_length=1)
    instance_tag_value: str | None = None
    instance_type: Literal["EC2", "SSM_MANAGED_NODE"]
    target_directory: str | None = None
    deploy_spec: str | None = None
    max_batch: str | None = Field(None, pattern=f"^{BATCH}$")
    max_error: str | None = Field(None, pattern=f"^{ERROR}$")
    target_group_name_list: str | None = None
    pre_script: str | None = None
    post_script: str | None = None

    @property
    def groups(self) -> list[str]:
        """The names of the target groups."""
        return [each for each in map(str.strip, (self.target_group_name_list or "").split(",")) if each]

    @property
    def tag(self) -> str:
        return self.instance_tag_key + (f"={self.instance_tag_value}" if self.instance_tag_value else "")


@action_provider(category="Deploy", provider="EC2", inputs=(1, 1), outputs=(0, 0), restartable=True)
def deploy_to_instances(configuration: Ec2DeployConfiguration, context: ActionContext) -> ActionResult:
    """Deploy to all instances with the tag, in batches, until all have it or too many have failed."""
    if not (configuration.deploy_spec or configuration.target_directory):
        raise wrong_configuration(
            "set DeploySpec to a file of the input artifact, or TargetDirectory and PostScript"
        )
    with _only_in_aws():
        fleet = Fleet(context)
    mark = mark_of(context.pipeline_name, context.stage_name, context.action.name)
    limits = Limits(configuration.max_batch, configuration.max_error)
    rollout = Rollout(context, fleet, TargetGroups(context, configuration.groups), limits, mark)
    if not rollout.is_prepared:
        with _only_in_aws(), bearing_silence(context, f"instances with tag {configuration.tag!r}"):
            _prepare(rollout, configuration, context)
    what = f"deployment to {rollout.total} instances with tag {configuration.tag!r}"
    follow(Following(what, rollout.work, rollout.look, rollout.stop), context)
    if rollout.has_failed:
        allowed = limits.budget(rollout.total)
        raise failed(f"{what} failed: {rollout.summary()}; MaxError allows {allowed}", rollout.work)
    return ActionResult(
        summary=rollout.summary(),
        external_execution_id=rollout.work.id,
        external_execution_url=rollout.work.url,
    )


def _prepare(rollout: Rollout, configuration: Ec2DeployConfiguration, context: ActionContext) -> None:
    fleet = rollout.fleet
    steps = _steps(configuration, context)
    context.check()  # nothing starts in an action that must end
    found = fleet.find(
        configuration.instance_tag_key, configuration.instance_tag_value, configuration.instance_type
    )
    if not (found.reachable or found.unreachable):
        kind = "instance of EC2" if configuration.instance_type == "EC2" else "node of Systems Manager"
        raise wrong_configuration(
            f"no running {kind} with tag {configuration.tag!r} is in region {fleet.region}; correct InstanceTagKey, "
            "InstanceTagValue, InstanceType or the region"
        )
    if rollout.groups:
        rollout.groups.registered(())  # an unknown group is a failure before anything is deployed

    def bundle() -> Bundle:
        artifact = upload_tree(context, context.input_artifacts[0], fleet.region)
        script = write_script(steps, f"s3://{artifact.bucket}/{artifact.key}", fleet.region, rollout.mark)
        place = upload_bytes(context, script.text.encode(), "deploy.sh", fleet.region)
        return Bundle(f"s3://{place.bucket}/{place.key}", script.digest)

    rollout.prepare(found, bundle)


def _steps(configuration: Ec2DeployConfiguration, context: ActionContext) -> Steps:
    tree = context.input_artifacts[0]
    if path := configuration.deploy_spec:
        content = read_input_file(context.input_artifacts, f"{tree.name}::{path}", "DeploySpec", MAX_BYTES)
        steps = steps_of_file(content, path)
        unused = [
            key for key in ("target_directory", "pre_script", "post_script") if getattr(configuration, key)
        ]
        for key in (
            *steps.ignored,
            *(re.sub(r"(?:^|_)(.)", lambda m: m[1].upper(), each) for each in unused),
        ):
            context.logger.warning("%s has no effect in a deployment by %s", key, path)
    else:
        steps = steps_of_scripts(
            configuration.target_directory or "", configuration.pre_script, configuration.post_script
        )
    check_files(steps, tree)
    return steps


@contextmanager
def _only_in_aws() -> Iterator[None]:
    """Say it where the worker has no access to AWS at all."""
    try:
        yield
    except ActionFailed as error:
        if type(error.__cause__).__name__ not in _NO_AWS:
            raise
        raise wrong_configuration(
            f"{error}; this action deploys to instances of AWS, and cannot deploy to other hosts yet"
        ) from error
