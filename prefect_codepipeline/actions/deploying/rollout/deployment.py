"""Deploy an input artifact to the hosts of a deployment group: start once, look, conclude, roll back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work, failed, follow
from prefect_codepipeline.actions.deploying.records.deployments import (
    Recorded,
    create_deployment,
    find_deployment,
    write_deployment,
)
from prefect_codepipeline.actions.deploying.records.groups import (
    lock_group,
    read_group,
    unlock_group,
    write_health,
)
from prefect_codepipeline.actions.deploying.rollout.desk import utc_now
from prefect_codepipeline.actions.deploying.rollout.look import has_failed, look_once, stop_hosts
from prefect_codepipeline.actions.deploying.rollout.target import Target, rollout_of
from prefect_codepipeline.actions.deploying.rollout.words import (
    outcome,
    progress,
    publish_hosts,
    why_failed,
)
from prefect_codepipeline.actions.deploying.targets import resolve_hosts
from prefect_codepipeline.actions.registry import ActionResult
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import SshAccess
from prefect_codepipeline.model.codedeploy.health import in_deployment_order
from prefect_codepipeline.model.codedeploy.names import rollback_id
from prefect_codepipeline.model.codedeploy.predefined import RollbackEvent
from prefect_codepipeline.model.stored.deployment import DeployedHost, StopCause, StoredDeployment

# Soon after something has happened, more is likely to.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_PAUSE_PER_SECOND = 0.25

# A deployment that has ended, and its rollback, which has ended too.
_Ended: TypeAlias = tuple[Recorded, Recorded | None]


def deploy_to_hosts(target: Target) -> ActionResult:
    """Deploy the action's input artifact, and wait for the end.

    Raises:
        WorkGoesOn: it has not ended; the action waits for it.
        ActionFailed: it failed or was stopped; says what became of the rollback.
    """
    return _followed(target, find_deployment(target.deployment_id) or _started(target, None))


def redeploy(target: Target, good: StoredDeployment) -> ActionResult:
    """Deploy the revision of an earlier deployment again: a rollback that a person wants. Raises as `deploy_to_hosts`."""
    return _followed(target, find_deployment(target.deployment_id) or _started(target, good))


def _followed(target: Target, main: Recorded) -> ActionResult:
    work = Work(target.deployment_id, target.url)
    if target.context.earlier is None or target.context.earlier.external_id != work.id:
        target.context.keep(work.id, work.url)
    ends: list[_Ended] = []
    follow(
        Following(target.what, work, lambda: _look(target, main, ends), lambda: _stop(target)), target.context
    )
    return _result(ends[0], work)


def _result(ended: _Ended, work: Work) -> ActionResult:
    main, rollback = ended
    said = outcome(main.deployment)
    if main.deployment.status == "Succeeded":
        return ActionResult(summary=said, external_execution_id=work.id, external_execution_url=work.url)
    raise failed(f"{said}; {_of_rollback(main.deployment, rollback)}", work)


def _rollback_of(target: Target, main: Recorded) -> Recorded | None:
    """The rollback of a deployment, which has begun if it must; None if there is none, or it has nothing to roll back to."""
    wanted = main.deployment.rolled_back_by
    return (find_deployment(wanted) or _roll_back(target, main)) if wanted else None


def _of_rollback(main: StoredDeployment, rollback: Recorded | None) -> str:
    if not any(host.was_touched for host in main.hosts):
        return "no host was changed"
    if main.rolled_back_by and rollback is None:
        return "it is not rolled back, for the record of the last successful deployment was deleted"
    if rollback is None and _must_roll_back(main):
        return "there is no earlier revision to roll back to"
    if rollback is None:
        return "it is not rolled back"
    revision = rollback.deployment.revision[:12]
    return f"rolled back to revision {revision}: {outcome(rollback.deployment)}"


# -- start


def _started(target: Target, good: StoredDeployment | None) -> Recorded:
    """Lock the group and record the deployment: of the input artifact, or of the revision of an earlier one."""
    context, group = target.context, target.group
    context.check()
    hosts = resolve_hosts(group, target.name)
    revision = _revision_of(good) if good else _revision_of_input(target)
    lock_group(
        target.application, group.name, target.group_id, target.deployment_id,
        context.pipeline_execution_id or context.action_execution_id,
    )  # fmt: skip
    known = read_group(target.application, group.name, target.group_id)
    by_name = {host.name: host for host in hosts}
    order = in_deployment_order(by_name, known.hosts, known.revision)
    now = utc_now()
    return create_deployment(
        StoredDeployment(
            deployment_id=target.deployment_id,
            application=target.application,
            group=group.name,
            group_id=target.group_id,
            settings=group.model_copy(update={"ssh": SshAccess()}),
            hosts=[DeployedHost(host=by_name[name]) for name in order],
            pipeline=context.pipeline_name,
            execution_id=context.pipeline_execution_id,
            action_execution_id=context.action_execution_id,
            limits=target.limits(len(hosts)) if target.limits else None,
            created=now,
            changed=now,
            **revision,
        )
    )


def _revision_of_input(target: Target) -> dict[str, Any]:
    tree = target.context.input_artifacts[0]
    bundle = target.pack(tree)
    for warning in bundle.warnings:
        target.context.logger.warning("%s", warning)
    return {
        "revision": bundle.revision,
        "appspec": bundle.appspec.as_order(),
        "commit": tree.revision_id,
        "artifact": tree.stored,
    }


def _revision_of(good: StoredDeployment) -> dict[str, Any]:
    return {name: getattr(good, name) for name in ("revision", "appspec", "commit", "artifact")}


# -- look


def _look(target: Target, main: Recorded, ends: list[_Ended]) -> Look:
    """Move the deployment on, and after it its rollback; when both have ended, add them to `ends`."""
    if not main.deployment.has_ended:
        main = _move_on(target, main, target.context.check)
        if not main.deployment.has_ended:
            return _looked(main.deployment)
    rollback = _rollback_of(target, main)
    if rollback and not rollback.deployment.has_ended:
        rollback = _move_on(target, rollback, target.context.check)
        if not rollback.deployment.has_ended:
            return _looked(rollback.deployment)
    _leave(target, main, rollback)
    ends.append((main, rollback))
    return Look(True, *progress(main.deployment))


def _looked(deployment: StoredDeployment) -> Look:
    said, percent = progress(deployment)
    if deployment.rollback_of:
        said, percent = f"rolling back: {said}", 99
    since = (utc_now() - deployment.changed).total_seconds()
    pause = min(max(_SHORTEST_PAUSE, _PAUSE_PER_SECOND * since), _LONGEST_PAUSE)
    return Look(False, said, percent, pause)


def _move_on(target: Target, recorded: Recorded, check: Callable[[], None]) -> Recorded:
    """One look at a deployment; conclude it if it has stopped."""
    rollout = rollout_of(target, recorded.deployment)

    def report(deployment: StoredDeployment) -> None:
        said = _looked(deployment)
        work = Work(target.deployment_id, target.url)
        target.context.report_progress(said.summary, said.percent, external_id=work.id, url=work.url)

    recorded, has_stopped = look_once(recorded, rollout, target.context, check, report)
    if not has_stopped:
        return recorded
    if recorded.deployment.stopped_by:
        recorded = stop_hosts(recorded, rollout, report)
    return _conclude(recorded)


def _conclude(recorded: Recorded) -> Recorded:
    """Record how a deployment has ended, after the health of its hosts."""
    deployment = recorded.deployment
    news: dict[str, Any] = {"status": "Succeeded", "ended": utc_now()}
    if deployment.stopped_by:
        news["status"] = "Stopped"
    elif has_failed(deployment):
        news |= {"status": "Failed", "error": why_failed(deployment)}
    news["hosts"] = [
        host.model_copy(update={"status": "Skipped"}) if host.status == "Pending" else host
        for host in deployment.hosts
    ]
    ended = deployment.model_copy(update=news)
    known = write_health(ended)
    if _must_roll_back(ended) and known.deployment_id and any(host.was_touched for host in ended.hosts):
        ended = ended.model_copy(update={"rolled_back_by": rollback_id(ended.deployment_id)})
    recorded = replace(recorded, deployment=ended)
    write_deployment(recorded)
    return recorded


def _must_roll_back(deployment: StoredDeployment) -> bool:
    """Whether the group's settings want it after that end. A rollback that fails is not rolled back."""
    causes: dict[StopCause | None, RollbackEvent] = {
        "alarm": "DEPLOYMENT_STOP_ON_ALARM",
        "request": "DEPLOYMENT_STOP_ON_REQUEST",
        None: "DEPLOYMENT_FAILURE",
    }
    if deployment.rollback_of or deployment.status == "Succeeded":
        return False
    return causes[deployment.stopped_by] in deployment.settings.auto_rollback


def _leave(target: Target, main: Recorded, rollback: Recorded | None) -> None:
    """The last steps after the end, each of which may be repeated."""
    publish_hosts(main.deployment)
    if rollback:
        publish_hosts(rollback.deployment)
    unlock_group(target.group_id, target.deployment_id)


# -- stop and roll back


def _stop(target: Target) -> str:
    """End the scripts on all hosts, roll back if that is wanted, and say what became of both."""
    main = find_deployment(target.deployment_id)
    if main is None:
        raise ActionFailed(f"the record of {target.what} was deleted", code="InternalError")
    if not main.deployment.has_ended:
        if not main.deployment.stopped_by:
            why = {"stopped_by": "request", "error": "its action was ended"}
            main = replace(main, deployment=main.deployment.model_copy(update=why))
            write_deployment(main)
        rollout = rollout_of(target, main.deployment)
        main = _conclude(stop_hosts(main, rollout, lambda _: None))
    rollback = _rollback_of(target, main)
    while rollback and not rollback.deployment.has_ended:
        rollback = _move_on(target, rollback, lambda: None)
    _leave(target, main, rollback)
    return f"{outcome(main.deployment)}; {_of_rollback(main.deployment, rollback)}"


def _roll_back(target: Target, main: Recorded) -> Recorded | None:
    """Record the deployment of the group's last good revision on all hosts that were touched; None if it has no record."""
    failed_one = main.deployment
    known = read_group(target.application, failed_one.group, failed_one.group_id)
    good = find_deployment(known.deployment_id or "")
    if good is None:
        return None
    # Files of the failed revision are in its cleanup list; for others, what held at the last success holds.
    behavior = good.deployment.settings.file_exists_behavior
    touched = [DeployedHost(host=host.host) for host in failed_one.hosts if host.was_touched]
    now = utc_now()
    return create_deployment(
        failed_one.model_copy(
            update={
                **_revision_of(good.deployment),
                "deployment_id": rollback_id(failed_one.deployment_id),
                "rollback_of": failed_one.deployment_id,
                "rolled_back_by": None,
                "settings": failed_one.settings.model_copy(update={"file_exists_behavior": behavior}),
                "hosts": touched,
                "status": "Created",
                "stopped_by": None,
                "error": None,
                "zones": {},
                "created": now,
                "changed": now,
                "ended": None,
            }
        )
    )
