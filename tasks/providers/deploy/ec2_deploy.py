"""Deploy/AWS/EC2/1: deploy files and scripts to instances of EC2, other nodes of Systems Manager, or hosts outside of AWS.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-EC2Deploy.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

from pydantic import Field

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.location import upload_bytes, upload_tree
from prefect_codepipeline.actions.aws.remote_work import Following, bearing_silence, failed, follow
from prefect_codepipeline.actions.aws.target_groups import TargetGroups
from prefect_codepipeline.actions.deploying.bundle import bundle_with
from prefect_codepipeline.actions.deploying.finding import group_of_inventory
from prefect_codepipeline.actions.deploying.rollout.deployment import deploy_to_hosts
from prefect_codepipeline.actions.deploying.rollout.target import Target
from prefect_codepipeline.actions.instances.as_appspec import appspec_of
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
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, TagFilter, Traffic
from prefect_codepipeline.model.codedeploy.healthy_hosts import HostLimits

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
    if context.settings.deploy_hosts:
        return _deploy_to_hosts(configuration, context, context.settings.deploy_hosts)
    with _only_in_aws():
        fleet = Fleet(context)
    mark = mark_of(context.pipeline_name, context.stage_name, context.action.name)
    limits = Limits(configuration.max_batch, configuration.max_error)
    groups = TargetGroups(
        lambda: client_of(context, "elbv2"), configuration.groups, "correct TargetGroupNameList"
    )
    rollout = Rollout(context, fleet, groups, limits, mark)
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


def _deploy_to_hosts(
    configuration: Ec2DeployConfiguration, context: ActionContext, inventory: str
) -> ActionResult:
    """Deploy to the hosts of a DeployHosts block that have the tag."""
    key, value = configuration.instance_tag_key, configuration.instance_tag_value
    tag = TagFilter(key=key, value=value, type="KEY_AND_VALUE" if value else "KEY_ONLY")
    names = configuration.groups
    group = DeploymentGroup(
        name=context.action.name,
        where="hosts",
        inventory=inventory,
        tag_sets=[[tag]],
        traffic=Traffic(target_groups=names) if names else None,
        ignore_application_stop_failures=True,  # those events run nothing here
    )
    limits = Limits(configuration.max_batch, configuration.max_error)
    steps = cache(lambda: _steps(configuration, context))
    target = Target(
        f"{context.pipeline_name}/{context.stage_name}",
        group_of_inventory(group),
        context,
        pack=lambda tree: bundle_with(tree, appspec_of(steps())),
        limits=lambda total: HostLimits(
            at_once=limits.at_once(total, grouped=bool(names)), failures=limits.budget(total)
        ),
    )
    return deploy_to_hosts(target)


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
            f"{error}; this action deploys to instances of AWS, unless deploy_hosts in the settings names a DeployHosts block "
            "with other hosts"
        ) from error
