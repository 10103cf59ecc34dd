"""A round of retention: remove old executions, then what no execution has in the artifact stores any more.

A round may be ended between any two requests; the next one does the rest.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prefect_codepipeline.actions.artifacts.sweeping import Needed, Round, Swept
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.executions.run_lists import CLOCKS_DIFFER, Run
from prefect_codepipeline.engine.retention.keeping import (
    Keeper,
    digests_in,
    keeper,
    own_definitions,
    pipeline_of,
    read_limits,
)
from prefect_codepipeline.engine.retention.pace import Pace, StoppedError
from prefect_codepipeline.engine.retention.removing import every_run, remove
from prefect_codepipeline.engine.retention.stores import (
    changed_since,
    deployed_digests,
    note_use,
    sweep_stores,
)
from prefect_codepipeline.prefect_api.client import moment
from prefect_codepipeline.prefect_api.leases import exclusive_lease, server_time
from prefect_codepipeline.prefect_api.together import together
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    create_variable,
    read_variable,
    update_variable,
)

EVERY = timedelta(days=1)
_LEASE = "retention"
# The variable says when the last round began, and what it left; its id is that of the Prefect server for artifact stores.
_VARIABLE = "codepipeline-retention"
# The records of so many executions are read at once.
_AT_ONCE = 20
_logger = logging.getLogger("codepipeline.retention")


@dataclass
class Pruned:
    """What a round did, or would do."""

    executions: int = 0
    kept: int = 0
    by_pipeline: dict[str, int] = field(default_factory=dict)
    artifacts: Swept = field(default_factory=Swept)
    refused: list[str] = field(default_factory=list)


@dataclass
class _Found:
    """What the executions that are kept need."""

    digests: set[str] = field(default_factory=set)
    executions: set[str] = field(default_factory=set)


def prune(
    *,
    older_than: timedelta | None = None,
    dry_run: bool = False,
    now: datetime | None = None,
    pace: Pace | None = None,
) -> Pruned | None:
    """Do a round; None if another process does one.

    Args:
        older_than: which executions to remove, by the time since their end, instead of what the blocks Retention say.
        dry_run: change nothing.
        now: the server's time, which is requested when it is not given.
        pace: how fast.

    Raises:
        MissingBlock: a block Retention cannot be used.
        StoppedError: the pace was stopped.
    """
    pace = pace or Pace()
    now = now or server_time()
    with exclusive_lease(_LEASE) as is_mine:
        if not is_mine:
            return None
        server = _server(dry_run=dry_run)
        decides = keeper(read_limits(older_than), now)
        done, found = Pruned(), _Found()
        for page in every_run((now + CLOCKS_DIFFER).isoformat(), pace):
            _look_at(page, decides, done, found, pace, dry_run=dry_run)
        # A run that was started again meanwhile has another place in the list.
        _read(changed_since(now.isoformat()), found, pace)
        found.digests |= deployed_digests()
        needed = Needed(frozenset(found.digests), frozenset(found.executions))
        this = Round(now.timestamp(), dry_run, pace.wait)
        done.artifacts, done.refused = sweep_stores(server, needed, this)
        return done


def prune_when_due(stop: threading.Event | None = None) -> list[str]:
    """Do a round if the last one began a day ago; what was done, as sentences. `stop` ends it between two requests."""
    state, now = _state(), server_time()
    if moment(state["value"]["began"]) > now - EVERY:
        return []
    try:
        done = prune(now=now, pace=Pace(stop))
    except StoppedError:
        return []
    if done is None:
        return []
    # After the round: one that is killed is done again by the next process.
    update_variable(state["id"], {"began": now.isoformat(), "bytes": done.artifacts.left})
    return sentences(done)


def stored_bytes() -> int:
    """What the artifact stores had after the last round of a day; 0 before the first one."""
    found = read_variable(_VARIABLE)
    return int(found["value"].get("bytes", 0)) if found else 0


def sentences(done: Pruned) -> list[str]:
    """What a round did, one sentence for each kind of thing; none for what it did not do."""
    said = [
        f"retention removed {count} executions of pipeline {name!r}"
        for name, count in sorted(done.by_pipeline.items())
    ]
    if done.artifacts.removed:
        size = f"{done.artifacts.bytes / 1024**2:.1f} MiB"
        said.append(f"retention removed {done.artifacts.removed} artifacts, reports and uploads ({size})")
    return [*said, *done.refused]


def note_stores() -> None:
    """Note in the stores that this server uses them. What it needs is then safe from the retention of other servers."""
    note_use(str(_state()["id"]))


def _server(*, dry_run: bool) -> str:
    """The id of this Prefect server for artifact stores; empty before its first round, which a dry run is not."""
    state = read_variable(_VARIABLE) if dry_run else _state()
    return str(state["id"]) if state else ""


def _state() -> Variable:
    """The variable of this server's retention, which is created once."""
    long_ago = datetime.fromisoformat("2000-01-01T00:00:00+00:00").isoformat()
    found = read_variable(_VARIABLE) or create_variable(_VARIABLE, {"began": long_ago}, ["codepipeline"])
    return found or _state()  # another process has just created it


def _look_at(
    page: list[Run], decides: Keeper, done: Pruned, found: _Found, pace: Pace, *, dry_run: bool
) -> None:
    """Decide about a page of executions, and remove those that are not kept."""
    going, definitions = [], {}
    for run, stored in _records(page, pace):
        if decides.keeps(run, stored):
            found.digests |= digests_in(stored)
            found.executions.add(run["id"])
            done.kept += 1
        else:
            going.append(run)
            definitions[run["id"]] = own_definitions(run, stored)
    removed = len(going) if dry_run else remove(going, definitions, pace)
    done.executions += removed
    for run in going:
        name = pipeline_of(run)
        done.by_pipeline[name] = done.by_pipeline.get(name, 0) + 1
    if removed < len(going):  # started again meanwhile
        _read(going, found, pace)


def _read(runs: list[Run], found: _Found, pace: Pace) -> None:
    """Note what these executions need."""
    for run, stored in _records(runs, pace):
        found.digests |= digests_in(stored)
        found.executions.add(run["id"])


def _records(runs: list[Run], pace: Pace) -> Iterable[tuple[Run, list[dict[str, Any]]]]:
    for start in range(0, len(runs), _AT_ONCE):
        some = runs[start : start + _AT_ONCE]
        pace.wait(len(some))
        yield from zip(some, together([RecordOf(str(run["id"])).stored for run in some]), strict=True)
