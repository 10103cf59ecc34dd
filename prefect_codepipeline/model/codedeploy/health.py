"""The health of hosts and the revision of their group, by the table in CodeDeploy's guide; and the order of hosts.

https://docs.aws.amazon.com/codedeploy/latest/userguide/instances-health.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from prefect_codepipeline.model.codedeploy.healthy_hosts import HostStatus
from prefect_codepipeline.model.records import Record

RevisionHealth = Literal["Current", "Old", "Unknown"]


class HostHealth(Record):
    """The health of one host. A host that was never deployed to is not healthy, and its revision is unknown."""

    healthy: bool = False
    revision: str | None = None

    def of_revision(self, current: str | None) -> RevisionHealth:
        """How the host's revision compares with the group's."""
        if self.revision is None:
            return "Unknown"
        return "Current" if self.revision == current else "Old"


NEVER_DEPLOYED = HostHealth()
_RANKS: dict[RevisionHealth, int] = {"Unknown": 1, "Old": 2, "Current": 3}


def in_deployment_order(
    names: Iterable[str], health: Mapping[str, HostHealth], current: str | None
) -> list[str]:
    """The hosts in the order in which CodeDeploy deploys to them: unhealthy, unknown, old, current."""

    def rank(name: str) -> int:
        known = health.get(name, NEVER_DEPLOYED)
        return _RANKS[known.of_revision(current)] if known.healthy else 0

    return sorted(names, key=rank)


def health_after(
    health: Mapping[str, HostHealth],
    current: str | None,
    ended: Mapping[str, HostStatus],
    revision: str,
    *,
    succeeded: bool,
) -> dict[str, HostHealth]:
    """The health of a group's hosts after a deployment of a revision.

    Args:
        health: of the hosts before it.
        current: the group's revision before it.
        ended: how each of its hosts ended.
        revision: what was deployed.
        succeeded: whether the deployment has succeeded as a whole; then the group's revision is this one.
    """
    after = dict(health)
    for name, status in ended.items():
        before = health.get(name, NEVER_DEPLOYED)
        if status == "Succeeded":
            after[name] = HostHealth(healthy=True, revision=revision)
        elif status in ("Failed", "Stopped"):
            # If the deployment succeeded as a whole, the revision of a current host becomes unknown.
            lost = succeeded and before.revision == current
            after[name] = HostHealth(healthy=False, revision=None if lost else before.revision)
    return after
