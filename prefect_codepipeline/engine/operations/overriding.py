"""Override a condition: the stage goes on whatever its rules say.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_OverrideStageCondition.html
"""

from __future__ import annotations

from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.operations.retrying import check_retryable, check_room, go_on_with
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
    """End a condition in favour of the stage; one that has failed it on success lets the execution go on.

    Args:
        pipeline_name: whose execution it is.
        stage_name: the stage.
        execution_id: the execution.
        condition_type: `BEFORE_ENTRY` or `ON_SUCCESS`.
        by: who asks.

    Raises:
        PipelineExecutionNotFoundException, StageNotFoundException: there is no such thing.
        ConditionNotOverridableException: there is no such condition, or it is over.
        NotLatestPipelineExecutionException, StageNotRetryableException: the execution can go on no more.
        ConcurrentPipelineExecutionsLimitExceededException: as many executions as may be are in flight.
    """
    state = read_execution(execution_id).state
    if state is None or state.pinned.pipeline_name != pipeline_name:
        raise ValidationException(f"execution {execution_id} has not begun, or is none of {pipeline_name!r}")
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
    is_over = condition.ended is not None
    if is_over:
        check_retryable(state, stage_name, "ALL_ACTIONS")
        check_room(state)
    attempt = stage.attempt + (1 if is_over else 0)
    request = OverrideRequested(at=utc_now(), stage=stage_name, condition=kind, attempt=attempt, by=by)
    RecordOf(execution_id).write(request)
    if is_over:
        go_on_with(state, stage_name, by)
    else:
        resume(execution_id)
