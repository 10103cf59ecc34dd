"""Deployments as JSON, with the names of CodeDeploy's API.

https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentInfo.html
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_codepipeline.model.stored.deployment import DeployedHost, HostEvent, StoredDeployment


def listed_as_json(deployment: StoredDeployment) -> dict[str, Any]:
    """A deployment without its hosts."""
    overview = {
        status: sum(host.status == status for host in deployment.hosts)
        for status in ("Pending", "InProgress", "Succeeded", "Failed", "Stopped", "Skipped")
    }
    found = {
        "deploymentId": deployment.deployment_id,
        "applicationName": deployment.application,
        "deploymentGroupName": deployment.group,
        "status": deployment.status,
        "revision": deployment.revision,
        "commit": deployment.commit,
        "createTime": _time(deployment.created),
        "completeTime": _time(deployment.ended),
        "deploymentOverview": overview,
        "error": deployment.error,
        "pipelineName": deployment.pipeline,
        "pipelineExecutionId": deployment.execution_id,
        "rollbackOf": deployment.rollback_of,
        "rolledBackBy": deployment.rolled_back_by,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def deployment_as_json(deployment: StoredDeployment) -> dict[str, Any]:
    """A deployment with its hosts and their events."""
    return {**listed_as_json(deployment), "targets": [_host(host) for host in deployment.hosts]}


def _host(host: DeployedHost) -> dict[str, Any]:
    return {
        "targetId": host.name,
        "address": host.host.address,
        "status": host.status,
        "errorCode": host.code,
        "error": host.error,
        "lifecycleEvents": [_event(event) for event in host.events],
    }


def _event(event: HostEvent) -> dict[str, Any]:
    return {
        "lifecycleEventName": event.event,
        "status": event.status,
        "startTime": _time(event.started),
        "endTime": _time(event.ended),
        "diagnostics": {
            "errorCode": event.code,
            "scriptName": event.script,
            "message": event.message,
            "logTail": event.log,
        },
        "warnings": list(event.warnings),
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
