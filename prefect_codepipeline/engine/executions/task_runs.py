"""The task runs by which Prefect's page of an execution shows its stages and approvals, also before they start.

Each has a key of its own, so that every process of an execution means the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect_codepipeline.model.definition.plan import cut_into_segments
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.state import ExecutionState, StageState
from prefect_codepipeline.prefect_api.client import call

STAGE_KEY, ACTION_KEY, APPROVAL_KEY = "stage", "action", "approval"


def segment_key(stage: StageState, segment: int) -> str:
    """The key of the subflow that runs a segment of the current attempt of a stage."""
    return f"{slug(stage.name)}-{stage.attempt}-{segment}"


def attempt_name(stage: StageState) -> str:
    """The name of a stage's current attempt."""
    return stage.name if stage.attempt == 1 else f"{stage.name} #{stage.attempt}"


def action_task_run_id(execution_id: str, stage: StageState, action_name: str) -> UUID:
    """The id of the one task run that an action has in the current attempt of its stage."""
    return uuid5(NAMESPACE_URL, f"{execution_id}/{stage.name}/{action_name}/{stage.attempt}")


def tracking_run(execution_id: str, key: str, name: str) -> dict[str, Any]:
    """The task run in the execution's flow run under which a subflow runs; the request for it may be repeated."""
    return {
        "flow_run_id": execution_id,
        "task_key": STAGE_KEY,
        "dynamic_key": key,
        "name": name,
        "state": {"type": "PENDING"},
    }


def show_stages_to_come(state: ExecutionState) -> None:
    """Have each stage that was not entered yet on the page, as a pending run."""
    for stage in state.stages:
        if not stage.entered:
            for run in _first_runs(state.execution_id, stage):
                call("POST", "/task_runs/", run)


def end_what_is_pending(state: ExecutionState) -> None:
    """End what is shown as still to come, or as waiting, in an execution that has ended."""
    unfinished = {
        "flow_run_id": {"any_": [state.execution_id]},
        "state": {"type": {"any_": ["PENDING", "PAUSED"]}},
    }
    for run in call("POST", "/task_runs/filter", {"task_runs": unfinished, "limit": 200})[1]:
        is_approval = run["task_key"] == APPROVAL_KEY and run["start_time"]
        ended = {"type": "CANCELLED", "name": "Abandoned" if is_approval else "NotReached"}
        call("POST", f"/task_runs/{run['id']}/set_state", {"state": ended, "force": True}, expected=(404,))


def _first_runs(execution_id: str, stage: StageState) -> Iterator[dict[str, Any]]:
    """The run of the first segment; a segment without any other action has no run but those of its approvals."""
    first = cut_into_segments(stage.stage)[0]
    if first.groups:
        yield tracking_run(execution_id, segment_key(stage, first.number), attempt_name(stage))
        return
    for action in first.approvals:
        run_id = str(action_task_run_id(execution_id, stage, action.name))
        keys = {"id": run_id, "task_key": APPROVAL_KEY, "dynamic_key": run_id}
        yield {**tracking_run(execution_id, "", action.name), **keys}
