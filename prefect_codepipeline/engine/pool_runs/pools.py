"""Work pools of actions: their deployments, what they accept, and whether a live worker serves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.prefect_api.client import call_all, find_named, moment, path_segment
from prefect_codepipeline.prefect_api.deployments import (
    NOTHING_TO_PULL,
    Place,
    find_deployment_of,
    put_deployment,
)

Made = Literal["created", "updated", "exists"]
FLOW_NAME = "action"
ENTRYPOINT = "prefect_codepipeline.flows.action.action"
# Workers ask their queues at least every 15 s; Prefect itself takes a queue for abandoned after this time.
ASKED_WITHIN = timedelta(seconds=60)
_TEXT = {"type": "string"}
_PARAMETERS = {"pipeline_execution_id": _TEXT, "action_execution_id": _TEXT}
_OWN: dict[str, Any] = {
    "entrypoint": ENTRYPOINT,
    "pull_steps": NOTHING_TO_PULL,
    "path": None,
    "description": "Runs single actions of pipelines on this work pool. Executions start its runs; users need not.",
    "parameter_openapi_schema": {
        "type": "object",
        "properties": _PARAMETERS,
        "required": list(_PARAMETERS),
        "additionalProperties": False,
    },
    "enforce_parameter_schema": True,
    "schedules": [],
}


def put_action_deployment(
    work_pool: str, job_variables: Mapping[str, Any] = MappingProxyType({})
) -> tuple[dict[str, Any], Made]:
    """The deployment `action/<pool>`, and what became of it: `created`, `updated` or `exists`.

    `job_variables` are set beside those that it has; those of an action take precedence over both.

    Raises:
        ValidationException: Prefect refuses it, for example since there is no such pool.
    """
    there = find_deployment_of(FLOW_NAME, work_pool)
    has_all = there and {**there["job_variables"], **job_variables} == there["job_variables"]
    if there and has_all and (there["work_pool_name"], there["entrypoint"]) == (work_pool, ENTRYPOINT):
        return there, "exists"
    put_deployment(FLOW_NAME, work_pool, Place(work_pool, None, job_variables), _OWN, there)
    made = find_deployment_of(FLOW_NAME, work_pool)
    assert made, "it was just written"
    return made, "updated" if there else "created"


def pool_names() -> list[str]:
    """The names of all work pools."""
    return sorted(pool["name"] for pool in call_all("/work_pools/filter", {}))


def queue_names(work_pool: str) -> list[str]:
    """The names of the work queues of a pool."""
    path = f"/work_pools/{path_segment(work_pool)}/queues/filter"
    return sorted(queue["name"] for queue in call_all(path, {}))


def find_pool(name: str) -> dict[str, Any] | None:
    """The work pool of that name, or None."""
    return find_named("/work_pools", name)


@dataclass(frozen=True)
class Unserved:
    """Why nothing takes a run from a queue at present, and when a worker last asked it for work, if one ever did."""

    why: str
    last_asked: datetime | None = None


def find_unserved(work_pool: str, work_queue: str) -> Unserved | None:
    """Why nothing would take a run from that queue of the pool at present; None if a worker has asked for one lately."""
    pool = find_pool(work_pool)
    if pool is None:
        return Unserved(f"work pool {work_pool!r} does not exist any more")
    if pool["is_paused"]:
        return Unserved(
            f"work pool {work_pool!r} is paused; `prefect work-pool resume {work_pool}` resumes it"
        )
    queue = find_named(f"/work_pools/{path_segment(work_pool)}/queues", work_queue)
    of_pool = f"work queue {work_queue!r} of work pool {work_pool!r}"
    if queue is None:
        return Unserved(f"{of_pool} does not exist any more")
    if queue["is_paused"]:
        command = f"prefect work-queue resume {work_queue} --pool {work_pool}"
        return Unserved(f"{of_pool} is paused; `{command}` resumes it")
    if _is_without_workers(pool["type"]):
        return None
    asked = moment(queue["last_polled"]) if queue["last_polled"] else None
    if asked and utc_now() - asked <= ASKED_WITHIN:
        return None
    since = f"since {asked:%Y-%m-%d %H:%M} UTC" if asked else "yet"
    return Unserved(
        f"no live worker serves {of_pool}: none has asked it for work {since}; "
        f"start one on its machine: `prefect worker start --pool {work_pool}`",
        asked,
    )


def _is_without_workers(kind: str) -> bool:
    """Whether Prefect Cloud itself starts the runs of pools of that type."""
    return kind.endswith((":push", ":managed"))
