"""One look at a deployment: all hosts that are open are followed in one thread, and further ones begin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from prefect_codepipeline.actions.deploying.records.deployments import Recorded, stop_request
from prefect_codepipeline.actions.deploying.rollout.desk import Desk, utc_now
from prefect_codepipeline.actions.deploying.rollout.one_host import Rollout, deploy_to_host, stop_host
from prefect_codepipeline.actions.deploying.traffic.alarms import LOOK_EVERY_SECONDS, alarm_of, has_alarms
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.model.codedeploy.group import ZonalConfig
from prefect_codepipeline.model.codedeploy.healthy_hosts import (
    PlannedHost,
    current_zone,
    has_stopped,
    has_succeeded,
    hosts_to_begin,
)
from prefect_codepipeline.model.stored.deployment import ENDED, StoredDeployment

# A look in which nothing happens for that time ends; the action then waits without a process.
QUIET_SECONDS = 5.0
# So often it is seen that the action must end.
_CHECK_SECONDS = 0.25
_STOP_CHECK_SECONDS = 3.0


def look_once(
    recorded: Recorded,
    rollout: Rollout,
    context: ActionContext,
    check: Callable[[], None],
    report: Callable[[StoredDeployment], None],
) -> tuple[Recorded, bool]:
    """Move a deployment on: until it has stopped, or nothing happens for a while. The record, and whether it has stopped.

    Args:
        recorded: the deployment.
        rollout: what it needs.
        context: of the action, for alarms.
        check: raises if the action must end.
        report: is called with the deployment after each change.

    Raises:
        PrefectUnavailable: the record cannot be written.
    """

    async def run() -> tuple[Recorded, bool]:
        desk = Desk(recorded, report)
        try:
            has_ended = await _Look(desk, rollout, context, check).run()
        finally:
            await desk.save()
        return desk.recorded, has_ended

    return asyncio.run(run())


def stop_hosts(recorded: Recorded, rollout: Rollout, report: Callable[[StoredDeployment], None]) -> Recorded:
    """End the scripts on all open hosts of a deployment."""

    async def run() -> Recorded:
        desk = Desk(recorded, report)
        await asyncio.gather(*(stop_host(desk, rollout, name) for name in desk.with_status("InProgress")))
        await desk.save()
        return desk.recorded

    return asyncio.run(run())


class _Look:
    """The tasks of one look: one for each open host, one for the alarms, one for requests to stop."""

    def __init__(
        self, desk: Desk, rollout: Rollout, context: ActionContext, check: Callable[[], None]
    ) -> None:
        self._desk, self._rollout, self._context, self._check = desk, rollout, context, check
        self._config = desk.deployment.config
        self._hosts: dict[str, asyncio.Task[None]] = {}
        # Until the first look at the alarms has ended, no host begins and nothing ends: each look has one.
        self._alarms_seen = not self._watches_alarms

    @property
    def _watches_alarms(self) -> bool:
        """Whether an alarm stops this deployment. A rollback is what an alarm causes: none stops that."""
        return has_alarms(self._rollout.group.alarms) and not self._desk.deployment.rollback_of

    async def run(self) -> bool:
        """Whether the deployment has stopped: its hosts have ended, or it was stopped."""
        if self._desk.deployment.stopped_by:
            return True
        watchers = [asyncio.create_task(each) for each in (self._watch_alarms(), self._watch_requests())]
        try:
            return await self._run(watchers)
        finally:
            await _cancelled([*self._hosts.values(), *watchers])

    async def _run(self, watchers: list[asyncio.Task[None]]) -> bool:
        desk = self._desk
        while True:
            self._check()
            _raise_failures([*self._hosts.values(), *watchers])
            if desk.deployment.stopped_by:
                return True
            await self._begin()
            if not self._hosts and self._alarms_seen and self._has_ended():
                return True
            if time.monotonic() - desk.last_news > QUIET_SECONDS and self._may_leave():
                return False
            await desk.save(soon=True)
            await self._until_something()

    async def _begin(self) -> None:
        """Start the tasks of hosts that may begin, and of those that an earlier look has begun."""
        desk = self._desk
        may_begin = self._alarms_seen and not self._is_pausing()
        if may_begin and (names := hosts_to_begin(desk.deployment.planned, self._config)):
            desk.begin(names)
            await desk.save()  # a host that may have been touched is recorded before it is
        for name in desk.with_status("InProgress"):
            if name not in self._hosts:
                self._hosts[name] = asyncio.create_task(deploy_to_host(desk, self._rollout, name))

    def _may_leave(self) -> bool:
        return self._alarms_seen and not self._desk.is_calling

    def _has_ended(self) -> bool:
        """Whether nothing more happens, also after a time in which only alarms are watched."""
        deployment = self._desk.deployment
        if self._is_pausing() or not has_stopped(deployment.planned, self._config):
            return False
        if not has_succeeded(deployment.planned, self._config):
            return True
        if not self._watches_alarms or utc_now() >= watched_until(deployment):
            return True
        if deployment.status != "Baking":
            self._desk.change(status="Baking")
        return False

    def _is_pausing(self) -> bool:
        """Whether a zone has ended and the next one must not begin yet."""
        zonal = self._config.zonal_config
        if zonal is None:
            return False
        deployment = self._desk.deployment
        ended = _ended_zones(deployment.planned)
        if news := {zone: utc_now() for zone in ended if zone not in deployment.zones}:
            self._desk.change(zones={**deployment.zones, **news})
        return utc_now() < _next_zone_at(self._desk.deployment, zonal)

    async def _until_something(self) -> None:
        tasks = list(self._hosts.values())
        if not tasks:
            await asyncio.sleep(_CHECK_SECONDS)
            return
        await asyncio.wait(tasks, timeout=_CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for name in [name for name, task in self._hosts.items() if task.done()]:
            self._hosts.pop(name).result()

    async def _watch_alarms(self) -> None:
        while self._watches_alarms:
            alarms = self._rollout.group.alarms
            if sentence := await alarm_of(alarms, self._context, self._rollout.masked):
                self._desk.change(stopped_by="alarm", error=f"an alarm is on: {sentence}")
            self._alarms_seen = True
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _watch_requests(self) -> None:
        while True:
            if wanted := await asyncio.to_thread(stop_request, self._desk.deployment.deployment_id):
                why = f": {wanted['reason']}" if wanted["reason"] else ""
                self._desk.change(stopped_by="request", error=f"{wanted['by']} stopped it{why}")
            await asyncio.sleep(_STOP_CHECK_SECONDS)


def watched_until(deployment: StoredDeployment) -> datetime:
    """Until when the alarms are watched after the last host has ended."""
    ends = [host.ended for host in deployment.hosts if host.ended]
    seconds = deployment.settings.alarms.watch_after_in_seconds
    return max(ends, default=utc_now()) + timedelta(seconds=seconds)


def _ended_zones(hosts: Iterable[PlannedHost]) -> list[str]:
    """The zones in which all hosts have ended."""
    hosts = list(hosts)
    zones = {host.zone or "" for host in hosts}
    return sorted(
        zone for zone in zones if all(host.status in ENDED for host in hosts if (host.zone or "") == zone)
    )


def _next_zone_at(deployment: StoredDeployment, zonal: ZonalConfig) -> datetime:
    """When the next zone may begin; a moment in the past if a zone is in progress, or all have ended."""
    past = deployment.created
    zone = current_zone(deployment.planned)
    has_begun = any(
        host.status != "Pending" for host in deployment.hosts if (host.host.zone or "") == (zone or "")
    )
    if not deployment.zones or has_begun:
        return past
    last = max(deployment.zones.values())
    seconds = zonal.monitor_duration_in_seconds
    if len(deployment.zones) == 1 and zonal.first_zone_monitor_duration_in_seconds is not None:
        seconds = zonal.first_zone_monitor_duration_in_seconds
    return last + timedelta(seconds=seconds)


def _raise_failures(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def has_failed(deployment: StoredDeployment) -> bool:
    """Whether a deployment that has stopped has not succeeded."""
    return bool(deployment.stopped_by) or not has_succeeded(deployment.planned, deployment.config)
