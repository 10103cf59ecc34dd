"""The rows of executions in their order, of which no more are read than may have a row of the page."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.gateway.aws.mirror.executions import WatchedExecution
from prefect_codepipeline.gateway.aws.mirror.history import History
from prefect_codepipeline.gateway.aws.mirror.rows import newest_rows, place_of_row
from prefect_codepipeline.model.wire.action_execution import Row

CREATED = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


def a_run(number: int, start: float, end: float | None) -> dict[str, Any]:
    return {
        "id": f"{number:04}", "expected_start_time": at(start).isoformat(), "created": at(start).isoformat(),
        "end_time": end and at(end).isoformat(), "state_type": "COMPLETED" if end else "RUNNING", "run_count": 1,
        "auto_scheduled": False,
    }  # fmt: skip


class Executions:
    """Executions with rows, of a pipeline that only has them; `read` counts those whose rows were read."""

    def __init__(self, runs: list[dict[str, Any]], rows: dict[str, list[Row]]) -> None:
        ended = [run for run in runs if run["end_time"]]
        self.rows = rows
        self.read = 0
        self.history = History("release", CREATED, lambda *_: ended, len(ended) + 1)
        self.history.see(run for run in runs if not run["end_time"])

    def watch(self, runs: list[dict[str, Any]]) -> list[WatchedExecution]:
        self.read += len(runs)
        return [cast(WatchedExecution, run["id"]) for run in runs]

    def newest(self, *options: Any) -> Any:
        return newest_rows(self.watch, self.history, lambda each: self.rows[cast(str, each)], *options)


def a_row(name: str, started: float) -> Row:
    return Row(at(started), name, True, {})


@given(
    executions=st.lists(
        st.tuples(
            st.integers(0, 90), st.lists(st.integers(0, 9), max_size=3), st.integers(-9, 9), st.booleans()
        ),
        min_size=9,
        max_size=40,
    ),
    wanted=st.integers(1, 60),
    page=st.integers(1, 20),
)
def test_rows_come_in_order_whatever_is_wanted(
    executions: list[tuple[int, list[int], int, bool]], wanted: int, page: int
) -> None:
    runs, rows = [], {}
    for number, (start, offsets, clock, has_ended) in enumerate(executions):
        runs.append(a_run(number, start, start + max(offsets, default=0) + 0.1 if has_ended else None))
        # The clock of the worker is not quite that of the server.
        rows[f"{number:04}"] = [
            a_row(f"{number}-{n}", start + each + clock) for n, each in enumerate(offsets)
        ]
    expected = sorted((row for each in rows.values() for row in each), key=place_of_row, reverse=True)

    assert list(Executions(runs, rows).newest(None, wanted)) == expected
    found: list[Row] = []
    while more := list(
        islice(Executions(runs, rows).newest(place_of_row(found[-1]) if found else None, wanted), page)
    ):
        found += more
    assert found == expected


@pytest.mark.parametrize(("apart", "most"), [(60, 22), (1, 40)])
def test_no_more_is_read_than_may_have_a_row_of_the_page(apart: int, most: int) -> None:
    """Of 1,000 executions, 17 have the rows of the page. The clocks of workers may differ from the server's by 10 s."""
    runs, rows = [], {}
    for number in range(1000):
        runs.append(a_run(number, number * apart, number * apart + 0.5))
        rows[f"{number:04}"] = [a_row(f"{number}-{n}", number * apart + n / 100) for n in range(6)]
    executions = Executions(runs, rows)

    found = list(islice(executions.newest(None, 101), 101))

    assert found[0].id == "999-5"
    assert found[-1].id == "983-1"
    assert executions.read <= most
