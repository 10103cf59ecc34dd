"""How many hosts are deployed to at once, when a deployment stops, and whether it has succeeded: one formula.

https://docs.aws.amazon.com/codedeploy/latest/userguide/instances-health.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from prefect_codepipeline.model.codedeploy.group import DeploymentConfig, MinimumHealthyHosts
from prefect_codepipeline.model.codedeploy.predefined import PredefinedConfig
from prefect_codepipeline.model.records import Record

HostStatus = Literal["Pending", "InProgress", "Succeeded", "Failed", "Stopped", "Skipped"]

_PERCENT: dict[PredefinedConfig, int] = {
    "CodeDeployDefault.OneAtATime": 99,
    "CodeDeployDefault.HalfAtATime": 50,
    "CodeDeployDefault.AllAtOnce": 0,
}


@dataclass(frozen=True)
class HealthyHosts:
    """The health that a deployment to `total` hosts keeps: `minimum` of them stay healthy."""

    total: int
    minimum: int

    @classmethod
    def of(cls, total: int, wanted: MinimumHealthyHosts) -> HealthyHosts:
        """That of so many hosts; a percentage is rounded up to whole hosts.

        A percentage below 100 leaves out one host at least: CodeDeploy's OneAtATime, which is 99 percent, tolerates the
        failure of the last host of nine.
        """
        if wanted.type == "HOST_COUNT":
            return cls(total, min(wanted.value, total))
        count = -(-total * wanted.value // 100)
        return cls(total, min(count, total if wanted.value >= 100 else max(0, total - 1)))

    @property
    def at_once(self) -> int:
        """How many hosts are deployed to at once."""
        return max(1, self.total - self.minimum)

    def free(self, in_progress: int, failed: int) -> int:
        """How many further hosts may begin. A host that failed stays offline."""
        return max(0, self.at_once - in_progress - failed)

    def is_kept_by(self, succeeded: int) -> bool:
        """Whether a deployment has succeeded that succeeded on so many hosts."""
        return succeeded >= max(1, self.minimum)


class HostLimits(Record):
    """The limits of an EC2 action, in place of the formula: so many hosts at once, and so many may fail."""

    zonal_config: ClassVar[None] = None

    at_once: int
    failures: int

    def free(self, in_progress: int, failed: int) -> int:
        """How many further hosts may begin."""
        return 0 if failed > self.failures else max(0, self.at_once - in_progress)


@dataclass(frozen=True)
class PlannedHost:
    """One host of a deployment, as far as it matters when hosts begin."""

    name: str
    status: HostStatus = "Pending"
    zone: str | None = None


def config_of(config: PredefinedConfig | DeploymentConfig) -> DeploymentConfig:
    """A configuration by its name, or as it is."""
    if isinstance(config, DeploymentConfig):
        return config
    wanted = MinimumHealthyHosts(type="FLEET_PERCENT", value=_PERCENT[config])
    return DeploymentConfig(minimum_healthy_hosts=wanted)


def hosts_to_begin(hosts: Sequence[PlannedHost], config: DeploymentConfig | HostLimits) -> list[str]:
    """The names of the hosts that may begin now, in the order of `hosts`; of a zonal configuration those of one zone."""
    wanted, count = hosts, _free(hosts, config)
    if config.zonal_config:
        zone = current_zone(hosts)
        wanted = [host for host in hosts if host.zone == zone]
        in_zone = config.zonal_config.minimum_healthy_hosts_per_zone or _NONE
        count = min(count, _free(wanted, DeploymentConfig(minimum_healthy_hosts=in_zone)))
    return [host.name for host in wanted if host.status == "Pending"][:count]


def current_zone(hosts: Iterable[PlannedHost]) -> str | None:
    """The first zone by name with a host that has not ended; hosts without a zone come last."""
    zones = {host.zone for host in hosts if host.status in ("Pending", "InProgress")}
    return min(zones, key=_in_order, default=None)


def has_stopped(hosts: Sequence[PlannedHost], config: DeploymentConfig | HostLimits) -> bool:
    """Whether no host is in progress and none may begin: all have ended, or the minimum can no longer be kept."""
    return not any(host.status == "InProgress" for host in hosts) and not hosts_to_begin(hosts, config)


def has_succeeded(hosts: Sequence[PlannedHost], config: DeploymentConfig | HostLimits) -> bool:
    """Whether a deployment that has stopped has succeeded."""
    if isinstance(config, HostLimits):
        return _failed(hosts) <= config.failures and _count(hosts, "Pending") == 0
    healthy = HealthyHosts.of(len(hosts), config.minimum_healthy_hosts)
    return healthy.is_kept_by(_count(hosts, "Succeeded")) and _count(hosts, "Pending") == 0


_NONE = MinimumHealthyHosts(type="HOST_COUNT", value=0)


def _free(hosts: Sequence[PlannedHost], config: DeploymentConfig | HostLimits) -> int:
    limits = (
        HealthyHosts.of(len(hosts), config.minimum_healthy_hosts)
        if isinstance(config, DeploymentConfig)
        else config
    )
    return limits.free(_count(hosts, "InProgress"), _failed(hosts))


def _failed(hosts: Sequence[PlannedHost]) -> int:
    return _count(hosts, "Failed") + _count(hosts, "Stopped")


def _count(hosts: Iterable[PlannedHost], status: HostStatus) -> int:
    return sum(host.status == status for host in hosts)


def _in_order(zone: str | None) -> tuple[bool, str]:
    return zone is None, zone or ""
