"""The executions of actions and rules of a pipeline, the newest first, without reading all of its history.

A retry adds rows to an execution that began long ago. So rows are in order only when no execution that was not read yet may have
a later one: its rows are not later than its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from operator import itemgetter

from prefect_codepipeline.engine.executions.lookup import CLOCKS_OF_SERVER
from prefect_codepipeline.engine.executions.run_lists import CLOCKS_DIFFER, Run
from prefect_codepipeline.gateway.aws.mirror.executions import WatchedExecution
from prefect_codepipeline.gateway.aws.mirror.history import IN_FLIGHT, History, in_utc
from prefect_codepipeline.gateway.aws.protocol.pages import Place
from prefect_codepipeline.model.wire.action_execution import Row
from prefect_codepipeline.prefect_api.client import moment

_FEWEST_AT_ONCE, _MOST_AT_ONCE = 8, 50
# How many rows an execution has, as long as none was read.
_ROWS_EACH = 5
Watch = Callable[[list[Run]], Sequence[WatchedExecution]]


def place_of_row(row: Row) -> Place:
    """The place of a row in the order."""
    return (in_utc(row.started_at), row.id)


def newest_rows(
    watch: Watch,
    history: History,
    rows_of: Callable[[WatchedExecution], list[Row]],
    after: Place | None = None,
    wanted: int = _MOST_AT_ONCE,
) -> Iterator[Row]:
    """The rows of a pipeline's executions, the newest first.

    Args:
        watch: reads executions.
        history: of the pipeline.
        rows_of: the rows of an execution.
        after: only the rows after that place.
        wanted: how many will be used, if there are so many; more can be.
    """
    ends = _Ends(history.latest_end_first())
    pending: list[tuple[Place, Row]] = []  # ascending
    given = read = 0
    while (end := ends.next_end) is not None:
        certain = list(_later_than(end, pending))
        yield from certain
        given += len(certain)
        missing = wanted - given
        if 0 < missing <= len(pending):  # only what may have a later row than the last one that is wanted
            some = ends.take(_MOST_AT_ONCE, pending[-missing][0][0])
        else:
            each = (given + len(pending)) / read if read else _ROWS_EACH
            some = ends.take(_how_many(missing - len(pending), each))
        watched = watch([run for run in some if _may_have_rows(run, after)])
        read += len(watched)
        placed = ((place_of_row(row), row) for execution in watched for row in rows_of(execution))
        pending += (each for each in placed if after is None or each[0] < after)
        pending.sort(key=itemgetter(0))
    yield from (row for _, row in reversed(pending))


def _how_many(rows: int, each: float) -> int:
    """How many executions to read at once for that many rows, if they have so many each."""
    if rows <= 0:
        return _MOST_AT_ONCE
    return min(max(ceil(rows / max(each, 1.0)), _FEWEST_AT_ONCE), _MOST_AT_ONCE)


class _Ends:
    """The executions, those that end latest first, of which the next one is always known."""

    def __init__(self, ends: Iterator[tuple[str, Run]]) -> None:
        self._ends = ends
        self._next = next(ends, None)

    @property
    def next_end(self) -> str | None:
        """When the next execution ended; None if there is none."""
        return self._next[0] if self._next else None

    def take(self, most: int, latest_row: str = "") -> list[Run]:
        """The next executions, up to the first one that cannot have a row as late as that."""
        taken: list[Run] = []
        while self._next and len(taken) < most and _last_row(self._next[0]) >= latest_row:
            taken.append(self._next[1])
            self._next = next(self._ends, None)
        return taken


def _last_row(end: str) -> str:
    """The latest time at which an execution with that end may have begun a row.

    The clocks of workers and of the server, which says when a run ended, may differ a little.
    """
    return end if end == IN_FLIGHT else in_utc(moment(end) + CLOCKS_OF_SERVER)


def _later_than(end: str, pending: list[tuple[Place, Row]]) -> Iterator[Row]:
    """The pending rows that began after all of an execution with that end, the newest first; they are pending no more."""
    bound = _last_row(end)
    while pending and pending[-1][0][0] > bound:
        yield pending.pop()[1]


def _may_have_rows(run: Run, after: Place | None) -> bool:
    """Whether rows of the execution may come after that place: none is older than the execution."""
    return after is None or in_utc(moment(run["expected_start_time"]) - CLOCKS_DIFFER) <= after[0]
