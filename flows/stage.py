"""One segment of a stage as a subflow: its run-order groups one after another, the actions of a group in parallel."""

from functools import cache
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Completed, Failed

from prefect_codepipeline.engine.executions.process import Execution, OutcomeUnknown, current_execution
from prefect_codepipeline.engine.executions.task_runs import attempt_name, segment_key, tracking_run
from prefect_codepipeline.flows.group import run_group, what_is_waited_for
from prefect_codepipeline.model.definition.plan import Group, Segment, cut_into_segments
from prefect_codepipeline.model.record.facts import StageExecutionStatus
from prefect_codepipeline.model.record.state import StageState
from prefect_codepipeline.prefect_api.client import api_url, call
from prefect_codepipeline.prefect_api.flow_runs import set_state
from prefect_codepipeline.prefect_api.subflow_engine import run_as


@flow(name="stage", persist_result=False, validate_parameters=False)
def segment_flow(stage_name: str, attempt: int, segment: int) -> State[Any]:
    """Run the actions of one segment of a stage of the current execution."""
    execution = current_execution()
    state = execution.state.stage(stage_name)
    for group in cut_into_segments(state.stage)[segment - 1].groups:
        if all(state.action(action.name).status == "Succeeded" for action in group):
            continue
        if not run_group(execution, stage_name, group):
            return State(type=StateType.PAUSED, name="Waiting", message=what_is_waited_for(execution.state))
        execution.look_for_stop()  # one that was requested by now keeps the next group, or stage, from starting
        outcome, message = outcome_of(execution, stage_name, group)
        if outcome == "Failed":
            return Failed(message=message)
        if outcome != "Succeeded":
            return Cancelled(name=outcome, message=message)
    return Completed(name="Succeeded", message=f"stage {stage_name!r} ran")


def run_segment_flow(execution: Execution, state: StageState, segment: Segment) -> None:
    """Run a segment as a subflow run of its own; after a crash, continue the run that the attempt has."""
    parameters = {"stage_name": state.name, "attempt": state.attempt, "segment": segment.number}
    run_subflow(execution, segment_flow, attempt_name(state), segment_key(state, segment.number), parameters)


def show_as_failed(execution: Execution, stage_name: str, reason: str) -> None:
    """Have Prefect show a stage as failed whose actions succeeded, but whose condition was not met after them."""
    state = execution.state.stage(stage_name)
    ran = [segment for segment in cut_into_segments(state.stage) if segment.groups]
    if ran:
        key = segment_key(state, ran[-1].number)
        run = _create_run(execution, segment_flow, attempt_name(state), key, {})  # found by its key
        set_state(str(run.id), "FAILED", "Failed", reason, force=True)


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
