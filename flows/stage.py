"""One segment of a stage as a subflow: its run-order groups one after another, the actions of a group in parallel."""

from typing import Any
from uuid import UUID

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Completed, Failed, Pending
from prefect.task_runners import ThreadPoolTaskRunner

from prefect_codepipeline.engine.executions.process import Execution, current_execution
from prefect_codepipeline.model.definition.execution_modes import MAX_PARALLEL_ACTIONS
from prefect_codepipeline.model.definition.plan import Group, Segment, cut_into_segments
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.facts import StageExecutionStatus
from prefect_codepipeline.model.record.state import StageState
from prefect_codepipeline.prefect_api.client import call, client
from prefect_codepipeline.tasks.action import run_action


@flow(name="stage", persist_result=False, validate_parameters=False)
def segment_flow(stage_name: str, attempt: int, segment: int) -> State[Any]:
    """Run the actions of one segment of a stage of the current execution."""
    execution = current_execution()
    state = execution.state.stage(stage_name)
    for group in cut_into_segments(state.stage)[segment - 1].groups:
        _run_actions(execution, state, group)
        outcome, message = outcome_of(execution, stage_name, group)
        if outcome == "Failed":
            return Failed(message=message)
        if outcome != "Succeeded":
            return Cancelled(name=outcome, message=message)
    return Completed(name="Succeeded", message=f"stage {stage_name!r} ran")


def run_segment_flow(execution: Execution, state: StageState, segment: Segment) -> None:
    """Run a segment as a subflow run of its own; after a crash, continue the run that the attempt has."""
    parameters = {"stage_name": state.name, "attempt": state.attempt, "segment": segment.number}
    name = state.name if state.attempt == 1 else f"{state.name} #{state.attempt}"
    most = MAX_PARALLEL_ACTIONS if execution.declaration.execution_mode == "PARALLEL" else None
    runner: Any = ThreadPoolTaskRunner(max_workers=most)
    key = f"{slug(state.name)}-{state.attempt}-{segment.number}"
    run_subflow(execution, segment_flow.with_options(task_runner=runner), name, key, parameters)


def run_subflow(
    execution: Execution, subflow: Flow[..., Any], name: str, key: str, parameters: dict[str, Any]
) -> None:
    """Run a subflow as the run with that key; after a crash, continue the run that has the key."""
    flow_run = _find_or_create_run(execution, subflow, name, key, parameters)
    # The heartbeat thread of a subflow costs a second at its end. The heartbeat of the pipeline flow continues.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        run_flow(subflow, flow_run=flow_run, parameters=parameters, return_type="state")


def outcome_of(execution: Execution, stage_name: str, group: Group) -> tuple[StageExecutionStatus, str]:
    """The status that a group of actions gives its stage, and the reason. A stop request takes precedence."""
    state = execution.state.stage(stage_name)
    actions = [state.action(action.name) for action in group]
    if stop := execution.look_for_stop():
        return stop.ends_as, stop.summary
    for action in actions:
        if action.status == "Failed":
            return "Failed", f"action {action.name!r} of stage {stage_name!r} failed: {action.summary}"
    for action in actions:
        if action.status == "Abandoned":
            return "Stopped", f"action {action.name!r} of stage {stage_name!r} was abandoned"
    return "Succeeded", ""


def _run_actions(execution: Execution, state: StageState, group: Group) -> None:
    """Run the actions of a group that have not succeeded yet, each as a task in a thread."""
    try:
        futures = [
            run_action.with_options(name=action.name, task_run_name=action.name).submit(
                state.name, action.name
            )
            for action in group
            if state.action(action.name).status != "Succeeded"
        ]
        for future in futures:
            future.wait()
    except BaseException:
        # The threads of the actions do not get the signal that ended this wait. Cancelling the token ends them, so that
        # the task runner does not block when it is closed.
        execution.cancellation.cancel()
        raise


def _find_or_create_run(
    execution: Execution, subflow: Flow[..., Any], name: str, key: str, parameters: dict[str, Any]
) -> FlowRun:
    # A plain subflow call is matched by its position, so after a skipped call a stage would get the result of another.
    _, tracking = call(
        "POST",
        "/task_runs/",
        {
            "flow_run_id": execution.id,
            "task_key": "stage",
            "dynamic_key": key,
            "name": name,
            "state": {"type": "PENDING"},
        },
    )
    body = {"flow_runs": {"parent_task_run_id": {"any_": [tracking["id"]]}}, "limit": 1}
    _, found = call("POST", "/flow_runs/filter", body)
    if found:
        return FlowRun.model_validate(found[0])
    return client().create_flow_run(
        subflow,
        name=name,
        parameters=parameters,
        state=Pending(),
        parent_task_run_id=UUID(tracking["id"]),
        tags=["codepipeline"],
    )
