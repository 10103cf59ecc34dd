"""The deployment of a revision of a task definition to a service: started once, followed, put back.

A deployment is recognized by its revision, which belongs to one action execution.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from prefect_codepipeline.actions.aws.remote_work import (
    Following,
    Look,
    Work,
    bearing_silence,
    failed,
    follow,
    started,
)
from prefect_codepipeline.actions.ecs.services import Service, State, page_of, trouble_in_events
from prefect_codepipeline.actions.ecs.task_definitions import short_name
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

_STEP = "deployment"
_UNDER_WAY = ("PENDING", "IN_PROGRESS")
_STALE = timedelta(minutes=1)


@dataclass(frozen=True)
class Deployment:
    """A revision on its way to a service."""

    service: Service
    revision: str
    context: ActionContext

    @property
    def what(self) -> str:
        return f"deployment of {short_name(self.revision)!r} to {self.service.what}"

    @property
    def since(self) -> datetime:
        """When the action began."""
        earlier = self.context.earlier
        return earlier.started_at if earlier else datetime.now(timezone.utc)


def deploy(deployment: Deployment) -> Work:
    """Update the service, and wait until it runs only this revision, and is steady.

    Raises:
        ActionFailed: ECS refused, or the deployment failed, or another one replaced it.
    """
    work = started(deployment.context, _STEP, lambda: _start(deployment), lambda: _find(deployment))
    seen: list[State | None] = []

    def look() -> Look:
        state = deployment.service.describe()
        seen[:] = [state]
        return _judged(deployment, state)

    follow(Following(deployment.what, work, look, lambda: _stop(deployment)), deployment.context)
    if not _is_steady(deployment, seen[0]):
        raise failed(f"{deployment.what} failed: {_reason(deployment, seen[0])}", work)
    return work


def _start(deployment: Deployment) -> Work:
    state = deployment.service.update(deployment.revision)
    own = _own(deployment, state)
    if own is None:
        raise ActionFailed(
            f"updating {deployment.service.what}: its deployment of {deployment.revision} was replaced at once, not by "
            "this action; retry the action"
        )
    return Work(own["id"], page_of(state))


def _find(deployment: Deployment) -> Work | None:
    """The deployment if an earlier process started it; one that was put back is only in ECS's records."""
    state = deployment.service.required()
    if own := _own(deployment, state):
        return Work(own["id"], page_of(state))
    record = deployment.service.deployment_record(deployment.revision, deployment.since)
    return Work(record["serviceDeploymentArn"], page_of(state)) if record else None


def _own(deployment: Deployment, state: State) -> State | None:
    found = state.get("deployments", ())
    return next((each for each in found if each.get("taskDefinition") == deployment.revision), None)


def _primary(state: State) -> State | None:
    return next((each for each in state.get("deployments", ()) if each.get("status") == "PRIMARY"), None)


def _is_steady(deployment: Deployment, state: State | None) -> bool:
    own = _own(deployment, state) if state else None
    return bool(
        state
        and own
        and len(state["deployments"]) == 1
        and own.get("runningCount") == own.get("desiredCount")
        and own.get("rolloutState", "COMPLETED") == "COMPLETED"  # some kinds of services have none
    )


def _judged(deployment: Deployment, state: State | None) -> Look:
    if state is None:
        return Look(True, f"{deployment.service.what} is gone")
    own, primary = _own(deployment, state), _primary(state)
    if own is None:
        is_replaced = primary is not None and primary["createdAt"] >= deployment.since
        return Look(is_replaced or not _may_still_come(deployment), "ECS starts the deployment")
    running, desired, failures = (own.get(key, 0) for key in ("runningCount", "desiredCount", "failedTasks"))
    summary = f"{running} of {desired} tasks run" + (f", {failures} failed" if failures else "")
    if left := sum(each.get("runningCount", 0) for each in state["deployments"] if each is not own):
        summary += f", {left} of the earlier revision"
    has_failed = own.get("rolloutState") == "FAILED" or (primary is not None and primary is not own)
    percent = min(100, 100 * running // desired) if desired else None
    return Look(has_failed or _is_steady(deployment, state), summary, percent)


def _may_still_come(deployment: Deployment) -> bool:
    """Whether a deployment that ECS does not show may be under way: an answer may be older than the update."""
    with suppress(ActionFailed):
        if record := deployment.service.deployment_record(deployment.revision, deployment.since):
            return record["status"] in _UNDER_WAY
    return datetime.now(timezone.utc) - deployment.since < _STALE


def _reason(deployment: Deployment, state: State | None) -> str:
    """Why the deployment failed: what ECS says of it, and the first task that stopped."""
    if state is None:
        return "the service was deleted in the meantime, not by this action"
    own, primary = _own(deployment, state), _primary(state)
    said = own.get("rolloutStateReason", "") if own and own.get("rolloutState") == "FAILED" else ""
    said = said or _recorded_reason(deployment)
    is_back = primary is not None and primary is not own
    if is_back and primary is not None:
        next_one = short_name(primary["taskDefinition"])
        said = f"{said}; the service goes back to {next_one!r}" if said else f"{next_one!r} replaced it"
    cause = ""
    with suppress(ActionFailed), bearing_silence(deployment.context, deployment.what):
        cause = deployment.service.stopped_task(deployment.revision)
    cause = cause or trouble_in_events(state, deployment.since)
    return "; ".join(filter(None, [said or "ECS gives no reason", cause]))


def _recorded_reason(deployment: Deployment) -> str:
    """What ECS's record says of the deployment; that this may not be read is not worth another failure."""
    with suppress(ActionFailed), bearing_silence(deployment.context, deployment.what):
        record = deployment.service.deployment_record(deployment.revision, deployment.since)
        if record and record.get("status") not in (*_UNDER_WAY, "SUCCESSFUL"):
            return f"{record['status']}: {record.get('statusReason', 'no reason given')}"
    return ""


def _stop(deployment: Deployment) -> str:
    """Stop the deployment; returns also what kept it from becoming steady."""
    record = deployment.service.deployment_record(deployment.revision, deployment.since, _UNDER_WAY)
    if record is None:
        sentence = f"{deployment.what} is not under way any more"
    else:
        deployment.service.stop(record)
        sentence = f"{deployment.what} is stopped, and ECS puts the service back"
    with suppress(ActionFailed):
        state = deployment.service.describe()
        cause = deployment.service.stopped_task(deployment.revision)
        cause = cause or (trouble_in_events(state, deployment.since) if state else "")
        return f"{sentence}; {cause}" if cause else sentence
    return sentence
