"""Each row of the table of CodeDeploy's guide about the health of instances, and the order of hosts; ids."""

from __future__ import annotations

import re

import pytest

from prefect_codepipeline.model.codedeploy.health import HostHealth, health_after, in_deployment_order
from prefect_codepipeline.model.codedeploy.healthy_hosts import HostStatus
from prefect_codepipeline.model.codedeploy.names import deployment_id, group_id, rollback_id

OLD, CURRENT, NEW = "old", "current", "new"


def host(healthy: bool, revision: str | None) -> HostHealth:
    return HostHealth(healthy=healthy, revision=revision)


@pytest.mark.parametrize(
    ("before", "status", "succeeded", "after"),
    [
        pytest.param(host(True, CURRENT), "Succeeded", True, host(True, NEW), id="current, deployed"),
        pytest.param(host(True, OLD), "Succeeded", True, host(True, NEW), id="old, deployed"),
        pytest.param(None, "Succeeded", True, host(True, NEW), id="unknown, deployed"),
        pytest.param(host(False, None), "Succeeded", True, host(True, NEW), id="unhealthy, deployed"),
        pytest.param(host(True, CURRENT), "Failed", True, host(False, None), id="current becomes unknown"),
        pytest.param(host(True, OLD), "Failed", True, host(False, OLD), id="old remains old"),
        pytest.param(None, "Failed", True, host(False, None), id="unknown remains unknown"),
        pytest.param(host(True, CURRENT), "Failed", False, host(False, CURRENT), id="failed in a failed one"),
        pytest.param(host(True, CURRENT), "Stopped", False, host(False, CURRENT), id="stopped"),
        pytest.param(host(True, CURRENT), "Succeeded", False, host(True, NEW), id="deployed in a failed one"),
        pytest.param(host(True, CURRENT), "Skipped", False, host(True, CURRENT), id="not attempted"),
        pytest.param(host(False, CURRENT), "Pending", False, host(False, CURRENT), id="not reached"),
    ],
)
def test_health_after_a_deployment(
    before: HostHealth | None, status: HostStatus, succeeded: bool, after: HostHealth
) -> None:
    health = {"h": before} if before else {}

    assert health_after(health, CURRENT, {"h": status}, NEW, succeeded=succeeded)["h"] == after


def test_hosts_that_are_no_longer_in_the_group_keep_their_health() -> None:
    assert health_after({"gone": host(True, OLD)}, CURRENT, {}, NEW, succeeded=True) == {
        "gone": host(True, OLD)
    }


def test_hosts_go_in_the_order_of_codedeploy() -> None:
    health = {
        "current": host(True, CURRENT),
        "old": host(True, OLD),
        "unknown": host(True, None),
        "unhealthy": host(False, CURRENT),
    }

    order = in_deployment_order(["current", "old", "unknown", "unhealthy", "new"], health, CURRENT)

    assert order == ["unhealthy", "new", "unknown", "old", "current"]


def test_ids_are_always_the_same_and_differ() -> None:
    made = deployment_id("one")

    assert re.fullmatch(r"d-[A-Z0-9]{9}", made)
    assert made == deployment_id("one")
    assert len({made, deployment_id("two"), rollback_id(made)}) == 3
    assert group_id("shop", "web") == group_id("shop", "web")
    assert group_id("shop", "web") != group_id("sho", "pweb")
