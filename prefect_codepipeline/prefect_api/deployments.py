"""Deployments: writing what is ours of one, and leaving what users set besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.prefect_api.client import api_url, call, find_named

DEFAULT_WORK_POOL = "codepipeline"
# Our flows come with the package. Without any step Prefect's process, docker and kubernetes pools copy the working
# directory of the worker or container, whatever it holds; Prefect skips a step that is empty.
NOTHING_TO_PULL: list[dict[str, Any]] = [{}]
# The work queues of the flows that keep everything going. They are short, and never wait for a slot behind executions.
UPKEEP_QUEUES = frozenset({"reconcile", "poll"})


@dataclass(frozen=True)
class Place:
    """Where the runs of a deployment start. What is not given stays as it is.

    `job_variables` are set beside those that are there; None removes one.
    """

    work_pool: str | None = None
    work_queue: str | None = None
    job_variables: Mapping[str, Any] = field(default_factory=dict)

    def or_else(self, other: Place) -> Place:
        """This place, completed with what another one gives; each job variable counts for itself."""
        is_same_pool = self.work_pool in (None, other.work_pool)
        return Place(
            self.work_pool or other.work_pool,
            self.work_queue or (other.work_queue if is_same_pool else None),
            {**other.job_variables, **self.job_variables},
        )


def place_of(deployment: Mapping[str, Any] | None) -> Place:
    """Where the runs of a deployment start; nowhere if it does not exist."""
    if deployment is None:
        return Place()
    return Place(
        deployment["work_pool_name"], deployment["work_queue_name"], deployment["job_variables"] or {}
    )


def put_deployment(
    flow_name: str, name: str, place: Place, own: Mapping[str, Any], there: Mapping[str, Any] | None
) -> list[str]:
    """Create a deployment or update it; how its place changed, as sentences.

    Args:
        flow_name: of the flow that it runs.
        name: of the deployment.
        place: where its runs start.
        own: all other fields that are ours; those that are left out stay. Prefect deletes schedules left out.
        there: the deployment as it is, or None.

    Raises:
        ValidationException: Prefect refuses the work queue or a job variable; the message has its reason.
    """
    before = place_of(there)
    after = place.or_else(before)
    variables = {key: value for key, value in after.job_variables.items() if value is not None}
    body: dict[str, Any] = {"flow_id": flow_id(flow_name), "name": name, **own}
    if not before.work_pool or (after.work_pool, after.work_queue) != (before.work_pool, before.work_queue):
        body["work_pool_name"] = after.work_pool or DEFAULT_WORK_POOL
        if after.work_queue:
            body["work_queue_name"] = after.work_queue
    if variables != before.job_variables:
        body["job_variables"] = variables
    status, answer = call("POST", "/deployments/", body, expected=(404, 409, 422))
    if status >= 400:
        raise ValidationException(
            f"deployment {flow_name}/{name} was not written: Prefect's API at {api_url()} answered {status}: "
            f"{answer.get('detail', answer) if isinstance(answer, dict) else answer}"
        )
    return [] if there is None else _changes(before, place_of(answer))


def flow_id(flow_name: str) -> str:
    """The id of a flow, which is created if it does not exist."""
    _, flow = call("POST", "/flows/", {"name": flow_name})
    return str(flow["id"])


def find_deployment_of(flow_name: str, name: str) -> dict[str, Any] | None:
    """A deployment as Prefect's API returns it, or None."""
    return find_named(f"/deployments/name/{flow_name}", name)


def _changes(before: Place, after: Place) -> list[str]:
    changed = []
    if before.work_pool != after.work_pool:
        changed.append(f"work pool: {before.work_pool or 'none'} -> {after.work_pool}")
    if before.work_queue != after.work_queue:
        changed.append(f"work queue: {before.work_queue or 'none'} -> {after.work_queue}")
    keys = sorted({*before.job_variables, *after.job_variables})
    names = [key for key in keys if before.job_variables.get(key) != after.job_variables.get(key)]
    if names:
        changed.append(f"job variables changed: {', '.join(names)}")
    return changed
