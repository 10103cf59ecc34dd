"""After a stage has failed: one automatic retry, or a rollback to the last execution that succeeded.

https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-retry.html
https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-rollback.html
"""

from prefect import get_run_logger

from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.operations.rollback import latest_success, start_rollback
from prefect_codepipeline.flows.condition import engaged_by_failure
from prefect_codepipeline.model.record.facts import RetryRequested


def begin_automatic_retry(execution: Execution, stage_name: str) -> bool:
    """Start the automatic retry of `onFailure` with the result RETRY. False if there is none, or it has been used."""
    state = execution.state
    stage = state.stage(stage_name)
    wanted = stage.stage.on_failure
    if stage.automatic_retries or wanted is None or _wanted_after_failure(execution, stage_name) != "RETRY":
        return False
    if state.pinned.execution_type == "ROLLBACK" or execution.look_for_stop():
        return False
    mode = (wanted.retry_configuration and wanted.retry_configuration.retry_mode) or "FAILED_ACTIONS"
    execution.write(
        RetryRequested(
            at=utc_now(),
            epoch=state.epoch + 1,
            stage=stage_name,
            retry_mode=mode,
            by="codepipeline",
            trigger="AutomatedStageRetry",
        )
    )
    get_run_logger().warning("Stage %r failed and is retried once (%s)", stage_name, mode)
    return True


def roll_back_automatically(execution: Execution, stage_name: str) -> None:
    """Start the rollback that a condition or `onFailure` asks for, if a successful execution exists."""
    on_success = execution.state.stage(stage_name).condition("onSuccess")
    is_unsuccessful = on_success is not None and on_success.consequence == "Rollback"
    if is_unsuccessful or _wanted_after_failure(execution, stage_name) == "ROLLBACK":
        roll_back(execution, stage_name)


def _wanted_after_failure(execution: Execution, stage_name: str) -> str | None:
    """The result of `onFailure`: unconditional, or the one of its condition. Only failed actions engage it."""
    stage = execution.state.stage(stage_name)
    wanted = stage.stage.on_failure
    if wanted is None or not any(action.status in ("Failed", "Abandoned") for action in stage.actions):
        return None
    if wanted.result:
        return wanted.result
    return engaged_by_failure(execution, stage_name)


def roll_back(execution: Execution, stage_name: str) -> None:
    """Start a rollback of the stage to the last execution of this version that succeeded there."""
    state = execution.state
    logger = get_run_logger()
    if state.pinned.execution_type == "ROLLBACK" or not execution.can_suspend:
        logger.warning("Stage %r is not rolled back: %s", stage_name, _why_not(execution))
        return
    target = latest_success(
        execution.declaration.name, stage_name, state.pinned.pipeline_version, execution.id
    )
    if target is None:
        logger.warning(
            "Stage %r is not rolled back: no execution of this pipeline version has succeeded in it",
            stage_name,
        )
        return
    token = f"rollback-{execution.id}-{stage_name}-{state.stage(stage_name).attempt}"
    rollback = start_rollback(target, stage_name, "AutomatedRollback", execution.id, token)
    logger.warning("Stage %r is rolled back to execution %s by execution %s", stage_name, target.id, rollback)


def _why_not(execution: Execution) -> str:
    if execution.state.pinned.execution_type == "ROLLBACK":
        return "this execution is itself a rollback"
    return "the pipeline is not deployed, so nothing could run the rollback"
