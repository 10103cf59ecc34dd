"""Lists of flow runs of pipelines for who keeps what was read: what is in flight, what has ended since, older pages."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Literal, TypeAlias

from prefect_codepipeline.engine.executions.lookup import IN_FLIGHT, TAG, due, pipeline_tag
from prefect_codepipeline.prefect_api.client import PAGE, call, call_all

# A flow run as Prefect's API returns it.
Run: TypeAlias = dict[str, Any]
Order: TypeAlias = Literal["expected_start_time", "end_time"]
# The clocks of this machine and of the server differ by less; Prefect creates the runs of schedules long before.
CLOCKS_DIFFER = timedelta(minutes=5)


def all_in_flight() -> list[Run]:
    """The flow runs of all executions that have started or will start now, and have not ended."""
    soon = datetime.now(timezone.utc) + CLOCKS_DIFFER
    wanted = {
        "state": {"type": {"any_": [*IN_FLIGHT, "SCHEDULED"]}},
        "expected_start_time": {"before_": soon.isoformat()},
    }
    return due(call_all("/flow_runs/filter", _body([TAG], wanted, "expected_start_time")))


def all_ended_since(since: datetime) -> list[Run]:
    """The flow runs of all executions that ended after that time, by the server's clock."""
    return call_all(
        "/flow_runs/filter", _body([TAG], {"end_time": {"after_": since.isoformat()}}, "end_time")
    )


def page_before(
    pipeline_name: str, order: Order, before: str | None, since: datetime, offset: int = 0
) -> list[Run]:
    """Up to a page of flow runs of a pipeline, the latest first, also those that have not begun.

    Args:
        pipeline_name: the pipeline.
        order: by which time; in the order of their ends, the list lacks those that have not ended.
        before: only those up to that time.
        since: only those that were to start after that time.
        offset: how many to leave out.
    """
    soon = (datetime.now(timezone.utc) + CLOCKS_DIFFER).isoformat()
    wanted: dict[str, dict[str, str]] = {"expected_start_time": {"before_": soon}}
    wanted.setdefault(order, {})["before_"] = before or soon
    wanted["expected_start_time"]["after_"] = since.isoformat()
    body = {**_body([TAG, pipeline_tag(pipeline_name)], wanted, order), "limit": PAGE, "offset": offset}
    found: list[Run] = call("POST", "/flow_runs/filter", body)[1]
    return found


def latest_runs(pipeline_name: str, since: datetime, count: int, before: Run | None = None) -> list[Run]:
    """The executions of a pipeline, the latest first, up to so many; or those that come after `before` in that order.

    Starts and removals meanwhile move nothing to another place, as they would in a list that is read by numbers.
    """
    until = before["expected_start_time"] if before else None
    found: list[Run] = []
    offset = 0
    while len(found) < count:
        page = page_before(pipeline_name, "expected_start_time", until, since, offset)
        ids = [run["id"] for run in page]
        is_there = before is not None and before["id"] in ids
        found += due(page[ids.index(before["id"]) + 1 :] if before and is_there else page)
        offset += len(page)
        if len(page) < PAGE:
            break
    return found[:count]


def _body(tags: list[str], wanted: dict[str, Any], order: Order) -> dict[str, Any]:
    own = {"tags": {"all_": tags}, "parent_task_run_id": {"is_null_": True}, **wanted}
    return {"flow_runs": own, "sort": f"{order.upper()}_DESC"}
