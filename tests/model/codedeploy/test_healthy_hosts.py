"""How many hosts go at once, when a deployment stops and whether it succeeded, for each configuration."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.model.codedeploy.group import (
    DeploymentConfig,
    MinimumHealthyHosts,
    ZonalConfig,
)
from prefect_codepipeline.model.codedeploy.healthy_hosts import (
    HealthyHosts,
    HostLimits,
    HostStatus,
    PlannedHost,
    config_of,
    has_stopped,
    has_succeeded,
    hosts_to_begin,
)
from prefect_codepipeline.model.codedeploy.predefined import PredefinedConfig


def count(value: int) -> MinimumHealthyHosts:
    return MinimumHealthyHosts(type="HOST_COUNT", value=value)


def percent(value: int) -> MinimumHealthyHosts:
    return MinimumHealthyHosts(type="FLEET_PERCENT", value=value)


ONE: PredefinedConfig = "CodeDeployDefault.OneAtATime"
HALF: PredefinedConfig = "CodeDeployDefault.HalfAtATime"
ALL: PredefinedConfig = "CodeDeployDefault.AllAtOnce"

# For N = 1 to 9: how many at once, and how many must succeed.
AT_ONCE = {
    ONE: ([1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 2, 3, 4, 5, 6, 7, 8]),
    HALF: ([1, 1, 1, 2, 2, 3, 3, 4, 4], [1, 1, 2, 2, 3, 3, 4, 4, 5]),
    ALL: ([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 1, 1, 1, 1, 1, 1, 1, 1]),
}


@pytest.mark.parametrize("config", AT_ONCE)
@pytest.mark.parametrize("total", range(1, 10))
def test_configurations_by_name(config: PredefinedConfig, total: int) -> None:
    at_once, needed = AT_ONCE[config]
    healthy = HealthyHosts.of(total, config_of(config).minimum_healthy_hosts)

    assert healthy.at_once == at_once[total - 1]
    assert next(number for number in range(total + 1) if healthy.is_kept_by(number)) == needed[total - 1]


@pytest.mark.parametrize(
    ("wanted", "total", "at_once", "needed"),
    [
        pytest.param(count(6), 9, 3, 6, id="AWS's example of a number"),
        pytest.param(percent(40), 9, 5, 4, id="AWS's example of a percentage"),
        pytest.param(percent(85), 10, 1, 9, id="AWS's example of 85 percent"),
        pytest.param(count(0), 9, 9, 1, id="none"),
        pytest.param(count(9), 9, 1, 9, id="all: one at a time, and all must succeed"),
        pytest.param(count(20), 9, 1, 9, id="more than there are"),
        pytest.param(percent(100), 9, 1, 9, id="100 percent"),
        pytest.param(percent(95), 9, 1, 8, id="a percentage leaves out one"),
        pytest.param(percent(1), 9, 8, 1, id="rounded up"),
        pytest.param(percent(99), 200, 2, 198, id="99 percent of many"),
    ],
)
def test_own_configurations(wanted: MinimumHealthyHosts, total: int, at_once: int, needed: int) -> None:
    healthy = HealthyHosts.of(total, wanted)

    assert healthy.at_once == at_once
    assert not healthy.is_kept_by(needed - 1)
    assert healthy.is_kept_by(needed)


def deployed(
    hosts: Sequence[PlannedHost], config: DeploymentConfig, failing: set[str], chance: random.Random
) -> tuple[list[PlannedHost], int]:
    """The hosts after a deployment, and the most that were in progress at once."""
    now, most = list(hosts), 0
    while not has_stopped(now, config):
        begin = set(hosts_to_begin(now, config))
        now = [replace(each, status="InProgress") if each.name in begin else each for each in now]
        running = [number for number, each in enumerate(now) if each.status == "InProgress"]
        most = max(most, len(running))
        ends = chance.choice(running)
        now[ends] = replace(now[ends], status="Failed" if now[ends].name in failing else "Succeeded")
    return now, most


@pytest.mark.parametrize(
    ("config", "total", "failing", "attempted", "succeeds"),
    [
        (ONE, 1, {1}, 1, False),
        (ONE, 1, set(), 1, True),
        (ONE, 2, {1}, 1, False),
        (ONE, 2, {2}, 2, True),
        (ONE, 9, {1}, 1, False),
        (ONE, 9, {8}, 8, False),
        (ONE, 9, {9}, 9, True),
        (HALF, 9, {1, 2, 3, 4}, 4, False),
        (HALF, 9, {6, 7, 8, 9}, 9, True),
        (HALF, 3, {3}, 3, True),
        (ALL, 9, set(range(1, 9)), 9, True),
        (ALL, 9, set(range(1, 10)), 9, False),
        (ALL, 1, {1}, 1, False),
    ],
)
def test_failures(
    config: PredefinedConfig, total: int, failing: set[int], attempted: int, succeeds: bool
) -> None:
    hosts = [PlannedHost(str(number)) for number in range(1, total + 1)]
    # At the worst, all that fail do so first.
    ended, _ = deployed(hosts, config_of(config), set(map(str, failing)), random.Random(1))

    assert sum(each.status != "Pending" for each in ended) >= attempted
    assert has_succeeded(ended, config_of(config)) is succeeds


def brute_force(
    total: int, wanted: MinimumHealthyHosts, fails: Sequence[bool], chance: random.Random
) -> bool:
    """Whether a deployment succeeds: hosts are taken offline one by one while enough of them are online."""
    required = (
        wanted.value
        if wanted.type == "HOST_COUNT"
        else next(hosts for hosts in range(total + 1) if hosts * 100 >= wanted.value * total)
    )
    if required > total or (required == total and wanted.type == "FLEET_PERCENT" and wanted.value < 100):
        required = total if required > total else total - 1
    online, offline, waiting, done = set(range(total)), set[int](), list(range(total)), set[int]()
    while True:
        # One host may always go, unless another one is offline.
        while waiting and (len(online) > required or len(online) == total):
            online.remove(host := waiting.pop(0))
            offline.add(host)
        busy = sorted(offline - {host for host in offline if host in done})
        if not busy:
            break
        done.add(host := chance.choice(busy))
        if not fails[host]:
            offline.remove(host)
            online.add(host)
    good = len(online & done)
    return not waiting and good >= required and good >= 1


@given(
    fails=st.lists(st.booleans(), min_size=1, max_size=9),
    wanted=st.one_of(st.builds(count, st.integers(0, 10)), st.builds(percent, st.integers(0, 100))),
    seed=st.integers(0, 1000),
)
def test_the_formula_is_what_taking_hosts_offline_one_by_one_gives(
    fails: list[bool], wanted: MinimumHealthyHosts, seed: int
) -> None:
    config = DeploymentConfig(minimum_healthy_hosts=wanted)
    hosts = [PlannedHost(str(number)) for number in range(len(fails))]
    failing = {str(number) for number, failed in enumerate(fails) if failed}

    ended, most = deployed(hosts, config, failing, random.Random(seed))

    assert has_succeeded(ended, config) is brute_force(len(fails), wanted, fails, random.Random(seed))
    assert most <= HealthyHosts.of(len(fails), wanted).at_once


def zonal(value: int = 0, zone: MinimumHealthyHosts | None = None) -> DeploymentConfig:
    return DeploymentConfig(
        minimum_healthy_hosts=count(value), zonal_config=ZonalConfig(minimum_healthy_hosts_per_zone=zone)
    )


HOSTS = [PlannedHost(f"{zone}{number}", zone=zone) for zone in ("b", "a", None) for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("config", "statuses", "begin"),
    [
        pytest.param(zonal(), {}, ["a1", "a2", "a3"], id="zones by name"),
        pytest.param(zonal(7), {}, ["a1", "a2"], id="of the whole fleet few at once"),
        pytest.param(zonal(0, count(2)), {}, ["a1"], id="of a zone few at once"),
        pytest.param(
            zonal(), {"a1": "Succeeded", "a2": "InProgress", "a3": "Failed"}, [], id="zone not ended"
        ),
        pytest.param(
            zonal(), {f"a{n}": "Succeeded" for n in (1, 2, 3)}, ["b1", "b2", "b3"], id="the next zone"
        ),
        pytest.param(zonal(0, count(2)), {"a1": "Failed"}, [], id="the zone is lost"),
        pytest.param(
            zonal(),
            {f"{zone}{n}": "Succeeded" for zone in "ab" for n in (1, 2, 3)},
            ["None1", "None2", "None3"],
            id="hosts without a zone come last",
        ),
    ],
)
def test_zones_one_after_the_other(config: DeploymentConfig, statuses: dict, begin: list[str]) -> None:
    hosts = [replace(host, status=statuses.get(host.name, "Pending")) for host in HOSTS]

    assert hosts_to_begin(hosts, config) == begin


@pytest.mark.parametrize(
    ("statuses", "begin", "stopped", "succeeded"),
    [
        ("PPPP", ["0", "1"], False, False),
        ("IPPP", ["1"], False, False),
        ("FIPP", ["2"], False, False),
        ("FFPP", [], True, False),
        ("FIFP", [], False, False),
        ("FSSS", [], True, True),
        ("FTSS", [], True, False),
    ],
)
def test_of_an_ec2_action_so_many_begin_at_once_until_too_many_have_failed(
    statuses: str, begin: list[str], stopped: bool, succeeded: bool
) -> None:
    names: dict[str, HostStatus] = {
        "P": "Pending", "I": "InProgress", "S": "Succeeded", "F": "Failed", "T": "Stopped",
    }  # fmt: skip
    hosts = [PlannedHost(str(number), names[each]) for number, each in enumerate(statuses)]
    limits = HostLimits(at_once=2, failures=1)

    assert hosts_to_begin(hosts, limits) == begin
    assert has_stopped(hosts, limits) == stopped
    assert has_succeeded(hosts, limits) == succeeded
