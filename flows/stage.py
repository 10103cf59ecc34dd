"""The actions of a stage: group by group, the work in one subflow run for each attempt of the stage.

A subflow cannot be suspended, so it ends as Waiting when nothing but waits is left, and the execution is suspended. The
next process continues the same subflow run. Approvals alone need none.
"""

from functools import cache
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from prefect_codepipeline.engine.executions.process import Execution, OutcomeUnknown, current_execution
from prefect_codepipeline.engine.executions.task_runs import attempt_name, stage_key, tracking_run
from prefect_codepipeline.flows.approval import first_form
from prefect_codepipeline.flows.group import run_group, states_of
from prefect_codepipeline.flows.waiting import wait_for
from prefect_codepipeline.model.definition.plan import Group, run_order_groups
from prefect_codepipeline.model.record.facts import StageExecutionStatus
from prefect_codepipeline.model.record.state import ActionState
from prefect_codepipeline.model.record.waiting_facts import Wait
from prefect_codepipeline.prefect_api.client import api_url, call
from prefect_codepipeline.prefect_api.flow_runs import end_run
from prefect_codepipeline.prefect_api.runs import ended_state
from prefect_codepipeline.prefect_api.subflow_engine import run_as


def run_actions(execution: Execution, stage_name: str) -> tuple[StageExecutionStatus, str]:
    """Run the actions of a stage that have not ended yet. The status that they give the stage, and the reason.

    Raises:
        Pause: nothing but waits is left, and the run is suspended.
        OutcomeUnknown: an action has neither ended nor waits, because its facts could not be written.
    """
    execution.look_for_stop()  # after a stop nothing starts, but what was started is continued, so that it ends properly
    is_shown = False  # whether the subflow itself ended with the present outcome
    while group := _next_group(execution, stage_name):
        if _has_work_left(execution, stage_name, group):
            _run_subflow_of(execution, stage_name)
            _check_recorded(execution, stage_name)
            is_shown = True
        elif not all(action.finished for action in states_of(execution, stage_name, group)):
            run_group(execution, stage_name, group)
            execution.look_for_stop()
            is_shown = False
        if waits := _waits(execution):
            wait_for(execution, waits, first_form(execution.state))
            continue
        outcome, message = outcome_of(execution, stage_name, group)
        if outcome != "Succeeded":
            if not is_shown:
                show_end(execution, stage_name, outcome, message)
            return outcome, message
    return outcome_of(execution, stage_name, ())


@flow(name="stage", persist_result=False, validate_parameters=False)
def stage_flow(stage_name: str, attempt: int) -> State[Any]:
    """Run the actions of an attempt of a stage of the current execution, until its work has ended or only waits are left."""
    execution = current_execution()
    groups = run_order_groups(execution.state.stage(stage_name).stage)
    while (group := _next_group(execution, stage_name)) and _has_work_left(execution, stage_name, *groups):
        all_ended = run_group(execution, stage_name, group)
        if not all_ended and _has_work_left(execution, stage_name, *groups):
            message = "; ".join(wait.what for wait in _waits(execution))
            return State(type=StateType.PAUSED, name="Waiting", message=message)
        execution.look_for_stop()  # one that was requested by now keeps the next group, or stage, from starting
        decided = group if all_ended else tuple(action for action in group if not action.is_approval)
        outcome, message = outcome_of(execution, stage_name, decided)
        if outcome != "Succeeded":
            return ended_state(outcome, message)
        if not all_ended:
            break  # approvals are open, but no work is left that they hold up
    return ended_state("Succeeded", f"stage {stage_name!r} ran")


def show_end(execution: Execution, stage_name: str, outcome: str, message: str) -> None:
    """Have Prefect show the subflow of an attempt as it ended, if there is one: approvals and conditions end it elsewhere."""
    state = execution.state.stage(stage_name)
    begun = (
        a for a in state.actions if a.started and a.attempt == state.attempt and not a.action.is_approval
    )
    if any(begun):
        key = stage_key(state)
        run = _create_run(execution, stage_flow, attempt_name(state), key, {})  # found by its key
        end_run(str(run.id), outcome, message)


def _run_subflow_of(execution: Execution, stage_name: str) -> None:
    """Run the subflow of the stage's attempt; the run that it has, if it waited or its process died."""
    state = execution.state.stage(stage_name)
    parameters = {"stage_name": state.name, "attempt": state.attempt}
    run_subflow(execution, stage_flow, attempt_name(state), stage_key(state), parameters)


def _next_group(execution: Execution, stage_name: str) -> Group | None:
    """The first group that has not succeeded."""
    state = execution.state.stage(stage_name)
    for group in run_order_groups(state.stage):
        if any(state.action(action.name).status != "Succeeded" for action in group):
            return group
    return None


def _has_work_left(execution: Execution, stage_name: str, *groups: Group) -> bool:
    """Whether an action of these groups that is no approval has not ended, and can start if it has not started."""
    return any(_work_left(execution, stage_name, group) for group in groups)


def _work_left(execution: Execution, stage_name: str, group: Group) -> list[ActionState]:
    return [
        action
        for action in states_of(execution, stage_name, group)
        if not action.action.is_approval
        and not action.finished
        and (action.started or not execution.state.stop)
    ]


def _check_recorded(execution: Execution, stage_name: str) -> None:
    """Raise if the subflow ended with an error of its own, and so has left work that neither ended nor waits.

    Raises:
        OutcomeUnknown: so that reconcile resumes the execution.
    """
    group = _next_group(execution, stage_name) or ()
    if lost := [action.name for action in _work_left(execution, stage_name, group) if not action.wait]:
        raise OutcomeUnknown(f"the subflow of stage {stage_name!r} ended before action {lost[0]!r}")


def _waits(execution: Execution) -> list[Wait]:
    return [action.wait for action in execution.state.waiting_actions if action.wait]


def run_subflow(
    execution: Execution, subflow: Flow[..., Any], name: str, key: str, parameters: dict[str, Any]
) -> None:
    """Run a subflow as the run with that key; after a crash, continue the run that has the key."""
    flow_run = _create_run(execution, subflow, name, key, parameters)
    # The heartbeat thread of a subflow costs a second at its end. The heartbeat of the pipeline flow continues.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        run_as(subflow, flow_run, parameters)


def outcome_of(execution: Execution, stage_name: str, group: Group) -> tuple[StageExecutionStatus, str]:
    """The status that a group of actions gives its stage, and the reason. A stop request takes precedence.

    Raises:
        OutcomeUnknown: an action has neither succeeded nor ended otherwise, because its facts could not be written.
    """
    state = execution.state.stage(stage_name)
    actions = [state.action(action.name) for action in group]
    if stop := execution.state.stop:
        return stop.ends_as, stop.summary
    for action in actions:
        if action.status == "Failed":
            return "Failed", f"action {action.name!r} of stage {stage_name!r} failed: {action.summary}"
    for action in actions:
        if action.status == "Abandoned":
            return "Stopped", f"action {action.name!r} of stage {stage_name!r} was abandoned"
    for action in actions:
        if action.status != "Succeeded":
            raise OutcomeUnknown(f"the end of action {action.name!r} of stage {stage_name!r} is not recorded")
    return "Succeeded", ""


def _create_run(
    execution: Execution, subflow: Flow[..., Any], name: str, key: str, parameters: dict[str, Any]
) -> FlowRun:
    """Create the subflow's run and its place in the pipeline's run, or find them if an earlier process created them."""
    # A plain subflow call is matched by its position, so after a skipped call a stage would get the result of another.
    _, task_run = call("POST", "/task_runs/", tracking_run(execution.id, key, name))
    run = {
        "flow_id": _flow_id(subflow.name, api_url()),
        "name": name,
        "parameters": parameters,
        "parent_task_run_id": task_run["id"],
        "idempotency_key": f"{execution.id}-{key}",
        "state": {"type": "RUNNING"},
    }
    _, created = call("POST", "/flow_runs/", run)
    return FlowRun.model_validate(created)


@cache
def _flow_id(name: str, _server: str) -> str:
    _, found = call("POST", "/flows/", {"name": name})
    return str(found["id"])
