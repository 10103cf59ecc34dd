"""A deployment in AWS CodeDeploy: started once, followed, stopped, and why it failed.

CodeDeploy has no token; a deployment is found again by its description.

https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeployment.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import (
    Following,
    Look,
    Work,
    bearing_silence,
    failed,
    follow,
    started,
)
from prefect_codepipeline.actions.registry import ActionContext, Lookup
from prefect_codepipeline.errors import ActionFailed, wrong_configuration
from prefect_codepipeline.model.printable import printable

State = Mapping[str, Any]
_STEP = "deployment"
_ENDS = ("Succeeded", "Failed", "Stopped")
_CLOCKS_DIFFER = timedelta(minutes=5)
# The most that AWS describes in one request.
_AT_ONCE = 25
_MISSING = ("ApplicationDoesNotExistException", "DeploymentGroupDoesNotExistException")
# The end of the log of a script that failed, and of how many targets.
_LOG_CHARACTERS = 300
_MOST_TARGETS = 3
# For what a deployment waits in these states.
_WAITS = {
    "Created": "waits until CodeDeploy takes it up",
    "Queued": "waits for its turn in CodeDeploy",
    "Ready": "waits until its traffic is shifted in CodeDeploy",
}
# The counts of its targets, from done to not begun.
_COUNTS = ("Succeeded", "Skipped", "Failed", "Ready", "InProgress", "Pending")


@dataclass(frozen=True)
class DeploymentGroup:
    """The deployment group of an action, by its name and that of its application; `codedeploy` is the client."""

    application: str
    name: str
    context: ActionContext
    codedeploy: Any

    @classmethod
    def of(cls, application: str, name: str, context: ActionContext) -> DeploymentGroup:
        return cls(application, name, context, client_of(context, "codedeploy"))

    @property
    def what(self) -> str:
        """For messages."""
        region = self.codedeploy.meta.region_name
        return f"deployment group {self.name!r} of application {self.application!r} in {region}"


def group_lookup(application: str, name: str) -> Lookup:
    """Whether there is such a deployment group, for `validate --online`."""
    named = {"applicationName": application, "deploymentGroupName": name}
    what = f"deployment group {name!r} of application {application!r}"
    return Lookup(what, "codedeploy", "get_deployment_group", named)


def deploy(group: DeploymentGroup, revision: Callable[[], Mapping[str, Any]]) -> Work:
    """Start a deployment of a revision, and wait until it has succeeded.

    Args:
        group: where to.
        revision: `revision` of `CreateDeployment`, called only to start.

    Raises:
        ActionFailed: CodeDeploy refused, or the deployment failed or was stopped.
    """
    work = started(group.context, _STEP, lambda: _create(group, revision()), lambda: _find(group))
    seen: dict[str, Any] = {}

    def look() -> Look:
        seen.clear()
        with translated(f"reading the state of deployment {work.id!r}"):
            seen.update(group.codedeploy.get_deployment(deploymentId=work.id)["deploymentInfo"])
        return Look(seen["status"] in _ENDS, *_progress(seen))

    what = f"deployment {work.id!r} to {group.what}"
    follow(Following(what, work, look, lambda: _stop(group, work)), group.context)
    if seen["status"] != "Succeeded":
        raise failed(f"{what} ended as {seen['status']}: {_reason(group, work, seen)}", work)
    return work


def _create(group: DeploymentGroup, revision: Mapping[str, Any]) -> Work:
    from botocore.exceptions import ClientError

    # No token exists: the request is not repeated, the deployment is looked for first.
    codedeploy = client_of(group.context, "codedeploy", attempts=0)
    with translated(f"starting a deployment to {group.what}"):
        try:
            answer = codedeploy.create_deployment(
                applicationName=group.application,
                deploymentGroupName=group.name,
                revision=dict(revision),
                description=group.context.mark,
            )
        except ClientError as error:
            if error_code(error) == "DeploymentLimitExceededException":
                message = error.response["Error"].get("Message", "it has a deployment already")
                raise ActionFailed(
                    f"starting a deployment to {group.what}: {message}; wait for that deployment, or stop it, and retry"
                ) from error
            if error_code(error) in _MISSING:
                raise wrong_configuration(
                    f"there is no {group.what}; correct ApplicationName, DeploymentGroupName or the region"
                ) from error
            raise
    return _work(group, answer["deploymentId"])


def _find(group: DeploymentGroup) -> Work | None:
    earlier = group.context.earlier
    since = (earlier.started_at if earlier else datetime.now(timezone.utc)) - _CLOCKS_DIFFER
    with translated(f"looking for a deployment to {group.what}"):
        pages = group.codedeploy.get_paginator("list_deployments").paginate(
            applicationName=group.application,
            deploymentGroupName=group.name,
            createTimeRange={"start": since},
        )
        ids = [each for page in pages for each in page.get("deployments", ())]
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            for info in group.codedeploy.batch_get_deployments(deploymentIds=some)["deploymentsInfo"]:
                if info.get("description") == group.context.mark:
                    return _work(group, info["deploymentId"])
    return None


def _progress(state: State) -> tuple[str, int | None]:
    """What the deployment does, and the states of its targets where there are several."""
    counts = state.get("deploymentOverview") or {}
    total = sum(counts.values())
    summary = f"deployment {state.get('deploymentId', '')}: {state['status']}"
    if waits := _WAITS.get(state["status"]):
        summary += f", {waits}"
    elif state["status"] == "InProgress" and state.get("instanceTerminationWaitTimeStarted"):
        summary += ", the traffic has been shifted, and what ran before is kept for a while"
    if total < 2:
        return summary, None
    done = counts.get("Succeeded", 0) + counts.get("Skipped", 0)
    overview = ", ".join(f"{name} {counts[name]}" for name in _COUNTS if counts.get(name))
    return f"{summary}: {overview}", 100 * done // total


def _reason(group: DeploymentGroup, work: Work, state: State) -> str:
    """CodeDeploy's error, the targets that failed first, and the deployment that rolls this one back."""
    error = state.get("errorInformation") or {}
    rollback = (state.get("rollbackInfo") or {}).get("rollbackDeploymentId")
    failures: list[str] = []
    # That they may not be read is not worth another failure.
    with suppress(ActionFailed), bearing_silence(group.context, f"deployment {work.id!r}"):
        failures = _failures(group, work, (state.get("deploymentOverview") or {}).get("Failed", 0))
    parts = [
        ": ".join(filter(None, [error.get("code"), error.get("message")])) or "CodeDeploy gives no error",
        *failures,
        f"deployment {rollback!r} rolls it back" if rollback else "",
    ]
    return "; ".join(filter(None, parts))


def _failures(group: DeploymentGroup, work: Work, count: int) -> list[str]:
    """The targets that failed first, each with its lifecycle event, and how many failed beside them."""
    events = [
        (event, target.get("targetId", ""))
        for target in _targets(group, work)
        for event in target.get("lifecycleEvents", ())
        if event.get("status") == "Failed"
    ]
    first: dict[str, State] = {}
    for event, target in sorted(events, key=lambda each: _ended_at(each[0])):
        first.setdefault(target, event)
    shown = list(first.items())[:_MOST_TARGETS]
    more = max(count, len(first)) - len(shown) if shown else 0
    return [
        *(_failure(group, target, event) for target, event in shown),
        *([f"{more} more failed"] if more else ()),
    ]


def _failure(group: DeploymentGroup, target: str, event: State) -> str:
    """The event of a target that failed, its script, and the end of the script's log, all of which is logged."""
    found = event.get("diagnostics") or {}
    said = f"{event['lifecycleEventName']} of target {target!r} failed"
    if log := printable(found.get("logTail", ""), kept="\n").strip():
        group.context.logger.warning("%s; its log ends with:\n%s", said, log)
    why = [found.get("errorCode"), found.get("scriptName"), found.get("message")]
    end = " | ".join(line.strip() for line in log[-_LOG_CHARACTERS:].splitlines() if line.strip())
    return printable(": ".join(filter(None, [said, *why, end])))


def _targets(group: DeploymentGroup, work: Work) -> Iterator[State]:
    """The first targets that failed, or the first of all if none is called so."""
    with translated(f"looking up the targets of deployment {work.id!r}"):
        for wanted in ({"targetFilters": {"TargetStatus": ["Failed"]}}, {}):
            ids = group.codedeploy.list_deployment_targets(deploymentId=work.id, **wanted)["targetIds"]
            if ids:
                answer = group.codedeploy.batch_get_deployment_targets(
                    deploymentId=work.id, targetIds=ids[:_AT_ONCE]
                )
                for target in answer["deploymentTargets"]:
                    yield from (each for each in target.values() if isinstance(each, Mapping))
                return


def _ended_at(event: State) -> float:
    at = event.get("endTime") or event.get("startTime")
    return at.timestamp() if at else float("inf")


def _stop(group: DeploymentGroup, work: Work) -> str:
    from botocore.exceptions import ClientError

    with translated(f"stopping deployment {work.id!r}"):
        try:
            group.codedeploy.stop_deployment(deploymentId=work.id, autoRollbackEnabled=True)
        except ClientError as error:
            if error_code(error) == "DeploymentAlreadyCompletedException":
                return f"deployment {work.id!r} had ended already"
            raise
    return f"deployment {work.id!r} is stopped, and CodeDeploy rolls it back"


def _work(group: DeploymentGroup, deployment_id: str) -> Work:
    meta = group.codedeploy.meta
    arn = f"arn:{meta.partition}:codedeploy:{meta.region_name}::deployment:{deployment_id}"
    return Work(
        deployment_id, console_url(arn, f"codesuite/codedeploy/deployments/{deployment_id}?region={{region}}")
    )
