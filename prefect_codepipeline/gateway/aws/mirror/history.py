"""The flow runs of one pipeline, the newest first, listed as far back as was asked for."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from operator import itemgetter

from prefect_codepipeline.engine.executions.lookup import CLOCKS_OF_SERVER, due
from prefect_codepipeline.engine.executions.run_lists import Order, Run, page_before
from prefect_codepipeline.gateway.aws.protocol.pages import Place
from prefect_codepipeline.prefect_api.client import PAGE, moment

# The types of states that do not change by themselves.
ENDED = ("COMPLETED", "FAILED", "CANCELLED")
# After every time; and of a list that was not read at all, all but those in flight are unknown.
IN_FLIGHT, NOW = "9999-12-31", "9999"


def place_of(run: Run) -> Place:
    """The place of an execution among all of its pipeline: when it was to start, and its id. It never changes."""
    return (in_utc(moment(run["expected_start_time"])), str(run["id"]))


def in_utc(at: datetime) -> str:
    """A time as a text; such texts have the order of their times."""
    return at.astimezone(timezone.utc).isoformat(timespec="microseconds")


@dataclass
class _Listed:
    """How far a list was read: down to that time, or to its end."""

    down_to: str | None = None
    is_whole: bool = False


class History:
    """The runs of one pipeline, without those of a deleted one that had the same name.

    Args:
        name: the pipeline.
        created: when it was created.
        list_page: lists a page of its runs, as `page_before` does.
        page: how many runs a whole page has.
    """

    def __init__(
        self,
        name: str,
        created: datetime,
        list_page: Callable[[str, Order, str | None, datetime, int], list[Run]] = page_before,
        page: int = PAGE,
    ) -> None:
        self._name = name
        self._list_page = list_page
        self._page = page
        self._created = created
        self._runs: dict[str, Run] = {}
        self._places: list[tuple[Place, str]] = []  # ascending
        self._ends: dict[str, str] = {}
        self._listed: dict[Order, _Listed] = {"expected_start_time": _Listed(), "end_time": _Listed()}
        self._lock = threading.Lock()
        self._listing = threading.Lock()

    def see(self, runs: Iterable[Run]) -> None:
        """Take in runs as a newer look has them."""
        with self._lock:
            for run in runs:
                self._put(run)

    def remove(self, run_id: str) -> None:
        """Drop a run that does not exist any more."""
        with self._lock:
            if run := self._runs.pop(run_id, None):
                self._places.remove((place_of(run), run_id))
                self._ends.pop(run_id)

    def run(self, run_id: str) -> Run | None:
        """A run that is known, or None."""
        return self._runs.get(run_id)

    def is_of_pipeline(self, run: Run) -> bool:
        """Whether the run is of this pipeline, and not of a deleted one that had the same name."""
        return moment(run["created"]) >= self._created

    @property
    def known_runs(self) -> list[Run]:
        """All runs that are known so far, in no order."""
        return list(self._runs.values())

    def newest_first(self, after: Place | None = None) -> Iterator[Run]:
        """The runs, the newest first, or only those that come after a place. More are listed as they are needed."""
        place = after
        while True:
            is_whole = self._is_whole  # before it is looked at: another thread may list the rest meanwhile
            run = self._next(place)
            if run:
                place = place_of(run)
                yield run
            elif is_whole:
                return
            else:
                self._list_more("expected_start_time")

    def latest_end_first(self) -> Iterator[tuple[str, Run]]:
        """The runs with the times of their ends, `IN_FLIGHT` for those that have none. More are listed as they are needed."""
        given: set[str] = set()
        latest = IN_FLIGHT  # what ends or is retried meanwhile belongs before what was given already
        while True:
            unknown = self._unknown_until
            with self._lock:
                ends = sorted(self._ends.items(), key=itemgetter(1), reverse=True)
                certain = [
                    (end, self._runs[run_id])
                    for run_id, end in ends
                    if run_id not in given and end <= latest and (unknown is None or end > unknown)
                ]
            given |= {run["id"] for _, run in certain}
            yield from certain
            if unknown is None:
                return
            latest = unknown
            self._list_more("end_time")

    @property
    def _unknown_until(self) -> str | None:
        """No run that is not known ended after that time; None if all runs are known."""
        return None if self._is_whole else self._listed["end_time"].down_to or NOW

    def _next(self, place: Place | None) -> Run | None:
        """The run after a place, if it is known that none is between."""
        with self._lock:
            index = len(self._places) if place is None else _index(self._places, place)
            if index == 0:
                return None
            found, run_id = self._places[index - 1]
            down_to = self._listed["expected_start_time"].down_to
            # Of several with the last time that was listed, some may not be known.
            is_certain = self._is_whole or (down_to is not None and found[0] > down_to)
            return self._runs[run_id] if is_certain else None

    def _list_more(self, order: Order) -> None:
        """Read a page more, unless another thread does."""
        listed = self._listed[order]
        before = listed.down_to
        with self._listing:
            offset = 0
            while listed.down_to == before and not self._is_whole:
                since = self._created - CLOCKS_OF_SERVER
                self._take(self._list_page(self._name, order, before, since, offset), listed, order)
                offset += self._page  # a whole page may have the same time

    def _take(self, page: list[Run], listed: _Listed, order: Order) -> None:
        with self._lock:
            for run in due(page):
                if run["id"] not in self._runs:  # a look may have found a newer state meanwhile
                    self._put(run)
            listed.is_whole = len(page) < self._page
            if page:
                listed.down_to = in_utc(min(moment(run[order]) for run in page))

    @property
    def _is_whole(self) -> bool:
        """Whether all runs are known. The list of those that ended has not those in flight, which each look finds."""
        return any(listed.is_whole for listed in self._listed.values())

    def _put(self, run: Run) -> None:
        if not self.is_of_pipeline(run):
            return
        if run["id"] not in self._runs:
            insort(self._places, (place_of(run), run["id"]), key=itemgetter(0))
        self._runs[run["id"]] = run
        has_ended = run["state_type"] in ENDED and run["end_time"]
        self._ends[run["id"]] = in_utc(moment(run["end_time"])) if has_ended else IN_FLIGHT


def _index(places: list[tuple[Place, str]], place: Place) -> int:
    """How many places come before that one, in ascending order."""
    low, high = 0, len(places)
    while low < high:
        middle = (low + high) // 2
        if places[middle][0] < place:
            low = middle + 1
        else:
            high = middle
    return low
