"""CodeDeploy's answers about deployments, which a test defines; botocore's model checks them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from aws_server import AwsServer


def now(seconds: float = 0) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


def state(status: str, **more: Any) -> dict[str, Any]:
    return {"deploymentId": "d-1", "status": status, **more}


def event(name: str, status: str, at: float = 0, **diagnostics: str) -> dict[str, Any]:
    found = {"lifecycleEventName": name, "status": status, "endTime": now(at)}
    return {**found, "diagnostics": diagnostics} if diagnostics else found


class CodeDeploy(AwsServer):
    """Deployments by their ids, and the looks at the newest one in order; `targets` are of each deployment."""

    def __init__(self) -> None:
        super().__init__()
        self.deployments: dict[str, dict[str, Any]] = {"d-0": {"description": "of another user"}}
        self.looks: list[dict[str, Any]] = [state("Succeeded")]
        self.targets: list[dict[str, Any]] = []
        self.answers |= {
            "CreateDeployment": self.create,
            "ListDeployments": lambda _: {"deployments": list(self.deployments)},
            "BatchGetDeployments": lambda request: {
                "deploymentsInfo": [
                    {"deploymentId": each, **self.deployments[each]} for each in request["deploymentIds"]
                ]
            },
            "GetDeployment": lambda _: {
                "deploymentInfo": self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
            },
            "StopDeployment": lambda _: {"status": "Pending"},
            "ListDeploymentTargets": self.list_targets,
            "BatchGetDeploymentTargets": lambda request: {
                "deploymentTargets": [
                    each for each in self.targets if _found(each)["targetId"] in request["targetIds"]
                ]
            },
        }

    def list_targets(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("targetFilters", {}).get("TargetStatus")
        found = [_found(each) for each in self.targets]
        return {"targetIds": [each["targetId"] for each in found if not wanted or each["status"] in wanted]}

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        found = f"d-{len(self.deployments)}"
        self.deployments[found] = {"description": request["description"]}
        return {"deploymentId": found}


def _found(target: dict[str, Any]) -> dict[str, Any]:
    """The target itself, whose key is named after its type."""
    (found,) = (each for each in target.values() if isinstance(each, dict))
    return dict(found)
