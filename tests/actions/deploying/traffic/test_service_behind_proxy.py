"""A real HTTP service on three hosts behind a real proxy: releases, while clients ask it all the time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployment_sites import Action, Site, hosts_with_homes, new_site
from loopback_proxy import LoopbackProxy
from ssh_hosts import running, unused_port
from waiting import until
from web_release import Clients, asking, write_release

from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.actions.deploying.rollout import look
from prefect_codepipeline.errors import ActionFailed, ActionInterrupted
from prefect_codepipeline.model.codedeploy.names import deployment_id

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("prefect_server")]
NAMES = ["web-1", "web-2", "web-3"]


@dataclass
class Shop:
    """The service on its hosts, and the proxy before them."""

    site: Site
    proxy: LoopbackProxy
    version: str = ""
    releases: int = 0

    def release(self, health: str = "good", **settings: Any) -> Action:
        """An action that deploys the next version, one host at a time, in and out of the proxy."""
        self.releases += 1
        bundle = write_release(self.site.folder / f"release-{self.releases}", f"v{self.releases}", health)
        commands = {verb: self.proxy.command(verb) for verb in ("block", "allow", "wait")}
        group = self.site.group(traffic={"timeout_in_seconds": 30, **commands}, **settings)
        return Action(self.site, bundle, group)

    def deploy(self, **settings: Any) -> None:
        """Deploy a good release to its end."""
        self.release(**settings).run()
        self.version = f"v{self.releases}"

    def failed(self, action: Action) -> str:
        with pytest.raises(ActionFailed) as failure:
            action.run()
        return str(failure.value)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The first release is deployed."""
    with hosts_with_homes(3) as hosts:
        places = {host.name: (host.address, unused_port(host.address)) for host in hosts}
        for host in hosts:
            (host.folder / "web-address").write_text("{}:{}".format(*places[host.name]))
        with LoopbackProxy(places) as proxy:
            found = Shop(new_site(hosts, tmp_path_factory.mktemp("shop")), proxy)
            try:
                found.deploy(deployment_config="CodeDeployDefault.AllAtOnce")
                yield found
            finally:
                for host in hosts:
                    end(host.folder / "web" / "pid")


def end(file: Path) -> None:
    if file.exists():
        try:
            os.kill(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            return


def wait_for(seen: Clients, version: str, answers: int = 30) -> None:
    """Wait until so many further answers are of that version, and none of another one."""
    before = len(seen.versions)
    until(lambda: len(seen.versions) >= before + answers, 30, lambda: (seen.versions[before:], seen.failures))
    assert set(seen.versions[before:]) == {version}


def hosts_of(action: Action) -> dict[str, str]:
    found = find_deployment(deployment_id(action.id))
    assert found
    return {host.name: host.status for host in found.deployment.hosts}


def test_no_request_fails_while_hosts_are_deployed_to_one_after_the_other(shop: Shop) -> None:
    old = shop.version
    shop.proxy.log.clear()

    with asking(shop.proxy.url) as seen:
        wait_for(seen, old)
        shop.deploy()
        wait_for(seen, shop.version)

    assert seen.failures == []
    assert set(seen.versions) == {old, shop.version}
    assert sorted(shop.proxy.log[::2]) == [f"block {name}" for name in NAMES]
    # One after the other: each is back before the next one leaves.
    assert [line.replace("block", "allow") for line in shop.proxy.log[::2]] == shop.proxy.log[1::2]


@pytest.mark.long
def test_a_broken_release_is_rolled_back_and_no_request_fails(shop: Shop) -> None:
    action = shop.release("broken", auto_rollback=["DEPLOYMENT_FAILURE"])

    with asking(shop.proxy.url) as seen:
        said = shop.failed(action)
        wait_for(seen, shop.version)

    assert seen.failures == []
    assert set(seen.versions) == {shop.version}
    assert "ValidateService of host" in said
    assert "this release does not work" in said
    assert "rolled back to revision " in said
    assert said.endswith(" succeeded on 1 of 1 host")
    assert sorted(hosts_of(action).values()) == ["Failed", "Skipped", "Skipped"]
    assert sorted(shop.proxy.allowed) == NAMES


@pytest.mark.long
def test_an_alarm_stops_the_release_and_rolls_it_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "LOOK_EVERY_SECONDS", 0.3)
    shop.proxy.errors = 0
    # Only a release is watched after its last host: the end of the rollback is in time.
    alarms = {"urls": [shop.proxy.errors_url], "watch_after_in_seconds": 3600}
    action = shop.release("bad", auto_rollback=["DEPLOYMENT_STOP_ON_ALARM"], alarms=alarms)

    with asking(shop.proxy.url) as seen:
        said = shop.failed(action)
        wait_for(seen, shop.version)

    assert f"an alarm is on: GET {shop.proxy.errors_url} responded with 500, not with 200-299" in said
    assert "was stopped" in said
    assert "rolled back to revision " in said
    assert all("500" in failure for failure in seen.failures)
    assert set(seen.versions) == {shop.version}
    assert "Skipped" in hosts_of(action).values()
    assert sorted(shop.proxy.allowed) == NAMES


def test_an_alarm_that_is_on_before_the_first_host_leaves_all_of_them_alone(shop: Shop) -> None:
    shop.proxy.log.clear()
    shop.proxy.errors = 1
    action = shop.release(
        auto_rollback=["DEPLOYMENT_STOP_ON_ALARM"], alarms={"urls": [shop.proxy.errors_url]}
    )

    said = shop.failed(action)

    shop.proxy.errors = 0
    assert "an alarm is on: " in said
    assert said.endswith("; no host was changed")
    assert set(hosts_of(action).values()) == {"Skipped"}
    assert shop.proxy.log == []


@pytest.mark.long
def test_a_block_that_a_crash_interrupts_runs_again_and_nothing_of_it_remains(
    shop: Shop, tmp_path: Path
) -> None:
    ran, may_end = tmp_path / "ran", tmp_path / "may-end"
    action = shop.release()
    block = ["sh", "-c", f"echo $HOST >>{ran}; [ -e {may_end} ] || sleep 1000"]
    traffic = action.group.traffic
    assert traffic
    changed = traffic.model_copy(update={"block": block, "wait": None})
    action.group = action.group.model_copy(update={"traffic": changed})
    context = action.context()

    def leave() -> None:
        until(ran.exists)
        context.cancellation.leave()

    thread = threading.Thread(target=leave)
    thread.start()
    with pytest.raises(ActionInterrupted):
        action.look(context)
    thread.join()
    assert running(str(may_end)) == []
    may_end.touch()
    action.run()
    shop.version = f"v{shop.releases}"

    first, *others = ran.read_text().split()
    assert sorted(others) == NAMES
    assert others[0] == first
