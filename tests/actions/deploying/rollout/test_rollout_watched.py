"""Alarms stop a deployment, during it and after the last host; zones are deployed to one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment_sites import FIRST, Site, hosts_with_homes, recorded
from ssh_hosts import SshHosts, running
from waiting import until

from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.actions.deploying.rollout import look
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.names import deployment_id

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with hosts_with_homes(2) as found:
        yield found


@pytest.fixture
def site(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(look, "LOOK_EVERY_SECONDS", 0.3)
    return site


def watching(alarm: Path, **more: Any) -> dict[str, Any]:
    """Settings of a group whose alarm is on when a file exists."""
    alarms = {"commands": [["test", "!", "-e", str(alarm)]], **more}
    return {
        "alarms": alarms,
        "auto_rollback": ["DEPLOYMENT_STOP_ON_ALARM"],
        "deployment_config": {"minimum_healthy_hosts": {"type": "HOST_COUNT", "value": 1}},
    }


def failure(action: Any) -> str:
    with pytest.raises(ActionFailed) as caught:
        action.run()
    return str(caught.value)


def test_an_alarm_ends_scripts_and_rolls_back(site: Site, tmp_path: Path) -> None:
    alarm = tmp_path / "alarm"
    site.action("v1", **watching(alarm)).run()
    site.order(0, AfterInstall="60")
    action = site.action("v2", **watching(alarm))

    def ring() -> None:
        until(lambda: "AfterInstall v2 begins" in " ".join(site.trace(0)), 60)
        site.order(0, AfterInstall=None)
        alarm.touch()

    thread = threading.Thread(target=ring)
    thread.start()
    said = failure(action)
    thread.join()

    assert "was stopped: an alarm is on: command " in said
    assert "succeeded on 1 of 1 host" in said
    assert [host.status for host in recorded(action).hosts] == ["Stopped", "Skipped"]
    assert site.ran(0)[-4:] == FIRST
    assert site.ran(1) == FIRST
    assert running(site.state) == []


@pytest.mark.long
def test_alarms_are_watched_after_the_last_host(site: Site, tmp_path: Path) -> None:
    alarm = tmp_path / "alarm"
    site.action("v1", **watching(alarm)).run()
    action = site.action("v2", **watching(alarm, watch_after_in_seconds=60))

    def ring() -> None:
        until(
            lambda: (
                (found := find_deployment(deployment_id(action.id))) and found.deployment.status == "Baking"
            ),
            60,
        )
        alarm.touch()

    thread = threading.Thread(target=ring)
    thread.start()
    said = failure(action)
    thread.join()

    assert "was stopped: an alarm is on: command " in said
    assert recorded(action).status == "Stopped"
    assert all(site.ran(host)[-4:] == FIRST for host in range(2))


@pytest.mark.long
def test_zones_are_deployed_to_one_after_the_other_with_a_pause(site: Site) -> None:
    hosts = [each.host.model_copy(update={"zone": zone}) for each, zone in zip(site.hosts, "ba", strict=True)]
    config = {
        "minimum_healthy_hosts": {"type": "HOST_COUNT", "value": 0},
        "zonal_config": {"monitor_duration_in_seconds": 3},
    }
    action = site.action("v1", hosts=hosts, deployment_config=config)

    action.run()

    second, first = recorded(action).hosts
    assert (first.host.zone, second.host.zone) == ("a", "b")
    assert (second.started - first.ended).total_seconds() >= 3
