"""Remove executions: their flow runs with those of their stages and actions, the logs, the pages in Prefect's UI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prefect_codepipeline.engine.executions.lookup import TAG, execution_tag
from prefect_codepipeline.engine.executions.removed import remember_removed
from prefect_codepipeline.engine.executions.run_lists import Run
from prefect_codepipeline.engine.pool_runs.asking import TAG as ACTION_TAG
from prefect_codepipeline.engine.retention.pace import Pace
from prefect_codepipeline.prefect_api.block_documents import delete_document
from prefect_codepipeline.prefect_api.client import PAGE, call, call_all

_ENDED = ["COMPLETED", "FAILED", "CANCELLED"]
# The most that Prefect deletes by one request.
AT_ONCE = 50


def every_run(now: str, pace: Pace) -> Iterator[list[Run]]:
    """The flow runs of all executions, the newest first, page by page.

    By their times, not by their numbers: what is removed meanwhile moves no other out of sight.
    """
    before, at_that_time = now, frozenset[str]()
    while True:
        body = {
            "flow_runs": {
                "tags": {"all_": [TAG]},
                "parent_task_run_id": {"is_null_": True},
                "expected_start_time": {"before_": before},
            },
            "sort": "EXPECTED_START_TIME_DESC",
            "limit": PAGE,
        }
        pace.wait()
        page = _page(body, at_that_time)
        yield [run for run in page if run["id"] not in at_that_time]
        if len(page) < PAGE:
            return
        last = page[-1]["expected_start_time"]
        same = frozenset(run["id"] for run in page if run["expected_start_time"] == last)
        at_that_time = same | at_that_time if last == before else same
        before = last


def _page(body: dict[str, object], known: frozenset[str]) -> list[Run]:
    """A page with runs that are not known yet, if there are any: many may have started at the same time."""
    offset = 0
    while True:
        page: list[Run] = call("POST", "/flow_runs/filter", {**body, "offset": offset})[1]
        if len(page) < PAGE or any(run["id"] not in known for run in page):
            return page
        offset += PAGE


def remove(runs: Sequence[Run], definitions: Mapping[str, Sequence[str]], pace: Pace) -> int:
    """Remove executions that have ended; how many were removed. What was started again meanwhile is not touched.

    The flow run of the execution is removed last: with it goes the record, and what is left would not be found.

    Args:
        runs: their flow runs.
        definitions: the ids of the definitions that only one of them has, by its id.
        pace: how fast.
    """
    done = 0
    for start in range(0, len(runs), AT_ONCE):
        ids = [run["id"] for run in runs[start : start + AT_ONCE]]
        pace.wait(4)
        ids = _still_ended(ids)
        if not ids:
            continue
        remember_removed(ids)
        parts = [*_of_stages(ids, pace), *_of_actions(ids, pace)]
        _remove_pages([*ids, *parts], pace)
        for first in range(0, len(parts), AT_ONCE):
            pace.wait()
            _delete(parts[first : first + AT_ONCE])
        _remove_definitions([each for known in ids for each in definitions.get(known, ())], pace)
        pace.wait()
        done += len(_delete(ids, only_ended=True))
    return done


def _remove_definitions(ids: Sequence[str], pace: Pace) -> None:
    """Remove definitions with their secrets. One of a pipeline, which has a name, is not touched."""
    for definition_id in ids:
        pace.wait(2)
        status, document = call("GET", f"/block_documents/{definition_id}", expected=(404, 422))
        if status == 200 and document["is_anonymous"]:
            delete_document(definition_id)


def _still_ended(ids: list[str]) -> list[str]:
    body = {"flow_runs": {"id": {"any_": ids}, "state": {"type": {"any_": _ENDED}}}, "limit": PAGE}
    found: list[Run] = call("POST", "/flow_runs/filter", body)[1]
    return [run["id"] for run in found]


def _of_stages(ids: Sequence[str], pace: Pace) -> list[str]:
    """The flow runs of the stages of these executions."""
    pace.wait()
    found = call_all("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": list(ids)}}})
    return [run["id"] for run in found]


def _of_actions(ids: Sequence[str], pace: Pace) -> list[str]:
    """The flow runs of the actions of these executions that ran on other work pools."""
    pace.wait()
    tags = {"all_": [ACTION_TAG], "any_": [execution_tag(each) for each in ids]}
    return [run["id"] for run in call_all("/flow_runs/filter", {"flow_runs": {"tags": tags}})]


def _remove_pages(flow_run_ids: Sequence[str], pace: Pace) -> None:
    """Remove the pages and tables of reports that Prefect's UI shows for these runs. Prefect keeps them when a run goes."""
    for start in range(0, len(flow_run_ids), PAGE):
        pace.wait()
        wanted = {"flow_run_id": {"any_": list(flow_run_ids[start : start + PAGE])}}
        for artifact in call_all("/artifacts/filter", {"artifacts": wanted}):
            pace.wait()
            call("DELETE", f"/artifacts/{artifact['id']}", expected=(404,))


def _delete(ids: Sequence[str], *, only_ended: bool = False) -> list[str]:
    """Delete flow runs with their tasks, states and inputs; the ids of those that there were."""
    wanted: dict[str, object] = {"id": {"any_": list(ids)}}
    if only_ended:
        wanted["state"] = {"type": {"any_": _ENDED}}
    deleted: list[str] = call("POST", "/flow_runs/bulk_delete", {"flow_runs": wanted})[1]["deleted"]
    return deleted
