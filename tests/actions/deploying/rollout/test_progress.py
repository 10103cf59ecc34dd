"""What people read about a deployment: its progress, and its rows in the table."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.actions.deploying.rollout.words import outcome, progress, table_of_hosts
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host
from prefect_codepipeline.model.stored.deployment import DeployedHost, HostEvent, StoredDeployment

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def event(name: str, status: Any = "Succeeded", **more: Any) -> HostEvent:
    return HostEvent(event=name, status=status, started=NOW, ended=NOW + timedelta(seconds=2), **more)


def host(number: int, status: Any = "Pending", *events: HostEvent, **more: Any) -> DeployedHost:
    return DeployedHost(
        host=Host(name=f"web-{number}", address="10.0.0.1"), status=status, events=events, **more
    )


def deployment(*hosts: DeployedHost, **more: Any) -> StoredDeployment:
    named = {"application": "shop", "group": "web", "group_id": "g", "deployment_id": "d-1"}
    group = DeploymentGroup(name="web", where="hosts", hosts=[each.host for each in hosts])
    return StoredDeployment(
        **named, revision="0", appspec={}, settings=group, hosts=list(hosts), created=NOW, changed=NOW, **more
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(deployment(host(1)), ("0 of 1 host", 0), id="not begun"),
        pytest.param(
            deployment(
                host(1, "Succeeded"),
                host(2, "InProgress", event("Install"), event("AfterInstall", "InProgress")),
            ),
            ("1 of 2 hosts, web-2: AfterInstall", 50),
            id="the event of a host",
        ),
        pytest.param(
            deployment(host(1, "InProgress"), host(2)),
            ("0 of 2 hosts, web-1: is prepared", 0),
            id="a host begins",
        ),
        pytest.param(
            deployment(host(1, "InProgress", event("Install"), unreachable_since=NOW)),
            ("0 of 1 host, web-1: not reached since 00:00:00 UTC", 0),
            id="a host is lost",
        ),
        pytest.param(
            deployment(host(1, "Succeeded"), status="Baking"),
            ("1 of 1 host, watching alarms", 100),
            id="watched",
        ),
    ],
)
def test_progress(found: StoredDeployment, said: tuple[str, int]) -> None:
    assert progress(found) == said


def test_the_table_has_the_last_lines_of_a_failed_script() -> None:
    log = "\n".join(f"line {number}" for number in range(9))
    failed = event("AfterInstall", "Failed", code="ScriptFailed", message="it failed", log=log)

    (row,) = table_of_hosts(
        deployment(host(1, "Failed", event("Install"), failed, code="ScriptFailed", error="it failed"))
    )

    assert row["host"] == "web-1"
    assert (row["Install"], row["AfterInstall"], row["ValidateService"]) == (
        "Succeeded, 2.0 s",
        "Failed, 2.0 s",
        "",
    )
    assert row["error"] == "ScriptFailed: it failed"
    assert row["last lines"].splitlines() == [f"line {number}" for number in range(4, 9)]
    assert "BlockTraffic" not in row


def test_a_success_names_the_hosts_that_failed() -> None:
    lost = host(3, "Failed", code="HostUnreachable", error="it refuses the login")
    done = [host(number, "Succeeded", was_touched=True) for number in (1, 2)]
    found = deployment(*done, lost, status="Succeeded")

    assert outcome(found) == (
        "deployment 'd-1' to deployment group 'web' succeeded on 2 of 3 hosts; host 'web-3': HostUnreachable: it refuses "
        "the login"
    )
