"""Override a condition: the stage continues regardless of the results of the rules.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_OverrideStageCondition.html
"""

from __future__ import annotations

from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.operations.retrying import (
    check_retryable,
    check_room,
    continue_from,
    read_when_left,
)
from prefect_codepipeline.errors import (
    ConditionNotOverridableException,
    StageNotFoundException,
    ValidationException,
)
from prefect_codepipeline.model.definition.conditions import KIND_OF_TYPE, ConditionType, is_overridable
from prefect_codepipeline.model.record.condition_facts import OverrideRequested
from prefect_codepipeline.prefect_api.suspension import resume


def override_stage_condition(
    pipeline_name: str, stage_name: str, execution_id: str, condition_type: ConditionType, by: str
) -> None:
    """End a condition as if its rules had succeeded. If it has failed the stage already, the execution continues.

    Args:
        pipeline_name: the pipeline of the execution.
        stage_name: the stage.
        execution_id: the execution.
        condition_type: `BEFORE_ENTRY` or `ON_SUCCESS`.
        by: the user who overrides.

    Raises:
        PipelineExecutionNotFoundException, StageNotFoundException: the execution or the stage does not exist.
        ConditionNotOverridableException: there is no such condition, or it has ended and cannot be overridden.
        NotLatestPipelineExecutionException, StageNotRetryableException: the execution cannot continue any more.
        ConcurrentPipelineExecutionsLimitExceededException: the limit of executions in progress is reached.
        ConflictException: the condition failed the stage, and the process of the execution still runs.
    """
    state = read_when_left(execution_id, stage_name).state
    if state is None or state.pinned.pipeline_name != pipeline_name:
        raise ValidationException(
            f"execution {execution_id} has not started, or is not an execution of pipeline {pipeline_name!r}"
        )
    if stage_name not in [stage.name for stage in state.stages]:
        raise StageNotFoundException(f"execution {execution_id} has no stage {stage_name!r}")
    stage = state.stage(stage_name)
    kind = KIND_OF_TYPE[condition_type]
    condition = stage.condition(kind)
    status = condition.status if condition else None
    if condition is None or status is None or not is_overridable(kind, condition.condition.result, status):
        raise ConditionNotOverridableException(
            f"the condition {condition_type} of stage {stage_name!r} in execution {execution_id} is "
            f"{status or 'not being evaluated'}"
            + (" and would skip the stage" if condition and condition.condition.result == "SKIP" else "")
        )
    has_ended = condition.ended is not None
    if has_ended:
        check_retryable(state, stage_name, "ALL_ACTIONS")
        check_room(state)
    attempt = stage.attempt + (1 if has_ended else 0)
    request = OverrideRequested(at=utc_now(), stage=stage_name, condition=kind, attempt=attempt, by=by)
    RecordOf(execution_id).write(request)
    if has_ended:
        continue_from(state, stage_name, by)
    else:
        resume(execution_id)
