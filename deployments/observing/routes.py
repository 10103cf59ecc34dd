"""Which routes of Prefect's API are requested how often: paths without ids and names, so that there are only so many."""

from __future__ import annotations

from prometheus_client import Counter

from prefect_codepipeline.prefect_api import client

# What Prefect's paths consist of, beside ids and the names of users.
_WORDS = {
    "admin", "api", "artifacts", "automations", "block_documents", "block_schemas", "block_types", "by",
    "concurrency_limits", "count", "create_flow_run", "csrf-token", "deployments", "events", "filter",
    "flow_run_states", "flow_runs", "flows", "get_scheduled_flow_runs", "global", "health", "input",
    "latest", "logs", "name", "paginate", "queues", "read", "resume", "schedules", "set_state", "slug",
    "task_run_states", "task_runs", "v2", "variables", "version", "work_pools", "work_queues",
}  # fmt: skip
_requests = Counter(
    "codepipeline_prefect_requests",
    "Answers of Prefect's API to this process, without those to Prefect's part of a worker.",
    ["method", "route", "status"],
)


def route_of(path: str) -> str:
    """A path without ids and names.

    Example:
        >>> route_of("/api/flow_runs/0d1f/input/final-1")
        '/api/flow_runs/{}/input/{}'
    """
    return "/".join(part if part in _WORDS or not part else "{}" for part in path.split("/"))


def count_requests() -> None:
    """Count the requests of this process from now on."""
    client.on_answer = _count


def _count(method: str, path: str, status: int) -> None:
    _requests.labels(method, route_of(path), str(status)).inc()
