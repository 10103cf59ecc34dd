"""What is deployed to, and what a deployment needs beside its record: the archive, access, traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeVar

from prefect_codepipeline.actions.artifacts.storing import fetch_tree
from prefect_codepipeline.actions.commands.masking import Masker, parts_of_secret
from prefect_codepipeline.actions.deploying.bundle import Bundle, bundle_of
from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.actions.deploying.records.groups import read_group
from prefect_codepipeline.actions.deploying.rollout.one_host import Rollout
from prefect_codepipeline.actions.deploying.traffic.hosts import traffic_of
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, SshAccess
from prefect_codepipeline.model.codedeploy.health import NEVER_DEPLOYED
from prefect_codepipeline.model.codedeploy.healthy_hosts import HostLimits
from prefect_codepipeline.model.codedeploy.names import deployment_id, group_id
from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.stored.deployment import StoredDeployment
from prefect_codepipeline.prefect_api.ui import run_url

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Target:
    """A deployment group of an application, with access to its hosts, and the action that deploys to it.

    Args:
        application: its name.
        group: its settings.
        context: of the action.
        pack: makes the bundle of the input.
        limits: of an EC2 action, for so many hosts; None for CodeDeploy.
    """

    application: str
    group: DeploymentGroup
    context: ActionContext
    pack: Callable[[InputTree], Bundle] = bundle_of
    limits: Callable[[int], HostLimits] | None = None

    @property
    def name(self) -> str:
        """What has the hosts, for messages."""
        kind = "EC2 action" if self.limits else "deployment group"
        return f"{kind} {self.group.name!r}"

    @property
    def group_id(self) -> str:
        return group_id(self.application, self.group.name)

    @property
    def deployment_id(self) -> str:
        return deployment_id(self.context.action_execution_id)

    @property
    def what(self) -> str:
        """For messages."""
        where = f"of {self.name}" if self.limits else f"to group {self.group.name!r}"
        return f"deployment {self.deployment_id!r} {where}"

    @property
    def url(self) -> str | None:
        execution_id = self.context.pipeline_execution_id
        return run_url(execution_id) if execution_id else None


def rollout_of(target: Target, deployment: StoredDeployment) -> Rollout:
    """What a deployment of the target needs beside its record."""
    group = deployment.settings.model_copy(update={"ssh": target.group.ssh})
    mask = _masker(target.group.ssh)
    return Rollout(
        group=group,
        tar=_once(lambda: _tar(target, deployment)),
        masked=mask,
        is_over=lambda other: _is_over(target, other),
        traffic=traffic_of(group, target.context, mask),
        has_it=_has_it(target, deployment),
    )


def _is_over(target: Target, other: str) -> bool:
    """Whether a deployment that a host is still busy with has ended; this one has the group's lock."""
    found = find_deployment(other)
    return found is not None and found.deployment.has_ended


def _has_it(target: Target, deployment: StoredDeployment) -> Callable[[str, str], bool]:
    """Whether a host whose last good deployment is the one of that id has the same files and steps, and is healthy."""
    if not deployment.is_of_ec2_action:
        return lambda host, last: False
    known = _once(lambda: read_group(target.application, deployment.group, deployment.group_id).hosts)

    def has_it(host: str, last: str) -> bool:
        health = known().get(host, NEVER_DEPLOYED)
        if not health.healthy or health.revision != deployment.revision:
            return False
        found = find_deployment(last)
        return found is not None and found.deployment.appspec == deployment.appspec

    return has_it


def _masker(ssh: SshAccess) -> Callable[[str], str]:
    """What makes the texts of a host fit to show: without secrets and control characters."""
    secrets = [secret.get_secret_value() for secret in (ssh.private_key, ssh.passphrase) if secret]
    masker = Masker(part for secret in secrets for part in parts_of_secret(secret))
    return lambda text: printable(masker.mask(text), kept="\n")


def _once(make: Callable[[], _Made]) -> Callable[[], _Made]:
    """Make it when it is first needed, in whichever of several threads."""
    made: list[_Made] = []
    lock = Lock()

    def get() -> _Made:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get


def _tar(target: Target, deployment: StoredDeployment) -> Path:
    """The archive of a deployment's bundle: of the input, or of the revision to roll back to."""
    bundle = target.pack(_input_of(target, deployment))
    if bundle.revision != deployment.revision:
        raise ActionFailed(
            f"the bundle of {target.what} has changed: it is revision {bundle.revision[:12]}, and not "
            f"{deployment.revision[:12]}; start the action again"
        )
    tar = target.context.scratch / f"{deployment.revision}.tar"
    with tar.open("wb") as file:
        bundle.write_tar(file)
    return tar


def _input_of(target: Target, deployment: StoredDeployment) -> InputTree:
    context = target.context
    is_input = deployment.action_execution_id == context.action_execution_id and not deployment.rollback_of
    if is_input and len(context.input_artifacts):
        return context.input_artifacts[0]
    if deployment.artifact is None or context.store is None:
        raise ActionFailed(f"revision {deployment.revision[:12]} is not in the artifact store")
    folder = context.scratch / f"revision-{deployment.revision[:12]}"
    fetch_tree(context.store, deployment.artifact, folder)
    return InputTree(deployment.artifact.name, folder, revision_id=deployment.commit)
