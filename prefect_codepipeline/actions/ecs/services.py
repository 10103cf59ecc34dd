"""A service in ECS, its deployments, and why one of them failed.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

State = Mapping[str, Any]
_CLOCKS_DIFFER = timedelta(minutes=5)
# The most that AWS describes in one request.
_MOST_REVISIONS = 20
_MOST_TASKS = 100
# A task that ended because another one had failed, or because there are too many.
_SCALED = "Scaling activity initiated by"


@dataclass(frozen=True)
class Service:
    """The service of an action, by the names of its cluster and itself; `ecs` is the client."""

    cluster: str
    name: str
    ecs: Any

    @classmethod
    def of(cls, cluster: str, name: str, context: ActionContext) -> Service:
        return cls(cluster, name, client_of(context, "ecs"))

    @property
    def what(self) -> str:
        """For messages."""
        return f"service {self.name!r} of cluster {self.cluster!r} in {self.ecs.meta.region_name}"

    @property
    def _names(self) -> dict[str, str]:
        return {"cluster": self.cluster, "service": self.name}

    def describe(self) -> State | None:
        """The service, or None if there is none, or it was deleted."""
        from botocore.exceptions import ClientError

        with translated(f"looking up {self.what}"):
            try:
                answer = self.ecs.describe_services(cluster=self.cluster, services=[self.name])
            except ClientError as error:
                if error_code(error) == "ClusterNotFoundException":
                    return None
                raise
        found = [each for each in answer.get("services", ()) if each.get("status") == "ACTIVE"]
        return dict(found[0]) if found else None

    def required(self) -> State:
        """The service.

        Raises:
            ActionFailed: with code `ConfigurationError`, there is none.
        """
        state = self.describe()
        if state is None:
            raise ActionFailed(
                f"there is no active {self.what}; correct ClusterName, ServiceName or the region",
                code="ConfigurationError",
            )
        return state

    def update(self, task_definition: str) -> State:
        """Deploy a task definition. Repeated with the same one, this does nothing."""
        with translated(f"updating {self.what}"):
            answer = self.ecs.update_service(**self._names, taskDefinition=task_definition)
        return dict(answer["service"])

    def deployments_since(self, since: datetime | None, statuses: Sequence[str] = ()) -> list[State]:
        """ECS's records of deployments, which it keeps for 90 days; the newest page of them is read."""
        wanted = {"status": list(statuses)} if statuses else {}
        with translated(f"listing the deployments of {self.what}"):
            answer = self.ecs.list_service_deployments(**self._names, maxResults=100, **wanted)
        found = answer.get("serviceDeployments", ())
        return [each for each in found if not since or each["createdAt"] >= since - _CLOCKS_DIFFER]

    def deployment_record(
        self, task_definition: str, since: datetime | None, statuses: Sequence[str] = ()
    ) -> State | None:
        """The record of the deployment of a task definition, or None if there is none."""
        records = self.deployments_since(since, statuses)[:_MOST_REVISIONS]
        targets = [each["targetServiceRevisionArn"] for each in records]
        if not targets:
            return None
        with translated(f"looking up the revisions of {self.what}"):
            answer = self.ecs.describe_service_revisions(serviceRevisionArns=targets)
        mine = {
            each["serviceRevisionArn"]
            for each in answer.get("serviceRevisions", ())
            if each.get("taskDefinition") == task_definition
        }
        return next((each for each in records if each["targetServiceRevisionArn"] in mine), None)

    def stop(self, record: State) -> None:
        """Stop a deployment; ECS puts the service back."""
        with translated(f"stopping the deployment of {self.what}"):
            self.ecs.stop_service_deployment(
                serviceDeploymentArn=record["serviceDeploymentArn"], stopType="ROLLBACK"
            )

    def stopped_task(self, task_definition: str) -> str:
        """Why the first task of a task definition ended that was not ended by ECS itself; empty if there is none."""
        with translated(f"listing the stopped tasks of {self.what}"):
            arns = self.ecs.list_tasks(
                cluster=self.cluster, serviceName=self.name, desiredStatus="STOPPED", maxResults=_MOST_TASKS
            )["taskArns"]
            tasks = self.ecs.describe_tasks(cluster=self.cluster, tasks=arns)["tasks"] if arns else ()
        mine = [
            task
            for task in tasks
            if task.get("taskDefinitionArn") == task_definition
            and not task.get("stoppedReason", "").startswith(_SCALED)
        ]
        first = min(mine, key=_stopped_at, default=None)
        return _why(first) if first else ""


def page_of(state: State) -> str | None:
    """The page of a service's deployments in AWS's console."""
    cluster = state.get("clusterArn", "").rpartition("/")[2]
    path = f"ecs/v2/clusters/{cluster}/services/{state['serviceName']}/deployments?region={{region}}"
    return console_url(state["serviceArn"], path)


def trouble_in_events(state: State, since: datetime) -> str:
    """The latest event of a service since a time that reports trouble, such as a task without a place; else empty."""
    for event in state.get("events", ()):  # the newest is first
        message = event.get("message", "")
        if event["createdAt"] >= since and any(word in message for word in ("unable", "unhealthy", "failed")):
            return str(message)
    return ""


def _stopped_at(task: State) -> float:
    at = task.get("stoppedAt") or task.get("stoppingAt")
    return at.timestamp() if at else float("inf")


def _why(task: State) -> str:
    """`task 3f2a stopped: Essential container in task exited; container 'web': exit code 1, OutOfMemoryError`."""
    parts = [
        f"task {task['taskArn'].rpartition('/')[2]} stopped: {task.get('stoppedReason', 'no reason given')}"
    ]
    for container in task.get("containers", ()):
        code, reason = container.get("exitCode"), container.get("reason")
        if code or reason:
            seen = ", ".join(filter(None, [f"exit code {code}" if code is not None else "", reason]))
            parts.append(f"container {container.get('name')!r}: {seen}")
    return "; ".join(parts)
