"""Create flow runs of deployments and set their states, without importing Prefect."""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

from prefect_codepipeline.prefect_api.client import call

StateType = Literal["SCHEDULED", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLING", "CANCELLED"]


def create_flow_run(
    deployment_id: str, parameters: dict[str, Any], labels: dict[str, str], idempotency_key: str | None
) -> str:
    """Create a run of a deployment, to start now; its id. The same idempotency key creates only one."""
    # Without one of the caller's, a key of its own: a request that is sent again must not start the pipeline twice.
    key = idempotency_key or str(uuid4())
    body = {"parameters": parameters, "labels": labels, "idempotency_key": key}
    return str(call("POST", f"/deployments/{deployment_id}/create_flow_run", body)[1]["id"])


def find_run_of_key(idempotency_key: str) -> dict[str, Any] | None:
    """The run that was created with that idempotency key, or None if there is none."""
    body = {"flow_runs": {"idempotency_key": {"any_": [idempotency_key]}}, "limit": 1}
    runs: list[dict[str, Any]] = call("POST", "/flow_runs/filter", body)[1]
    return next(iter(runs), None)


def set_state(
    flow_run_id: str,
    kind: StateType,
    name: str,
    message: str | None = None,
    details: dict[str, Any] | None = None,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Give a flow run a state; Prefect's answer, which may be a refusal.

    Args:
        flow_run_id: the flow run.
        kind: the type of the state.
        name: its name.
        message: its message, for users.
        details: more fields of its `state_details`.
        force: whether Prefect must accept it, whatever the present state.
    """
    # By the id of the transition, Prefect recognizes a request that is sent again.
    identity = {"flow_run_id": flow_run_id, "transition_id": str(uuid4())}
    state = {"type": kind, "name": name, "message": message, "state_details": {**(details or {}), **identity}}
    answer: dict[str, Any] = call(
        "POST", f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": force}
    )[1]
    if answer["status"] == "REJECT" and _transition_of(answer) == identity["transition_id"]:
        answer["status"] = "ACCEPT"  # the request was sent again, and had been accepted the first time
    return answer


def _transition_of(answer: dict[str, Any]) -> str | None:
    details = (answer.get("state") or {}).get("state_details") or {}
    return details.get("transition_id")


def was_accepted(answer: dict[str, Any]) -> bool:
    """Whether Prefect has done what the request said."""
    return bool(answer["status"] == "ACCEPT")


def end_run(execution_id: str, status: str, message: str) -> None:
    """Give a run, whatever its state, the state of an execution that ended with this status."""
    set_state(execution_id, type_of_end(status), status, message, force=True)


def type_of_end(status: str) -> StateType:
    """The type of the state of a run whose execution or action ended with this status."""
    if status in ("Succeeded", "Failed"):
        return "COMPLETED" if status == "Succeeded" else "FAILED"
    return "CANCELLED"


def schedule_again(execution_id: str) -> None:
    """Schedule a flow run that has ended, so that it starts again."""
    set_state(execution_id, "SCHEDULED", "AwaitingRetry")


def show_stopping(execution_id: str, why: str) -> None:
    """Display that a run is stopping. Only the name of its state changes; it runs until it ends itself."""
    set_state(execution_id, "RUNNING", "Stopping", why)
