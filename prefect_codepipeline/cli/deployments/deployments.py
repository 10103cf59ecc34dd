"""`codepipeline deployment list`, `show` and `stop`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_codepipeline.cli.deployments.as_json import deployment_as_json, listed_as_json
from prefect_codepipeline.cli.output import Style, answer, print_json, print_line, print_table
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect, who
from prefect_codepipeline.errors import ValidationException

if TYPE_CHECKING:
    from prefect_codepipeline.model.stored.deployment import DeployedHost, HostEvent, StoredDeployment

DeploymentId = Annotated[
    str, Parameter(help="Id of the deployment, d-…, as `codepipeline deployment list` prints it.")
]
_REVISION = 12
_COLOURS: dict[str, Style] = {"Succeeded": "green", "Failed": "red", "Stopped": "red", "InProgress": "yellow"}


def list_deployments(
    *, application: str | None = None, group: str | None = None, limit: int = 20, json: AsJson = False
) -> int:
    """List the deployments to hosts, the newest first.

    Parameters
    ----------
    application:
        Only those of this application.
    group:
        Only those of deployment groups of this name.
    limit:
        Maximum number of deployments.
    """
    connect()
    from prefect_codepipeline.actions.deploying.records.deployments import list_deployments as recorded

    found = recorded(application, group)[: max(limit, 1)]
    if json:
        print_json([listed_as_json(each) for each in found])
        return 0
    heads = ("Deployment", "Group", "Status", "Hosts", "Revision", "Started", "By")
    print_table(heads, map(_row, found))
    return 0


def show_deployment(deployment: DeploymentId, *, json: AsJson = False) -> int:
    """Show a deployment: each host with its lifecycle events, and the output of the scripts that failed."""
    connect()
    found = find(deployment)
    if json:
        print_json(deployment_as_json(found))
        return 0
    for line in _lines(found):
        print_line(*line)
    return 0


def stop_deployment(deployment: DeploymentId, *, reason: str = "", json: AsJson = False) -> int:
    """Stop a deployment: no further host begins, and running scripts are ended.

    It is rolled back if the deployment group wants that for DEPLOYMENT_STOP_ON_REQUEST.

    Parameters
    ----------
    reason:
        Why, for the record.
    """
    connect()
    from prefect_codepipeline.actions.deploying.records.deployments import request_stop

    found = find(deployment)
    if found.has_ended:
        raise ValidationException(
            f"deployment {found.deployment_id!r} cannot be stopped: it has ended as {found.status}"
        )
    is_first = request_stop(found.deployment_id, who(), reason)
    said = "is asked to stop" if is_first else "was asked to stop before"
    answer(
        json,
        {"deploymentId": found.deployment_id, "status": found.status, "stopRequested": is_first},
        f"deployment {found.deployment_id!r} {said}; see: codepipeline deployment show {found.deployment_id}",
    )
    return 0


def find(deployment_id: str) -> StoredDeployment:
    """The record of a deployment. Raises `ValidationException`."""
    from prefect_codepipeline.actions.deploying.records.deployments import find_deployment

    found = find_deployment(deployment_id)
    if found is None:
        raise ValidationException(
            f"there is no deployment {deployment_id!r} to hosts; see: codepipeline deployment list"
        )
    return found.deployment


def _row(deployment: StoredDeployment) -> tuple[str, ...]:
    from prefect_codepipeline.cli.executions.pipeline_view import time_text

    succeeded = sum(host.status == "Succeeded" for host in deployment.hosts)
    return (
        deployment.deployment_id,
        f"{deployment.application}/{deployment.group}",
        deployment.status,
        f"{succeeded} of {len(deployment.hosts)}",
        deployment.revision[:_REVISION],
        time_text(deployment.created),
        _origin(deployment),
    )


def _origin(deployment: StoredDeployment) -> str:
    if deployment.rollback_of:
        return f"rollback of {deployment.rollback_of}"
    return f"pipeline {deployment.pipeline}" if deployment.pipeline else "a person"


def _lines(deployment: StoredDeployment) -> Iterator[tuple[str | tuple[str, Style], ...]]:
    from prefect_codepipeline.cli.executions.pipeline_view import time_text

    yield (
        (deployment.deployment_id, "bold"),
        "  ",
        (deployment.status, _COLOURS.get(deployment.status, "dim")),
    )
    facts = {
        "group": f"{deployment.application}/{deployment.group}",
        "revision": deployment.revision,
        "commit": deployment.commit or "",
        "started": time_text(deployment.created),
        "ended": time_text(deployment.ended) if deployment.ended else "",
        "by": _origin(deployment),
        "execution": deployment.execution_id,
        "rolled back by": deployment.rolled_back_by or "",
        "error": deployment.error or "",
    }
    yield from ((f"  {name}: {value}",) for name, value in facts.items() if value)
    for host in deployment.hosts:
        yield from _host(host)


def _host(host: DeployedHost) -> Iterator[tuple[str | tuple[str, Style], ...]]:
    why = ": ".join(filter(None, [host.code, host.error]))
    status: tuple[str, Style] = (host.status, _COLOURS.get(host.status, "dim"))
    yield "  ", (host.name, "bold"), f" ({host.host.address})  ", status, f"  {why}" if why else ""
    for event in host.events:
        yield f"    {event.event}  ", (event.status, _COLOURS.get(event.status, "dim")), _seconds(event)
        if event.status == "Failed":
            yield from (((f"      {line}", "dim"),) for line in _diagnostics(event))
        yield from (((f"      warning: {warning}", "yellow"),) for warning in event.warnings)


def _seconds(event: HostEvent) -> str:
    if event.started is None or event.ended is None:
        return ""
    return f"  {(event.ended - event.started).total_seconds():.1f} s"


def _diagnostics(event: HostEvent) -> list[str]:
    said = ": ".join(filter(None, [event.code, event.script, event.message]))
    return [said, *(event.log or "").splitlines()]
