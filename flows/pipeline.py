"""One execution of a pipeline: its stages in order, the work of each stage a subflow, each wait a suspension.

Prefect runs the flow from the top again after every suspension, retry and crash. So the flow itself has no effects: what
happened is in the execution's record, and what the record has as finished is not run again. From the outside in:

    pipeline                     the execution
      run_stage                  a stage, until an attempt succeeds or no retry is left
        run_attempt              one attempt: through the gate, the work, the result
          do_work                beforeEntry condition, actions, onSuccess condition
            run_actions          (flows/stage.py) the run-order groups; the run is suspended when only waits are left
              stage_flow         the subflow of the attempt, for all actions but approvals
                run_group        (flows/group.py) the actions of one run order, side by side
                  run_step       (flows/task_run.py) the one task run of an action
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Failed

from prefect_codepipeline.engine.executions.process import Execution, LeftToNewer, OutcomeUnknown
from prefect_codepipeline.errors import CodePipelineError, NewerRecord, PrefectRefused, PrefectUnavailable
from prefect_codepipeline.flows.condition import check_condition
from prefect_codepipeline.flows.failure import begin_automatic_retry, roll_back_automatically
from prefect_codepipeline.flows.lifecycle import (
    enter_stage,
    finish_execution,
    finish_stage,
    leave_stage,
    taking_over,
)
from prefect_codepipeline.flows.newer import leave_to_newer
from prefect_codepipeline.flows.stage import run_actions, show_end
from prefect_codepipeline.model.record.facts import StageExecutionStatus


@flow(name="pipeline", persist_result=False)
def pipeline(
    variables: dict[str, str] | None = None, source_revisions: dict[str, str] | None = None
) -> State[Any]:
    """Run a pipeline execution.

    Args:
        variables: values of pipeline-level variables, by name.
        source_revisions: a commit, tag or branch for source actions, by action name.
    """
    try:
        with taking_over(variables or {}, source_revisions or {}) as execution:
            if not execution.state.final:
                for stage in execution.state.stages:
                    if run_stage(execution, stage.name) not in ("Succeeded", "Skipped"):
                        break
            return finish_execution(execution)
    except (NewerRecord, LeftToNewer) as error:
        return leave_to_newer(error)
    except CodePipelineError as error:  # the definition was deleted, or Prefect's API does not come back
        context = FlowRunContext.get()
        run = context.flow_run if context else None
        return _without_record(error, can_be_resumed=run is not None and run.deployment_id is not None)


def _without_record(error: CodePipelineError, *, can_be_resumed: bool) -> State[Any]:
    """The state of a run that ends with an error, and without an end in its record.

    Raises:
        OutcomeUnknown: Prefect did not answer. Reconcile resumes the execution when it answers again.
    """
    is_away = isinstance(error, PrefectUnavailable) and not isinstance(error, PrefectRefused)
    if is_away and can_be_resumed:
        raise OutcomeUnknown(str(error)) from error
    return Failed(message=str(error))


def run_stage(execution: Execution, stage_name: str) -> StageExecutionStatus | None:
    """Run a stage, with its automatic retry or rollback. The stage's status, or None if it was not entered."""
    known = execution.state.stage(stage_name).finished
    if known and known.status != "Failed":
        return known.status
    while True:
        if not execution.state.stage(stage_name).finished and not run_attempt(execution, stage_name):
            return None
        finished = execution.state.stage(stage_name).finished
        assert finished, "an attempt of a stage ends with its finished fact"
        if finished.status == "Failed" and begin_automatic_retry(execution, stage_name):
            continue
        if finished.status == "Failed":
            roll_back_automatically(execution, stage_name)
        leave_stage(execution, stage_name)
        return finished.status


def run_attempt(execution: Execution, stage_name: str) -> bool:
    """Enter the stage, do its work and record the result. False if the stage was not entered."""
    if not enter_stage(execution, stage_name):
        return False
    stage = execution.state.stage(stage_name)
    status, summary = do_work(execution, stage_name)
    finish_stage(execution, stage, status, summary)
    return True


def do_work(execution: Execution, stage_name: str) -> tuple[StageExecutionStatus, str]:
    """Everything between entering a stage and leaving it. The status of the attempt, and the reason."""
    status, summary = check_condition(execution, stage_name, "beforeEntry")
    if status != "Succeeded":
        return status, summary
    status, summary = run_actions(execution, stage_name)
    if status != "Succeeded":
        return status, summary
    status, summary = check_condition(execution, stage_name, "onSuccess")
    if status == "Failed":
        show_end(execution, stage_name, status, summary)
    return status, summary
