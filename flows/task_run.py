"""Run an action as the one task run that it has, however often it waits in between."""

from uuid import UUID

from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext
from prefect.states import Pending
from prefect.task_engine import run_task_sync

from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.task_runs import ACTION_KEY, APPROVAL_KEY, action_task_run_id
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.tasks.action import run_action
from prefect_codepipeline.tasks.approval import run_approval


def run_step(execution: Execution, stage_name: str, action: ActionDeclaration) -> None:
    """Call an action: until it ends, or begins to wait.

    An approval is shown in the execution's own flow run, since it can be open while no work of its stage has begun.
    """
    run_id = action_task_run_id(execution.id, execution.state.stage(stage_name), action.name)
    task_run = TaskRun(
        id=run_id,
        flow_run_id=UUID(execution.id) if action.is_approval else _current_flow_run(),
        task_key=APPROVAL_KEY if action.is_approval else ACTION_KEY,
        dynamic_key=str(run_id),
        name=action.name,
        state=Pending(),
    )
    task = run_approval if action.is_approval else run_action
    parameters = {"stage_name": stage_name, "action_name": action.name}
    run_task_sync(
        task.with_options(name=action.name), task_run=task_run, parameters=parameters, return_type="state"
    )


def _current_flow_run() -> UUID:
    context = FlowRunContext.get()
    assert context, "actions run in a flow"
    assert context.flow_run, "actions run in the subflow of their stage"
    return context.flow_run.id
