"""The lease of a process on its execution: a Prefect variable that is renewed while the process lives.

When worker and flow process are killed together, Prefect displays the run as Running for ever. A lease that was not
renewed for a minute, by the server's clock, shows that no process works on the execution.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.numbers_set import number_set
from prefect_codepipeline.prefect_api.client import moment, request
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    create_variable,
    delete_variable,
    read_variable,
    update_variable,
    variables_with_prefix,
)

# The interval of renewal; a lease is stale after six intervals without one.
RENEW_SECONDS = number_set("PREFECT_CODEPIPELINE_LEASE_SECONDS", 10.0)
STALE_SECONDS = 6 * RENEW_SECONDS
_logger = logging.getLogger(__name__)


@contextmanager
def holding_lease(execution_id: str, process: int) -> Iterator[None]:
    """Hold the lease of an execution while the block runs."""
    with _renewing(execution_id, _take(execution_id, process), process):
        yield


@contextmanager
def exclusive_lease(name: str) -> Iterator[bool]:
    """Hold a lease on something that is no execution while the block runs; False if another process holds it.

    The lease of a process that has died is deleted by reconcile, as those of executions are.
    """
    lease = create_variable(_name(name), 1, ["codepipeline"])
    if lease is None:
        yield False
        return
    with _renewing(name, lease, 1):
        yield True


@contextmanager
def _renewing(execution_id: str, lease: Variable, process: int) -> Iterator[None]:
    held = [lease]
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
        delete_variable(held[0])


def is_stale(execution_id: str, now: datetime) -> bool:
    """Whether no process works on the execution: no lease, or one not renewed for `STALE_SECONDS` before `now`."""
    lease = read_variable(_name(execution_id))
    return lease is None or not _is_fresh(lease, now)


@dataclass(frozen=True)
class Leases:
    """All leases at one moment: the ids of executions that a process works on, and the leases of dead processes."""

    fresh: frozenset[str]
    stale: tuple[Variable, ...]


def read_variables() -> list[Variable]:
    """All leases and gates, which are Prefect variables, with one request for each 200."""
    return variables_with_prefix("codepipeline-")


def leases_among(variables: list[Variable], now: datetime) -> Leases:
    """The leases among Prefect variables."""
    found = [each for each in variables if each["name"].startswith(_name(""))]
    fresh = frozenset(_execution_of(lease) for lease in found if _is_fresh(lease, now))
    return Leases(fresh, tuple(lease for lease in found if not _is_fresh(lease, now)))


def drop_stale_leases(leases: Leases, alive: Collection[str]) -> None:
    """Delete the leases of dead processes, except those of the executions `alive`, which are going to be resumed."""
    for lease in leases.stale:
        if _execution_of(lease) not in alive:
            delete_variable(lease)


def _execution_of(lease: Variable) -> str:
    return str(lease["name"]).removeprefix(_name(""))


def _is_fresh(lease: Variable, now: datetime) -> bool:
    return (now - moment(lease["updated"])).total_seconds() <= STALE_SECONDS


def server_time() -> datetime:
    """The time of Prefect's server, which sets the timestamps of the leases."""
    response = request("GET", "/health")
    date = response.headers.get("date")
    return parsedate_to_datetime(date) if date else datetime.now(timezone.utc)


def _name(execution_id: str) -> str:
    return f"codepipeline-lease-{execution_id}"


def _take(execution_id: str, process: int) -> Variable:
    name = _name(execution_id)
    lease = create_variable(name, process, ["codepipeline"])
    if lease is None:  # an earlier process did not release it
        lease = read_variable(name)
        if lease is None:
            return _take(execution_id, process)
        update_variable(lease["id"], process)
    return lease


def _renew(execution_id: str, held: list[Variable], process: int, stop: threading.Event) -> None:
    while not stop.wait(RENEW_SECONDS):
        try:
            if not update_variable(held[0]["id"], process):  # another process considered it stale, deleted it
                held[0] = _take(execution_id, process)
        except PrefectUnavailable as error:
            _logger.warning("the lease could not be renewed; it will be tried again: %s", error)
