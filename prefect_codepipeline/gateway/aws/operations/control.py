"""Start, stop, retry, roll back and override executions, and hold transitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from prefect_codepipeline.engine.executions.lookup import KnownExecution, known_execution
from prefect_codepipeline.engine.operations import (
    overriding,
    retrying,
    revisions,
    rollback,
    starting,
    stopping,
    transitions,
)
from prefect_codepipeline.errors import (
    ConditionNotOverridableException,
    ConflictException,
    DuplicatedStopRequestException,
    NotLatestPipelineExecutionException,
    PipelineExecutionNotStoppableException,
    PipelineNotFoundException,
    StageNotRetryableException,
    ValidationException,
)
from prefect_codepipeline.gateway.aws.mirror import mirror
from prefect_codepipeline.gateway.aws.operations.named import NamedPipeline, changing, missing, named_pipeline
from prefect_codepipeline.gateway.aws.operations.wording import busy, no_execution, no_stage
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.wire.source_overrides import override_of, source_overrides

# How many of the latest executions are searched for a revision that was used.
_SEARCHED = 100


def start_pipeline_execution(call: Call) -> Members:
    """Start an execution; the same clientRequestToken starts only one."""
    members = call.members
    pipeline = _startable(call, members["name"])
    variables = {each["name"]: each["value"] for each in members.get("variables") or []}
    # The run itself keeps the token, so it counts while the execution is kept.
    token = f"request-{members['clientRequestToken']}" if members.get("clientRequestToken") else None
    execution_id = starting.start(
        pipeline,
        variables,
        _overrides(pipeline.declaration, members.get("sourceRevisions")),
        call.caller.arn,
        token,
        request_id=call.request_id,
    )
    return {"pipelineExecutionId": execution_id}


def _startable(call: Call, name: str) -> starting.Startable:
    """The pipeline, which is read for this start: what the mirror knows would be checked again anyway."""
    found = starting.find_startable(name)
    if found is None:
        named_pipeline(call, name)  # says what is missing
        found = starting.find_startable(name)  # it is there since a moment
    if found is None:
        raise missing(call, name)
    return found


def _overrides(declaration: PipelineDeclaration, given: list[Members] | None) -> dict[str, str]:
    if not given:
        return {}
    values, mistakes = source_overrides(declaration, given)
    if mistakes:
        raise ValidationException(f"pipeline {declaration.name!r} was not started: {'; '.join(mistakes)}")
    return values


def stop_pipeline_execution(call: Call) -> Members:
    """Stop an execution: after its actions in progress, or at once if it is abandoned."""
    members = call.members
    pipeline, execution_id = _execution_named(call)
    if pipeline.run(execution_id) is None:
        raise PipelineExecutionNotStoppableException(str(no_execution(pipeline.name, execution_id)))
    abandon = bool(members.get("abandon"))
    try:
        with _pipeline_words(pipeline):
            stopping.stop_pipeline_execution(
                pipeline.name,
                execution_id,
                abandon=abandon,
                reason=members.get("reason") or "",
                by=call.caller.arn,
            )
    except DuplicatedStopRequestException:
        raise DuplicatedStopRequestException(
            "The pipeline execution is already in a Stopping state. If you already chose to "
            f"{'stop and abandon' if abandon else 'stop and wait'}, you cannot make that request again."
        ) from None
    return {"pipelineExecutionId": execution_id}


def retry_stage_execution(call: Call) -> Members:
    """Run the failed actions of a stage again, or all of them."""
    members = call.members
    pipeline, execution_id = _execution_named(call)
    known, stage_name = _known_in_stage(pipeline, execution_id)
    if known.state is None:
        raise StageNotRetryableException(f"Pipeline execution '{execution_id}' has not started.")
    with _pipeline_words(pipeline):
        retrying.retry_stage_execution(
            pipeline.name, stage_name, execution_id, members["retryMode"], call.caller.arn
        )
    return {"pipelineExecutionId": execution_id}


def rollback_stage(call: Call) -> Members:
    """Start an execution that runs one stage with the artifacts of an earlier execution."""
    members = call.members
    pipeline, stage_name = named_pipeline(call, members["pipelineName"]), members["stageName"]
    pipeline.stage(stage_name)
    target = members["targetPipelineExecutionId"]
    if pipeline.run(target) is None:
        raise no_execution(pipeline.name, target)
    with _pipeline_words(pipeline):
        started = rollback.rollback_stage(pipeline.name, stage_name, target, call.caller.arn)
    return {"pipelineExecutionId": started}


def override_stage_condition(call: Call) -> None:
    """End a condition as if its rules had succeeded."""
    pipeline, execution_id = _execution_named(call)
    known, stage_name = _known_in_stage(pipeline, execution_id)
    if known.state is None:
        raise ConditionNotOverridableException(f"Pipeline execution '{execution_id}' has not started.")
    try:
        with _pipeline_words(pipeline):
            overriding.override_stage_condition(
                pipeline.name, stage_name, execution_id, call.members["conditionType"], call.caller.arn
            )
    except StageNotRetryableException as error:  # which the operation does not have
        raise ConditionNotOverridableException(str(error)) from None


def disable_stage_transition(call: Call) -> None:
    """Let executions wait before or after a stage."""
    members = call.members
    pipeline = _pipeline_with_stage(call)
    transitions.disable_stage_transition(
        pipeline.name, members["stageName"], members["transitionType"], members["reason"], call.caller.arn
    )


def enable_stage_transition(call: Call) -> None:
    """Let executions pass again."""
    pipeline = _pipeline_with_stage(call)
    transitions.enable_stage_transition(
        pipeline.name, call.members["stageName"], call.members["transitionType"], call.caller.arn
    )


def put_action_revision(call: Call) -> Members:
    """Start an execution for a new revision of a source."""
    members = call.members
    pipeline = named_pipeline(call, members["pipelineName"])
    action = pipeline.action(members["stageName"], members["actionName"])
    if action.action_type_id.category != "Source":
        raise ValidationException(
            f"Action '{action.name}' of pipeline '{pipeline.name}' is not a source action: it has no revision"
        )
    revision_id = members["actionRevision"]["revisionId"]
    with _pipeline_words(pipeline):
        is_new, execution_id = revisions.put_action_revision(
            islice(mirror().executions(pipeline.name), _SEARCHED),
            pipeline.name,
            action.name,
            revision_id,
            override_of(action, revision_id),
            call.caller.arn,
            call.request_id,
        )
    return {"newRevision": is_new, "pipelineExecutionId": execution_id}


def _pipeline_with_stage(call: Call) -> NamedPipeline:
    pipeline = named_pipeline(call, call.members["pipelineName"])
    pipeline.stage(call.members["stageName"])
    return pipeline


def _execution_named(call: Call) -> tuple[NamedPipeline, str]:
    return named_pipeline(call, call.members["pipelineName"]), call.members["pipelineExecutionId"]


def _known_in_stage(pipeline: NamedPipeline, execution_id: str) -> tuple[KnownExecution, str]:
    """The execution that a request names, and the stage of it.

    Raises:
        StageNotFoundException: neither the execution nor the pipeline has such a stage.
        NotLatestPipelineExecutionException: the pipeline has no such execution: the latest one in the stage is another.
    """
    stage_name = pipeline.call.members["stageName"]
    run = pipeline.run(execution_id)
    if run is None:
        pipeline.stage(stage_name)
        raise NotLatestPipelineExecutionException(str(no_execution(pipeline.name, execution_id)))
    known = known_execution(run)
    if known.state is None:
        pipeline.stage(stage_name)
    elif stage_name not in [stage.name for stage in known.state.stages]:
        raise no_stage(pipeline.name, stage_name)
    return known, stage_name


@contextmanager
def _pipeline_words(pipeline: NamedPipeline) -> Iterator[None]:
    """AWS's words for what the engine may find out as well as this module."""
    try:
        yield
    except PipelineNotFoundException:  # it was deleted meanwhile
        raise missing(pipeline.call, pipeline.name) from None
    except ConflictException as error:
        raise busy(f"{error}.") from None


OPERATIONS: Operations = {
    "StartPipelineExecution": changing(start_pipeline_execution),
    "StopPipelineExecution": changing(stop_pipeline_execution),
    "RetryStageExecution": changing(retry_stage_execution),
    "RollbackStage": changing(rollback_stage),
    "OverrideStageCondition": changing(override_stage_condition),
    "DisableStageTransition": changing(disable_stage_transition),
    "EnableStageTransition": changing(enable_stage_transition),
    "PutActionRevision": changing(put_action_revision),
}
