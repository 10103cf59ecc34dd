"""The state of deployment groups between deployments, and the lock that one deployment of a group holds."""

from __future__ import annotations

from prefect_codepipeline.actions.deploying.records.deployments import (
    Recorded,
    find_deployment,
    write_deployment,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.health import health_after
from prefect_codepipeline.model.stored.deployment import StoredDeployment, StoredGroup
from prefect_codepipeline.prefect_api.block_documents import (
    Document,
    block_of,
    create_document,
    find_document,
    replace_data,
)
from prefect_codepipeline.prefect_api.client import flow_run
from prefect_codepipeline.prefect_api.leases import is_stale, server_time
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    create_variable,
    delete_variable,
    read_variable,
)

_ENDS = ("COMPLETED", "FAILED", "CANCELLED")
# So often a lock that was released or taken over meanwhile is tried again.
_TRIES = 5


def read_group(application: str, group: str, group_id: str) -> StoredGroup:
    """The state of a deployment group; that of a new one if it was never deployed to."""
    return _group_in(find_document(StoredGroup, group_id), application, group)


def _group_in(document: Document | None, application: str, group: str) -> StoredGroup:
    if document is None:
        return StoredGroup(application=application, group=group)
    return block_of(StoredGroup, document)


def write_health(deployment: StoredDeployment) -> StoredGroup:
    """Write the health of the hosts, and the group's revision, after the end of a deployment. It may be repeated."""
    from prefect_codepipeline.blocks.codedeploy_records import CodeDeployGroup

    document = find_document(StoredGroup, deployment.group_id)
    before = _group_in(document, deployment.application, deployment.group)
    succeeded = deployment.status == "Succeeded"
    ended = {host.name: host.status for host in deployment.hosts}
    hosts = health_after(before.hosts, before.revision, ended, deployment.revision, succeeded=succeeded)
    news = {"revision": deployment.revision, "deployment_id": deployment.deployment_id} if succeeded else {}
    after = before.model_copy(update={"hosts": hosts, **news})
    if after != before:
        data = after.model_dump(mode="json")
        if document is None:
            create_document(CodeDeployGroup, data, deployment.group_id)
        else:
            replace_data(document["id"], data)
    return after


def lock_group(application: str, group: str, group_id: str, deployment_id: str, owner: str) -> None:
    """Take the lock of a group for a deployment, also from one that has ended, or that no execution continues.

    Args:
        application: for messages, as `group`.
        group: the name of the group.
        group_id: whose lock is taken.
        deployment_id: that holds the lock from now on. If it has the lock, nothing happens.
        owner: the id of the pipeline execution, or of the lease of a process, that continues the deployment.

    Raises:
        ActionFailed: another deployment of the group is in progress.
    """
    value = {"deployment": deployment_id, "owner": owner}
    for _ in range(_TRIES):
        if create_variable(_name(group_id), value, ["codepipeline"]):
            return
        lock = read_variable(_name(group_id))
        if lock is None:
            continue
        holder = lock["value"]["deployment"]
        if holder == deployment_id:
            return
        if not _is_abandoned(lock):
            raise ActionFailed(
                f"deployment group {group!r} of application {application!r}: Deployment Group is already deploying: "
                f"deployment {holder!r} is in progress; wait for its end, or stop it"
            )
        _end_abandoned(holder)
        delete_variable(lock)
    raise ActionFailed(
        f"deployment group {group!r} of application {application!r}: other deployments took its lock {_TRIES} times; "
        "try again"
    )


def unlock_group(group_id: str, deployment_id: str) -> None:
    """Release the lock of a group, if that deployment has it."""
    lock = read_variable(_name(group_id))
    if lock and lock["value"]["deployment"] == deployment_id:
        delete_variable(lock)


def _is_abandoned(lock: Variable) -> bool:
    """Whether the deployment with the lock has ended with its rollback, or is continued by no execution."""
    holder, owner = lock["value"]["deployment"], lock["value"]["owner"]
    if (found := find_deployment(holder)) and found.deployment.has_ended:
        rollback = found.deployment.rolled_back_by
        rolling = find_deployment(rollback) if rollback else None
        if not rollback or (rolling and rolling.deployment.has_ended):
            return True
    run = flow_run(owner)
    if run and run["state_type"] not in _ENDS:
        return False
    return is_stale(owner, server_time())


def _end_abandoned(deployment_id: str) -> None:
    """Record that a deployment that no execution continues has failed, on its open hosts too."""
    found = find_deployment(deployment_id)
    if found is None or found.deployment.has_ended:
        return
    why, now = "the execution that ran it has ended", server_time()
    open_host = {"status": "Failed", "error": why, "ended": now}
    hosts = [
        host.model_copy(update=open_host) if host.status == "InProgress" else host
        for host in found.deployment.hosts
    ]
    news = {"status": "Failed", "ended": now, "error": why, "hosts": hosts}
    ended = found.deployment.model_copy(update=news)
    write_health(ended)
    write_deployment(Recorded(found.document_id, ended))


def _name(group_id: str) -> str:
    return f"codepipeline-codedeploy-lock-{group_id}"
