"""What people read about a deployment: progress, the outcome, and the table of hosts in Prefect's UI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prefect_codepipeline.model.appspec.lifecycle import events_of_host
from prefect_codepipeline.model.codedeploy.inventory import tags_in_words
from prefect_codepipeline.model.stored.deployment import ENDED, DeployedHost, HostEvent, StoredDeployment
from prefect_codepipeline.prefect_api.artifacts import publish_table

# So many failed hosts are named in a message, and so much of a script's output.
_MOST_HOSTS = 3
_LOG_CHARACTERS = 300
_LINES = 5


def progress(deployment: StoredDeployment) -> tuple[str, int]:
    """How far a deployment is, as `3 of 8 hosts, web-4: AfterInstall`, and in percent."""
    done = [host for host in deployment.hosts if host.status in ENDED]
    total = len(deployment.hosts)
    said = f"{len(done)} of {counted(total, 'host')}"
    if deployment.status == "Baking":
        said += ", watching alarms"
    open_hosts = [host for host in deployment.hosts if host.status == "InProgress"]
    if open_hosts:
        host = max(open_hosts, key=lambda each: len(each.events))
        said += f", {host.name}: {_doing(host)}"
    return said, 100 * len(done) // max(1, total)


def _doing(host: DeployedHost) -> str:
    if host.unreachable_since:
        return f"not reached since {host.unreachable_since:%H:%M:%S} UTC"
    return host.events[-1].event if host.events else "is prepared"


def counted(number: int, what: str) -> str:
    """A number of things: `1 host`, `2 hosts`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def outcome(deployment: StoredDeployment) -> str:
    """How a deployment ended, and which hosts failed why."""
    succeeded = sum(host.status == "Succeeded" for host in deployment.hosts)
    total = len(deployment.hosts)
    what = f"deployment {deployment.deployment_id!r} to {_where(deployment)}"
    hosts = _had_it(deployment) + "".join(f"; {failure}" for failure in _failures(deployment))
    if deployment.status == "Succeeded":  # also with hosts that failed: the minimum was held
        return f"{what} succeeded on {succeeded} of {counted(total, 'host')}{hosts}"
    verb = "was stopped" if deployment.status == "Stopped" else "failed"
    why = f": {deployment.error}" if deployment.error else ""
    return f"{what} {verb}{why}; it succeeded on {succeeded} of {counted(total, 'host')}{hosts}"


def why_failed(deployment: StoredDeployment) -> str:
    """Why a deployment has failed, by its limits."""
    failed = counted(sum(host.status == "Failed" for host in deployment.hosts), "host")
    if deployment.limits:
        return f"{failed} failed, and MaxError allows {deployment.limits.failures}"
    return f"HEALTH_CONSTRAINTS: {failed} failed, too few healthy hosts are left"


def _where(deployment: StoredDeployment) -> str:
    if deployment.is_of_ec2_action:
        return f"hosts with {tags_in_words(deployment.settings)}"
    return f"deployment group {deployment.group!r}"


def _had_it(deployment: StoredDeployment) -> str:
    had = sum(host.status == "Succeeded" and not host.was_touched for host in deployment.hosts)
    return f", {had} of which had this artifact already" if had else ""


def _failures(deployment: StoredDeployment) -> Iterator[str]:
    failed = [host for host in deployment.hosts if host.error or host.status == "Failed"]
    for host in failed[:_MOST_HOSTS]:
        yield _failure(host)
    if len(failed) > _MOST_HOSTS:
        yield f"{len(failed) - _MOST_HOSTS} more failed"


def _failure(host: DeployedHost) -> str:
    event = failed_event(host)
    if event is None:
        parts = [f"host {host.name!r}", host.code, host.error]
    else:
        log = " | ".join(line.strip() for line in (event.log or "").splitlines() if line.strip())
        parts = [
            f"{event.event} of host {host.name!r} failed", event.code, event.message, log[-_LOG_CHARACTERS:],
        ]  # fmt: skip
    return ": ".join(filter(None, parts))


def failed_event(host: DeployedHost) -> HostEvent | None:
    """The event because of which a host failed or was stopped, or None."""
    ended = [event for event in host.events if event.status in ("Failed", "Stopped")]
    return ended[-1] if ended else None


def publish_hosts(deployment: StoredDeployment) -> None:
    """Publish the table of hosts by event in Prefect's UI, linked to the run."""
    publish_table(
        f"codedeploy-{deployment.deployment_id.lower()}",
        f"table of the hosts of deployment {deployment.deployment_id}",
        f"# Deployment {deployment.deployment_id}\n\n{outcome(deployment)}",
        list(table_of_hosts(deployment)),
    )


def table_of_hosts(deployment: StoredDeployment) -> Iterator[Mapping[str, Any]]:
    """A row for each host: its status, each event with its outcome and time, and the last lines of a failed script."""
    names = events_of_host(has_traffic=deployment.settings.traffic is not None)
    for host in deployment.hosts:
        event = failed_event(host)
        log = "\n".join((event.log or "").splitlines()[-_LINES:]) if event else ""
        yield {
            "host": host.name,
            "status": host.status,
            **{name: _cell(host.event(name)) for name in names},
            "error": ": ".join(filter(None, [host.code, host.error])),
            "last lines": log,
        }


def _cell(event: HostEvent | None) -> str:
    if event is None:
        return ""
    if event.started is None or event.ended is None:
        return event.status
    return f"{event.status}, {(event.ended - event.started).total_seconds():.1f} s"
