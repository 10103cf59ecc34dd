"""`codepipeline stop`, `retry`, `rollback` and `transition`: what people do to releases that are on their way."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from rich.text import Text

from prefect_codepipeline.cli.session import connect, console, who

Reason = Annotated[str, Parameter(name=["--message", "-m"])]


def stop(name: str, execution: str | None = None, *, abandon: bool = False, message: Reason = "") -> int:
    """Stop an execution: nothing more starts, and what runs may end.

    Parameters
    ----------
    name:
        The pipeline.
    execution:
        The id of another execution than the latest.
    abandon:
        End the actions that run, too.
    message:
        The reason, up to 200 characters.
    """
    connect()
    from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution

    execution_id = execution or _latest(name)
    stop_pipeline_execution(
        name, execution_id, abandon=abandon, reason=message or "stopped at the command line", by=who()
    )
    how = "its actions are abandoned" if abandon else "its actions in progress may end"
    console.print(Text(f"{name}: execution {execution_id} is being stopped; {how}"))
    return 0


def retry(name: str, stage: str, *, execution: str | None = None, all_actions: bool = False) -> int:
    """Run a failed or stopped stage again, in the same execution.

    Parameters
    ----------
    name:
        The pipeline.
    stage:
        The stage.
    execution:
        The id of another execution than the latest.
    all_actions:
        Begin at the first action of the stage; what failed only, without it.
    """
    connect()
    from prefect_codepipeline.engine.operations.retrying import retry_stage_execution

    execution_id = execution or _latest(name)
    mode: Literal["FAILED_ACTIONS", "ALL_ACTIONS"] = "ALL_ACTIONS" if all_actions else "FAILED_ACTIONS"
    retry_stage_execution(name, stage, execution_id, mode, who())
    console.print(Text(f"{name}: stage {stage} of execution {execution_id} is retried"))
    return 0


def rollback(name: str, stage: str, *, to: str) -> int:
    """Roll a stage back: run it again with the artifacts and variables of an earlier execution.

    Parameters
    ----------
    name:
        The pipeline.
    stage:
        The stage.
    to:
        The id of an execution that succeeded in the stage; see `codepipeline executions`.
    """
    connect()
    from prefect_codepipeline.engine.operations.rollback import rollback_stage

    console.print(Text(rollback_stage(name, stage, to, who())))
    return 0


def override(
    name: str,
    stage: str,
    *,
    execution: str | None = None,
    condition: Literal["BEFORE_ENTRY", "ON_SUCCESS"] | None = None,
) -> int:
    """Let a stage go on whatever its condition says.

    Parameters
    ----------
    name:
        The pipeline.
    stage:
        The stage.
    execution:
        The id of another execution than the latest.
    condition:
        Which condition; the one before entry while the stage has none of its actions started, without it.
    """
    connect()
    from prefect_codepipeline.engine.executions.lookup import latest_execution, read_execution
    from prefect_codepipeline.engine.operations.overriding import override_stage_condition

    known = read_execution(execution) if execution else latest_execution(name)
    if condition is None:
        stages = known.state.stages if known.state else ()
        has_begun = any(action.started for each in stages if each.name == stage for action in each.actions)
        condition = "ON_SUCCESS" if has_begun else "BEFORE_ENTRY"
    override_stage_condition(name, stage, known.id, condition, who())
    console.print(
        Text(f"{name}: condition {condition} of stage {stage} is overridden in execution {known.id}")
    )
    return 0


def disable_transition(name: str, stage: str, *, message: Reason, outbound: bool = False) -> int:
    """Let no execution enter a stage, or leave it, until the transition is enabled again.

    Parameters
    ----------
    name:
        The pipeline.
    stage:
        The stage.
    message:
        The reason, 1 to 300 characters.
    outbound:
        Close the way out of the stage instead of the way in.
    """
    connect()
    from prefect_codepipeline.engine.operations.transitions import disable_stage_transition

    kind: Literal["Inbound", "Outbound"] = "Outbound" if outbound else "Inbound"
    disable_stage_transition(name, stage, kind, message, who())
    console.print(Text(f"{name}: the {kind.lower()} transition of stage {stage} is disabled"))
    return 0


def enable_transition(name: str, stage: str, *, outbound: bool = False) -> int:
    """Let executions pass a transition again; who waits there goes on.

    Parameters
    ----------
    name:
        The pipeline.
    stage:
        The stage.
    outbound:
        The way out of the stage instead of the way in.
    """
    connect()
    from prefect_codepipeline.engine.operations.transitions import enable_stage_transition

    kind: Literal["Inbound", "Outbound"] = "Outbound" if outbound else "Inbound"
    enable_stage_transition(name, stage, kind, who())
    console.print(Text(f"{name}: the {kind.lower()} transition of stage {stage} is enabled"))
    return 0


def _latest(name: str) -> str:
    from prefect_codepipeline.engine.executions.lookup import latest_execution

    return latest_execution(name).id
