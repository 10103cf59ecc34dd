"""`codepipeline stop`, `retry`, `rollback`, `override` and `transition`: control running executions."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer
from prefect_codepipeline.cli.parameters import AsJson, ExecutionId, PipelineName, StageName
from prefect_codepipeline.cli.session import connect, who

Reason = Annotated[str, Parameter(name=["--message", "-m"])]


def stop(
    name: PipelineName,
    execution: ExecutionId = None,
    *,
    abandon: bool = False,
    message: Reason = "",
    json: AsJson = False,
) -> int:
    """Stop an execution: no further action starts; running actions may finish.

    Parameters
    ----------
    abandon:
        Also abandon the running actions.
    message:
        The reason, up to 200 characters.
    """
    connect()
    from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution

    execution_id = _id(name, execution)
    stop_pipeline_execution(
        name, execution_id, abandon=abandon, reason=message or "stopped at the command line", by=who()
    )
    how = "its actions are abandoned" if abandon else "its running actions may finish"
    said = f"{name}: execution {execution_id} is being stopped; {how}"
    answer(json, {"pipelineExecutionId": execution_id}, said)
    return 0


def retry(
    name: PipelineName,
    stage: StageName,
    *,
    execution: ExecutionId = None,
    all_actions: bool = False,
    json: AsJson = False,
) -> int:
    """Run a failed or stopped stage again, in the same execution.

    Parameters
    ----------
    all_actions:
        Run every action of the stage again; only the failed actions by default.
    """
    connect()
    from prefect_codepipeline.engine.operations.retrying import retry_stage_execution

    execution_id = _id(name, execution)
    mode: Literal["FAILED_ACTIONS", "ALL_ACTIONS"] = "ALL_ACTIONS" if all_actions else "FAILED_ACTIONS"
    retry_stage_execution(name, stage, execution_id, mode, who())
    said = f"{name}: stage {stage} of execution {execution_id} is being retried"
    answer(json, {"pipelineExecutionId": execution_id}, said)
    return 0


def rollback(name: PipelineName, stage: StageName, *, to: str, json: AsJson = False) -> int:
    """Roll a stage back: run it again with the artifacts and variables of an earlier execution.

    Parameters
    ----------
    to:
        The id of an execution in which the stage succeeded; see `codepipeline executions`.
    """
    connect()
    from prefect_codepipeline.engine.operations.rollback import rollback_stage

    execution_id = rollback_stage(name, stage, _id(name, to), who())
    answer(json, {"pipelineExecutionId": execution_id}, execution_id)
    return 0


def override(
    name: PipelineName,
    stage: StageName,
    *,
    execution: ExecutionId = None,
    condition: Literal["BEFORE_ENTRY", "ON_SUCCESS"] | None = None,
    json: AsJson = False,
) -> int:
    """Continue a stage whose condition failed.

    Parameters
    ----------
    condition:
        The condition to override. By default ON_SUCCESS if an action of the stage has started, else BEFORE_ENTRY.
    """
    connect()
    from prefect_codepipeline.engine.executions.lookup import find_execution
    from prefect_codepipeline.engine.operations.overriding import override_stage_condition

    known = find_execution(name, execution)
    if condition is None:
        stages = known.state.stages if known.state else ()
        has_started = any(action.started for each in stages if each.name == stage for action in each.actions)
        condition = "ON_SUCCESS" if has_started else "BEFORE_ENTRY"
    override_stage_condition(name, stage, known.id, condition, who())
    said = f"{name}: condition {condition} of stage {stage} is overridden in execution {known.id}"
    answer(json, {"pipelineExecutionId": known.id, "conditionType": condition}, said)
    return 0


def disable_transition(
    name: PipelineName, stage: StageName, *, message: Reason, outbound: bool = False, json: AsJson = False
) -> int:
    """Stop executions from entering or leaving a stage until the transition is enabled again.

    Parameters
    ----------
    message:
        The reason, 1 to 300 characters.
    outbound:
        Disable the transition out of the stage instead of the transition into it.
    """
    connect()
    from prefect_codepipeline.engine.operations.transitions import disable_stage_transition

    kind: Literal["Inbound", "Outbound"] = "Outbound" if outbound else "Inbound"
    disable_stage_transition(name, stage, kind, message, who())
    said = f"{name}: the {kind.lower()} transition of stage {stage} is disabled"
    answer(json, {"stageName": stage, "transitionType": kind, "enabled": False}, said)
    return 0


def enable_transition(
    name: PipelineName, stage: StageName, *, outbound: bool = False, json: AsJson = False
) -> int:
    """Enable a transition again; executions that wait there continue.

    Parameters
    ----------
    outbound:
        Enable the transition out of the stage instead of the transition into it.
    """
    connect()
    from prefect_codepipeline.engine.operations.transitions import enable_stage_transition

    kind: Literal["Inbound", "Outbound"] = "Outbound" if outbound else "Inbound"
    enable_stage_transition(name, stage, kind, who())
    said = f"{name}: the {kind.lower()} transition of stage {stage} is enabled"
    answer(json, {"stageName": stage, "transitionType": kind, "enabled": True}, said)
    return 0


def _id(name: str, execution: str | None) -> str:
    """The whole id of an execution of the pipeline, from the beginning of its id; by default of the latest one."""
    from prefect_codepipeline.engine.executions.lookup import find_execution

    return find_execution(name, execution).id
