"""The state of a deployment during one look: hosts report to it, and it writes the record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from prefect_codepipeline.actions.deploying.records.deployments import Recorded, write_deployment
from prefect_codepipeline.model.codedeploy.healthy_hosts import HostStatus
from prefect_codepipeline.model.stored.deployment import ENDED, DeployedHost, HostEvent, StoredDeployment

# While much happens, the record is written once in this time; the hosts' journals have all of it anyway.
_SAVE_SECONDS = 1.0


def utc_now() -> datetime:
    """The time on this machine."""
    return datetime.now(timezone.utc)


class Desk:
    """The hosts of a deployment as they are now. One thread uses it.

    Args:
        recorded: the record at the beginning of the look.
        report: is called after each change with the deployment.
    """

    def __init__(self, recorded: Recorded, report: Callable[[StoredDeployment], None]) -> None:
        self._document_id = recorded.document_id
        self._base = recorded.deployment
        self._hosts = {host.name: host for host in recorded.deployment.hosts}
        self._report = report
        self._saving = asyncio.Lock()
        self._is_saved = True
        self._saved_at = 0.0
        self._calls = 0
        self.last_news = time.monotonic()

    @property
    def deployment(self) -> StoredDeployment:
        return self._base.model_copy(update={"hosts": list(self._hosts.values())})

    @property
    def recorded(self) -> Recorded:
        return Recorded(self._document_id, self.deployment)

    @property
    def is_calling(self) -> bool:
        """Whether a call is under way that must not be left: not one that only reads a journal."""
        return self._calls > 0

    def host(self, name: str) -> DeployedHost:
        return self._hosts[name]

    def with_status(self, *statuses: HostStatus) -> list[str]:
        """The names of the hosts with one of these statuses."""
        return [name for name, host in self._hosts.items() if host.status in statuses]

    @contextmanager
    def calling(self) -> Iterator[None]:
        """The look does not end within this block, unless it must."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def change(self, **news: Any) -> None:
        """Change fields of the deployment."""
        self._base = self._base.model_copy(update=news)
        self._changed()

    def begin(self, names: Sequence[str]) -> None:
        """These hosts begin now."""
        for name in names:
            self._update(name, status="InProgress", started=utc_now())
        if self._base.status == "Created":
            self.change(status="InProgress")

    async def touch(self, name: str) -> None:
        """Record that the host is going to be changed, before it is. Several hosts share a write."""
        if not self.host(name).was_touched:
            self._update(name, was_touched=True)
            await self.save()

    def end(self, name: str, status: HostStatus, code: str | None = None, error: str | None = None) -> None:
        """A host has ended; the first end counts."""
        if self.host(name).status not in ENDED:
            self._update(name, status=status, code=code, error=error, ended=utc_now())

    def enter(self, name: str, event: HostEvent) -> None:
        """An entry of the host's journal; it may be one that is known."""
        host = self.host(name)
        before = host.event(event.event)
        if before and before.started:
            event = event.model_copy(update={"started": before.started})
        if before and (before == event or (event.status == "InProgress" and before.status != "InProgress")):
            return
        self._hosts[name] = host.with_event(event)
        self._changed()

    def reached(self, name: str) -> None:
        """The host answers."""
        if self.host(name).unreachable_since:
            self._update(name, unreachable_since=None)

    def unreachable(self, name: str) -> datetime:
        """The host does not answer; since when."""
        since = self.host(name).unreachable_since
        if since is None:
            since = utc_now()
            self._update(name, unreachable_since=since)
        return since

    async def save(self, *, soon: bool = False) -> None:
        """Write the record, if it changed; `soon` only if the last time is some time ago.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        async with self._saving:
            if self._is_saved or (soon and time.monotonic() - self._saved_at < _SAVE_SECONDS):
                return
            self._is_saved = True
            now = replace(self.recorded)
            try:
                await asyncio.to_thread(write_deployment, now)
            except BaseException:
                self._is_saved = False
                raise
            self._saved_at = time.monotonic()

    def _update(self, name: str, **news: Any) -> None:
        self._hosts[name] = self._hosts[name].model_copy(update=news)
        self._changed()

    def _changed(self) -> None:
        self._base = self._base.model_copy(update={"changed": utc_now()})
        self._is_saved = False
        self.last_news = time.monotonic()
        self._report(self.deployment)
