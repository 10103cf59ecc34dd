"""One execution of a pipeline: its stages one after another, each segment a subflow, each approval a suspension.

The body is run from the top again after every suspension, retry and crash. It does nothing by itself: what happened
stands in the record, and what the record has as done is not called again.
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.flows.approval import request_approval, wait_for_approval
from prefect_codepipeline.flows.lifecycle import (
    enter_pipeline,
    enter_stage,
    finish_execution,
    finish_stage,
    taking_over,
)
from prefect_codepipeline.flows.stage import outcome_of, run_segment
from prefect_codepipeline.model.plan import cut_into_segments
from prefect_codepipeline.tasks.execution import Execution


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
                enter_pipeline(execution)
                for stage in execution.declaration.stages:
                    if run_stage(execution, stage.name) != "Succeeded":
                        break
            return finish_execution(execution)
    except CodePipelineError as error:  # a definition that was deleted, an API that is gone for good
        return Failed(message=str(error))


def run_stage(execution: Execution, stage_name: str) -> str:
    """Run what the record does not have of the current attempt of a stage; its status."""
    stage = execution.state.stage(stage_name)
    if stage.finished:
        return stage.finished.status
    enter_stage(execution, stage)
    for segment in cut_into_segments(stage.stage):
        members = (*segment.approvals, *(action for group in segment.groups for action in group))
        if all(stage.action(action.name).status == "Succeeded" for action in members):
            continue
        for approval in segment.approvals:
            request_approval.with_options(name=approval.name, task_run_name=f"{approval.name}: request")(
                stage_name, approval.name, return_state=True
            )
        if segment.groups:
            run_segment(execution, stage, segment)
        for approval in segment.approvals:
            wait_for_approval(execution, stage_name, approval.name)
        outcome, message = outcome_of(execution.state.stage(stage_name), members)
        if outcome != "Succeeded":
            return finish_stage(execution, stage, outcome, message)
    return finish_stage(execution, stage, "Succeeded", "")
