"""AWS's words, in place of those that the engine has for the command line."""

from __future__ import annotations

from prefect_codepipeline.errors import (
    ActionNotFoundException,
    ConflictException,
    PipelineExecutionNotFoundException,
    PipelineNotFoundException,
    StageNotFoundException,
)
from prefect_codepipeline.model.wire.arns import Account


def no_pipeline(account: Account, name: str) -> PipelineNotFoundException:
    """The error of operations that read a pipeline, for one that does not exist."""
    return PipelineNotFoundException(f"Account '{account.id}' does not have a pipeline with name '{name}'")


def no_pipeline_included(account: Account, name: str) -> PipelineNotFoundException:
    """The error of operations that change a pipeline, for one that does not exist."""
    return PipelineNotFoundException(
        f"The account with id '{account.id}' does not include a pipeline with the name '{name}'"
    )


def no_pipeline_to_start(account: Account, name: str) -> PipelineNotFoundException:
    """The error of a start, for a pipeline that does not exist."""
    return PipelineNotFoundException(f"Pipeline with name {name} does not exist in account {account.id}")


def no_stage(pipeline_name: str, stage_name: str) -> StageNotFoundException:
    """The pipeline has no stage of that name."""
    return StageNotFoundException(
        f"Pipeline '{pipeline_name}' does not have a stage with name '{stage_name}'"
    )


def no_action(pipeline_name: str, stage_name: str, action_name: str) -> ActionNotFoundException:
    """The stage has no action of that name."""
    return ActionNotFoundException(
        f"Stage '{stage_name}' of pipeline '{pipeline_name}' does not have an action with name '{action_name}'"
    )


def no_execution(pipeline_name: str, execution_id: str) -> PipelineExecutionNotFoundException:
    """The pipeline has no execution of that id."""
    return PipelineExecutionNotFoundException(
        f"Pipeline '{pipeline_name}' does not have a pipeline execution with id '{execution_id}'"
    )


def busy(what: str) -> ConflictException:
    """The request can be repeated later."""
    return ConflictException(
        "Your request cannot be handled because the pipeline is busy handling ongoing activities. "
        f"Try again later. {what[:1].upper()}{what[1:]}"
    )
