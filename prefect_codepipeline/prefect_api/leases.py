"""The lease of a process on its execution: a Prefect variable that is renewed while the process lives.

When worker and flow process are killed together, Prefect displays the run as Running for ever. A lease that was not
renewed for a minute, by the server's clock, shows that no process works on the execution.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.prefect_api.client import call, call_all, client, moment

# The interval of renewal; a lease is stale after six intervals without one.
RENEW_SECONDS = float(os.environ.get("PREFECT_CODEPIPELINE_LEASE_SECONDS") or 10.0)
STALE_SECONDS = 6 * RENEW_SECONDS
_logger = logging.getLogger(__name__)


@contextmanager
def holding_lease(execution_id: str, process: int) -> Iterator[None]:
    """Hold the lease of an execution while the block runs."""
    held = [_take(execution_id, process)]
    stop = threading.Event()
    renewer = threading.Thread(
        target=_renew, args=(execution_id, held, process, stop), name="codepipeline-lease", daemon=True
    )
    renewer.start()
    try:
        yield
    finally:
        stop.set()
        renewer.join()
        call("DELETE", f"/variables/{held[0]}", expected=(404,))


def is_stale(execution_id: str, now: datetime) -> bool:
    """Whether no process works on the execution: no lease, or one not renewed for `STALE_SECONDS` before `now`."""
    lease = _read(execution_id)
    return lease is None or not _is_fresh(lease, now)


@dataclass(frozen=True)
class Leases:
    """All leases at one moment: the ids of executions that a process works on, and the leases of dead processes."""

    fresh: frozenset[str]
    stale: tuple[dict[str, Any], ...]


def read_variables() -> list[dict[str, Any]]:
    """All leases and gates, which are Prefect variables, with one request for each 200."""
    return call_all(
        "/variables/filter", {"variables": {"name": {"like_": "codepipeline-%"}}, "sort": "NAME_ASC"}
    )


def leases_among(variables: list[dict[str, Any]], now: datetime) -> Leases:
    """The leases among Prefect variables."""
    found = [each for each in variables if each["name"].startswith(_name(""))]
    fresh = frozenset(_execution_of(lease) for lease in found if _is_fresh(lease, now))
    return Leases(fresh, tuple(lease for lease in found if not _is_fresh(lease, now)))


def drop_stale_leases(leases: Leases, alive: Collection[str]) -> None:
    """Delete the leases of dead processes, except those of the executions `alive`, which are going to be resumed."""
    for lease in leases.stale:
        if _execution_of(lease) not in alive:
            call("DELETE", f"/variables/{lease['id']}", expected=(404,))


def _execution_of(lease: dict[str, Any]) -> str:
    return str(lease["name"]).removeprefix(_name(""))


def _is_fresh(lease: dict[str, Any], now: datetime) -> bool:
    return (now - moment(lease["updated"])).total_seconds() <= STALE_SECONDS


def server_time() -> datetime:
    """The time of Prefect's server, which sets the timestamps of the leases."""
    response = client()._client.get("/health")
    date = response.headers.get("date")
    return parsedate_to_datetime(date) if date else datetime.now(timezone.utc)


def _name(execution_id: str) -> str:
    return f"codepipeline-lease-{execution_id}"


def _take(execution_id: str, process: int) -> str:
    body = {"name": _name(execution_id), "value": process, "tags": ["codepipeline"]}
    status, lease = call("POST", "/variables/", body, expected=(409,))
    if status == 409:  # an earlier process did not release it
        old = _read(execution_id)
        if old is None:
            return _take(execution_id, process)
        call("PATCH", f"/variables/{old['id']}", {"value": process}, expected=(404,))
        lease = old
    return str(lease["id"])


def _read(execution_id: str) -> dict[str, Any] | None:
    status, body = call("GET", f"/variables/name/{_name(execution_id)}", expected=(404,))
    return body if status == 200 else None


def _renew(execution_id: str, held: list[str], process: int, stop: threading.Event) -> None:
    while not stop.wait(RENEW_SECONDS):
        try:
            status, _ = call("PATCH", f"/variables/{held[0]}", {"value": process}, expected=(404,))
            if status == 404:  # another process considered it stale and deleted it
                held[0] = _take(execution_id, process)
        except PrefectUnavailable as error:
            _logger.warning("the lease could not be renewed; it will be tried again: %s", error)
