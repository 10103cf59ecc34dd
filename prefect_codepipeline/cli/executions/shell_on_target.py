"""A shell on a host of a CodeDeploy or EC2 action, in the folder of the deployment, with the environment of its scripts."""

from __future__ import annotations

import sys

from rich.text import Text

from prefect_codepipeline.actions.deploying.connections.interactive import shell_on
from prefect_codepipeline.actions.deploying.finding import find_group, group_of_inventory
from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.cli.session import console
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.codedeploy.names import deployment_id
from prefect_codepipeline.model.problem import nearest
from prefect_codepipeline.model.record.state import ActionState
from prefect_codepipeline.model.stored.deployment import DeployedHost, StoredDeployment


def deploys_to_hosts(action: ActionState) -> bool:
    """Whether the action is of a type that deploys to hosts."""
    return str(action.action.action_type_id) in ("Deploy/AWS/CodeDeploy/1", "Deploy/AWS/EC2/1")


def shell_on_target(action: ActionState, host_name: str | None) -> int:
    """Open the shell on a host to which the last attempt of an action has deployed; its exit code.

    Raises:
        CodePipelineError: there is no such host, or its group has no hosts here any more.
    """
    found = find_deployment(deployment_id(action.started.action_execution_id)) if action.started else None
    if found is None:
        raise CodePipelineError(
            f"action {action.name!r} has deployed to no host here; a shell is not available on hosts that AWS deploys to"
        )
    deployment = found.deployment
    host = _host(deployment, host_name)
    group = _group(deployment)
    folder = f"{group.state_folder}/{deployment.group_id}/{deployment.deployment_id}/deployment-archive"
    if sys.stdin.isatty():
        console.print(Text(f"{host.name}: deployment {deployment.deployment_id}, {host.status}"))
        console.print(Text(f"in {folder}", "dim"))
    return shell_on(host.host, group, folder, _environment(deployment, host))


def _group(deployment: StoredDeployment) -> DeploymentGroup:
    """The group of a deployment as it is now."""
    if deployment.is_of_ec2_action:
        return group_of_inventory(deployment.settings)
    group = find_group(deployment.application, deployment.group)
    if group is None or group.place == "aws":
        raise CodePipelineError(
            f"deployment group {deployment.group!r} of application {deployment.application!r} has no hosts here any more: "
            "no CodeDeployApplication block names them"
        )
    return group


def _host(deployment: StoredDeployment, name: str | None) -> DeployedHost:
    names = [host.name for host in deployment.hosts]
    if name is None and len(names) == 1:
        return deployment.hosts[0]
    for host in deployment.hosts:
        if host.name == name:
            return host
    what = f"has no host {name!r}" if name else "has several hosts; choose one with --host"
    hint = nearest(name or "", names) or f"its hosts: {', '.join(names)}"
    raise CodePipelineError(f"deployment {deployment.deployment_id!r} {what}; {hint}")


def _environment(deployment: StoredDeployment, host: DeployedHost) -> dict[str, str]:
    """The variables of the script that ran last."""
    found = {
        "APPLICATION_NAME": deployment.application,
        "DEPLOYMENT_ID": deployment.deployment_id,
        "DEPLOYMENT_GROUP_NAME": deployment.group,
        "DEPLOYMENT_GROUP_ID": deployment.group_id,
        "LIFECYCLE_EVENT": host.events[-1].event if host.events else "",
        "BUNDLE_COMMIT": deployment.commit or "",
    }
    return {name: value for name, value in found.items() if value}
