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
            "ListDeploymentTargets": lambda request: {
                "targetIds": [] if "targetFilters" in request else [each for each, _ in self.named_targets()]
            },
            "BatchGetDeploymentTargets": lambda request: {
                "deploymentTargets": [
                    each for name, each in self.named_targets() if name in request["targetIds"]
                ]
            },
        }

    def named_targets(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (found["targetId"], each)
            for each in self.targets
            for found in each.values()
            if isinstance(found, dict)
        ]

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        found = f"d-{len(self.deployments)}"
        self.deployments[found] = {"description": request["description"]}
        return {"deploymentId": found}
