"""Deployments to real hosts over SSH, with a real Prefect: how many at once, failures, stops, rollbacks, lost hosts."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from deployment_sites import FIRST, HOOKS, Action, Site, of_id, recorded
from ssh_hosts import running
from waiting import until

from prefect_codepipeline.actions.deploying.records.deployments import find_deployment, request_stop
from prefect_codepipeline.actions.deploying.records.groups import read_group
from prefect_codepipeline.actions.deploying.rollout import one_host
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.codedeploy.names import deployment_id, group_id, rollback_id
from prefect_codepipeline.model.stored.deployment import StoredDeployment, StoredGroup
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.leases import holding_lease
from prefect_codepipeline.prefect_api.variables import variables_with_prefix

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("prefect_server")]
ALL = {"deployment_config": "CodeDeployDefault.AllAtOnce"}
EVERY = {
    "deployment_config": {"minimum_healthy_hosts": {"type": "HOST_COUNT", "value": 3}},
    "auto_rollback": ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_REQUEST"],
}


def group_of(site: Site) -> StoredGroup:
    return read_group("shop", site.name, group_id("shop", site.name))


def statuses(deployment: StoredDeployment) -> dict[str, str]:
    return {host.name: host.status for host in deployment.hosts}


def locks(site: Site) -> list[Any]:
    return variables_with_prefix(f"codepipeline-codedeploy-lock-{group_id('shop', site.name)}")


def failure(action: Action) -> str:
    with pytest.raises(ActionFailed) as caught:
        action.run()
    assert caught.value.external_execution_id == deployment_id(action.id)
    return str(caught.value)


def table(deployment: str) -> list[dict[str, str]]:
    _, found = call("GET", f"/artifacts/codedeploy-{deployment.lower()}/latest")
    rows: list[dict[str, str]] = json.loads(found["data"])
    return rows


def test_each_script_of_each_host_runs_once(site: Site) -> None:
    action = site.action("v1", **ALL)

    result = action.run()

    made = deployment_id(action.id)
    assert result.external_execution_id == made
    assert (
        result.summary == f"deployment {made!r} to deployment group {site.name!r} succeeded on 3 of 3 hosts"
    )
    for host in range(3):
        assert site.ran(host) == FIRST
        assert {line.split()[0] for line in site.trace(host)} == {made}
    deployment = recorded(action)
    assert deployment.status == "Succeeded"
    assert deployment.commit == "c0ffee"
    known = group_of(site)
    assert (known.revision, known.deployment_id) == (deployment.revision, made)
    assert all(health.healthy for health in known.hosts.values())
    assert locks(site) == []
    assert [row["status"] for row in table(made)] == ["Succeeded"] * 3
    assert table(made)[0]["Install"].startswith("Succeeded, ")


@pytest.mark.long
def test_the_next_deployment_stops_the_application_of_the_last(site: Site) -> None:
    site.action("v1", **ALL).run()

    site.action("v2").run()

    for host in range(3):
        assert site.ran(host)[4:] == [("ApplicationStop", "v1"), *((event, "v2") for event in HOOKS[1:])]


def test_after_a_failure_no_further_host_begins(site: Site) -> None:
    site.order(0, AfterInstall="fail")
    action = site.action("v1")

    said = failure(action)

    made, home = deployment_id(action.id), site.home(0)
    assert said == (
        f"deployment {made!r} to deployment group {site.name!r} failed: HEALTH_CONSTRAINTS: 1 host failed, too few healthy "
        "hosts are left; it succeeded on 0 of 3 hosts; AfterInstall of host 'web-1' failed: ScriptFailed: Script at "
        f"specified location: script.sh failed with exit code 3: LifecycleEvent - AfterInstall | Script - "
        f"script.sh | [stdout]no room in {home}; it is not rolled back"
    )
    assert statuses(recorded(action)) == {"web-1": "Failed", "web-2": "Skipped", "web-3": "Skipped"}
    assert site.ran(1) == site.ran(2) == []
    assert [row["last lines"].splitlines()[-1:] for row in table(made)] == [
        [f"[stdout]no room in {home}"],
        [],
        [],
    ]
    assert group_of(site).revision is None
    assert not group_of(site).hosts["web-1"].healthy


@pytest.mark.long
def test_the_last_host_alone_may_fail_and_is_the_first_of_the_next_deployment(site: Site) -> None:
    site.order(2, ValidateService="fail")

    site.action("v1").run()

    site.order(2, ValidateService=None)
    second = site.action("v2")
    second.run()
    assert [host.name for host in recorded(second).hosts] == ["web-3", "web-1", "web-2"]


def test_a_failed_release_is_rolled_back_on_the_hosts_that_it_touched(site: Site) -> None:
    good = site.action("v1", **ALL)
    good.run()
    site.order(1, ApplicationStart="fail")
    broken = site.action("v2", **EVERY)

    said = repaired(site, broken)

    made = deployment_id(broken.id)
    back = of_id(rollback_id(made))
    assert said.endswith(
        f"; rolled back to revision {recorded(good).revision[:12]}: deployment {back.deployment_id!r} to deployment group "
        f"{site.name!r} succeeded on 2 of 2 hosts"
    )
    assert statuses(recorded(broken)) == {"web-1": "Succeeded", "web-2": "Failed", "web-3": "Skipped"}
    assert statuses(back) == {"web-1": "Succeeded", "web-2": "Succeeded"}
    assert site.ran(0)[-4:] == FIRST
    assert site.ran(2) == FIRST
    assert group_of(site).deployment_id == back.deployment_id
    assert locks(site) == []


def repaired(site: Site, action: Action) -> str:
    """What the action says whose failing host works again when it is rolled back."""

    def repair() -> None:
        until(lambda: (found := find_deployment(deployment_id(action.id))) and found.deployment.has_ended, 60)
        site.order(1, ApplicationStart=None)

    thread = threading.Thread(target=repair)
    thread.start()
    try:
        return failure(action)
    finally:
        thread.join()


@pytest.mark.long
def test_two_deployments_of_a_group_exclude_one_another(site: Site) -> None:
    site.order(0, BeforeInstall="30")
    first = site.action("v1", **ALL)
    assert first.look() is None
    second = site.action("v2", **ALL)

    with holding_lease(first.execution, 1), pytest.raises(ActionFailed) as caught:
        second.run()

    holder = deployment_id(first.id)
    assert str(caught.value) == (
        f"deployment group {site.name!r} of application 'shop': Deployment Group is already deploying: deployment "
        f"{holder!r} is in progress; wait for its end, or stop it"
    )
    assert caught.value.code == "JobFailed"
    request_stop(holder, "tester", "enough")
    assert "was stopped: tester stopped it: enough; it succeeded on 2 of 3 hosts" in failure(first)
    assert locks(site) == []


@pytest.mark.long
def test_the_lock_of_a_deployment_that_no_execution_continues_is_taken_over(site: Site) -> None:
    site.order(0, BeforeInstall="60")
    first = site.action("v1", **ALL)
    first.execution = str(uuid4())
    assert first.look() is None
    site.order(0, BeforeInstall=None)
    left = running(f"{site.home(0)}/{site.state}")
    assert left

    second = site.action("v2", **ALL)
    second.run()

    assert recorded(first).status == "Failed"
    assert recorded(first).error == "the execution that ran it has ended"
    assert running(f"{site.home(0)}/{site.state}") == []


def test_an_abandoned_deployment_ends_its_scripts_and_is_rolled_back(site: Site) -> None:
    site.action("v1", **ALL).run()
    for host in range(2):
        site.order(host, AfterInstall="60")
    config = {"minimum_healthy_hosts": {"type": "HOST_COUNT", "value": 1}}
    action = site.action("v2", **{**EVERY, "deployment_config": config})
    context = action.context()

    def abandon() -> None:
        until(lambda: all("AfterInstall v2 begins" in " ".join(site.trace(host)) for host in range(2)), 60)
        for host in range(2):
            site.order(host, AfterInstall=None)
        context.cancellation.cancel()

    thread = threading.Thread(target=abandon)
    thread.start()
    with pytest.raises(ActionAbandoned) as caught:
        until(lambda: action.look(context), 60)
    thread.join()

    assert statuses(recorded(action)) == {"web-1": "Stopped", "web-2": "Stopped", "web-3": "Skipped"}
    assert "was stopped: its action was ended; it succeeded on 0 of 3 hosts" in str(caught.value)
    assert "succeeded on 2 of 2 hosts" in str(caught.value)
    assert all(site.ran(host)[-4:] == FIRST for host in range(2))
    assert site.ran(2) == FIRST
    assert running(site.state) == []


@pytest.mark.long
def test_a_broken_connection_changes_nothing(site: Site) -> None:
    site.order(0, AfterInstall="4")
    action = site.action("v1", **ALL)

    def cut() -> None:
        until(lambda: "AfterInstall v1 begins" in " ".join(site.trace(0)), 60)
        site.hosts[0].cut_connections()

    thread = threading.Thread(target=cut)
    thread.start()
    action.run()
    thread.join()

    assert site.ran(0) == FIRST


def test_a_host_that_cannot_be_reached_fails_and_the_rest_continues(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_host, "UNREACHABLE_SECONDS", 2.0)
    site.hosts[2].stop()
    try:
        action = site.action("v1", **ALL)
        action.run()
    finally:
        site.hosts[2].start()

    lost = recorded(action).hosts[2]
    assert (lost.status, lost.code) == ("Failed", "HostUnreachable")
    assert lost.error
    assert lost.error.startswith("it could not be reached for 0.0333333 minutes: ")
    assert not lost.was_touched
    assert [site.ran(host) for host in range(3)] == [FIRST, FIRST, []]


def test_a_host_whose_program_was_ended_fails_and_its_script_does_not_run_again(site: Site) -> None:
    site.order(0, AfterInstall="60")
    action = site.action("v1", **ALL)

    def end() -> None:
        until(lambda: "AfterInstall v1 begins" in " ".join(site.trace(0)), 60)
        for process in running(f"{site.home(0)}/{site.state}"):  # not the SSH server itself
            os.kill(process, signal.SIGKILL)
        for process in programs(site):
            os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=end)
    thread.start()
    action.run()
    thread.join()

    host = recorded(action).hosts[0]
    assert host.status == "Failed"
    assert site.trace(0)[-1].endswith("AfterInstall v1 begins")


def programs(site: Site) -> list[int]:
    """The detached programs of the first host."""
    found = []
    for process in running("codedeploy"):
        try:
            environment = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"HOME={site.home(0)}\0" in environment:
            found.append(process)
    return found
