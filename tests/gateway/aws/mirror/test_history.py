"""The runs of a pipeline in both orders, listed page by page, also by several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.gateway.aws.mirror.history import History, in_utc, place_of
from prefect_codepipeline.prefect_api.client import moment

CREATED = datetime(2026, 1, 1, tzinfo=timezone.utc)


def a_run(number: int, start: int, end: int) -> dict[str, Any]:
    at, ended = (CREATED + timedelta(seconds=seconds) for seconds in (start, end))
    return {
        "id": f"{number:04}", "expected_start_time": at.isoformat(), "created": at.isoformat(),
        "end_time": ended.isoformat(), "state_type": "COMPLETED", "run_count": 1, "auto_scheduled": False,
    }  # fmt: skip


def ended_at(run: dict[str, Any]) -> str:
    return in_utc(moment(run["end_time"]))


@given(
    times=st.lists(st.tuples(st.integers(1, 20), st.integers(30, 50)), max_size=30),
    page=st.integers(1, 7),
    from_row=st.integers(0, 30),
)
def test_each_run_is_listed_once_and_in_order(times: list[tuple[int, int]], page: int, from_row: int) -> None:
    runs = [a_run(number, *each) for number, each in enumerate(times)]

    def list_page(
        _: str, order: str, before: str | None, since: datetime, offset: int
    ) -> list[dict[str, Any]]:
        assert since < CREATED
        found = [run for run in runs if before is None or moment(run[order]) <= moment(before)]
        found.sort(key=lambda run: moment(run[order]), reverse=True)
        return found[offset : offset + page]

    history = History("release", CREATED, list_page, page)
    newest_first = sorted(runs, key=place_of, reverse=True)
    with ThreadPoolExecutor(4) as threads:
        by_start = [threads.submit(lambda: list(history.newest_first())) for _ in range(2)]
        by_end = [threads.submit(lambda: list(history.latest_end_first())) for _ in range(2)]

    assert [each.result() for each in by_start] == [newest_first] * 2
    for each in by_end:
        ends = [end for end, _ in each.result()]
        assert ends == sorted(map(ended_at, runs), reverse=True)
        assert len({run["id"] for _, run in each.result()}) == len(runs)
    for run in newest_first[from_row : from_row + 1]:
        rest = History("release", CREATED, list_page, page).newest_first(place_of(run))
        assert list(rest) == newest_first[from_row + 1 :]
