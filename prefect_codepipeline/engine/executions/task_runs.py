"""The task runs by which Prefect's page of an execution shows its stages and approvals, also before they start.

Each has a key of its own, so that every process of an execution means the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect_codepipeline.model.definition.plan import run_order_groups
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.state import ActionState, ExecutionState, StageState
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.flow_runs import set_state, type_of_end

STAGE_KEY, ACTION_KEY, APPROVAL_KEY = "stage", "action", "approval"


def stage_key(stage: StageState) -> str:
    """The key of the subflow that runs the current attempt of a stage.

    Earlier versions had subflows for parts of an attempt, with a number after this key.
    """
    return f"{slug(stage.name)}-{stage.attempt}"


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
    """End what is shown as still to come, or as waiting, in an execution that has ended.

    Prefect records the state of a task run a while after the run has reached it, or never, if the process was killed. So the
    run of an action whose end was recorded by us ends here as the action did.
    """
    ends = _ends(state)
    found = [*_unfinished_ones(list(ends)), *_waiting_ones(state.execution_id)]
    for run in {run["id"]: run for run in found}.values():
        has_begun = run["task_key"] != STAGE_KEY and run["start_time"]
        left_out = {"type": "CANCELLED", "name": "Abandoned" if has_begun else "NotReached"}
        ended = {"state": ends.get(run["id"], left_out), "force": True}
        call("POST", f"/task_runs/{run['id']}/set_state", ended, expected=(404,))


def name_of_end(action: ActionState) -> str:
    """The name that Prefect shows for the end of an action: for an approval, what was decided."""
    assert action.finished, "only an action that has ended is asked for its end"
    if action.decision and action.finished.status != "Abandoned":
        return action.decision.status
    return action.finished.status


def _ends(state: ExecutionState) -> dict[str, dict[str, Any]]:
    """The last state of the task run of each action that has ended, by the run's id."""
    return {
        str(action_task_run_id(state.execution_id, stage, action.name)): {
            "type": type_of_end(action.finished.status),
            "name": name_of_end(action),
            "message": action.summary,
        }
        for stage, action in state.actions
        if action.finished
    }


def _unfinished_ones(ids: list[str]) -> list[dict[str, Any]]:
    found = {"id": {"any_": ids}, "state": {"type": {"any_": ["PENDING", "PAUSED", "RUNNING"]}}}
    return list(call("POST", "/task_runs/filter", {"task_runs": found, "limit": 200})[1]) if ids else []


def _waiting_ones(execution_id: str) -> list[dict[str, Any]]:
    """The runs of stages and actions that wait or are still to come; the subflows that wait are ended."""
    waiting = {"parent_flow_run_id": {"any_": [execution_id]}, "state": {"type": {"any_": ["PAUSED"]}}}
    subflows = [run["id"] for run in call("POST", "/flow_runs/filter", {"flow_runs": waiting})[1]]
    for subflow in subflows:
        set_state(subflow, "CANCELLED", "Abandoned", force=True)
    unfinished = {
        "flow_run_id": {"any_": [execution_id, *subflows]},
        "state": {"type": {"any_": ["PENDING", "PAUSED"]}},
    }
    return list(call("POST", "/task_runs/filter", {"task_runs": unfinished, "limit": 200})[1])


def _first_runs(execution_id: str, stage: StageState) -> Iterator[dict[str, Any]]:
    """The run of the stage; if it begins with approvals alone, it is not on the page before they are: then theirs."""
    first = run_order_groups(stage.stage)[0]
    if not all(action.is_approval for action in first):
        yield tracking_run(execution_id, stage_key(stage), attempt_name(stage))
        return
    for action in first:
        run_id = str(action_task_run_id(execution_id, stage, action.name))
        keys = {"id": run_id, "task_key": APPROVAL_KEY, "dynamic_key": run_id}
        yield {**tracking_run(execution_id, "", action.name), **keys}
