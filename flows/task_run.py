"""Run a step of an action as the one task run that the action has, however often the action waits in between."""

from typing import Any
from uuid import UUID

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.states import Pending
from prefect.task_engine import run_task_sync

from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.task_runs import ACTION_KEY, APPROVAL_KEY, action_task_run_id

Step = Task[[str, str], State[Any]]


def run_approval_step(step: Step, execution: Execution, stage_name: str, action_name: str) -> None:
    """Run `request_approval` or `conclude_approval`, in the execution's own flow run."""
    _run(step, execution, stage_name, action_name, UUID(execution.id), APPROVAL_KEY)


def run_action_step(step: Step, execution: Execution, stage_name: str, action_name: str) -> None:
    """Run `run_action`, in the flow run of the stage."""
    context = FlowRunContext.get()
    assert context, "actions run in a flow"
    assert context.flow_run, "actions run in the subflow of their stage"
    _run(step, execution, stage_name, action_name, context.flow_run.id, ACTION_KEY)


def _run(
    step: Step, execution: Execution, stage_name: str, action_name: str, flow_run_id: UUID, task_key: str
) -> None:
    run_id = action_task_run_id(execution.id, execution.state.stage(stage_name), action_name)
    task_run = TaskRun(
        id=run_id,
        flow_run_id=flow_run_id,
        task_key=task_key,
        dynamic_key=str(run_id),
        name=action_name,
        state=Pending(),
    )
    parameters = {"stage_name": stage_name, "action_name": action_name}
    run_task_sync(
        step.with_options(name=action_name), task_run=task_run, parameters=parameters, return_type="state"
    )
