"""How an execution ends: every way in one table, and the end of an execution that no process will end."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from prefect_codepipeline.actions.rule_registry import abandon_rule, can_abandon
from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import pinned_declaration
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.notifications.approval_messages import withdraw_buttons
from prefect_codepipeline.engine.notifications.events import send_remaining_events
from prefect_codepipeline.engine.notifications.report import publish_final_state
from prefect_codepipeline.engine.pool_runs.ending import end_with_execution
from prefect_codepipeline.model.record.condition_facts import ConditionEnded, RuleAnswered
from prefect_codepipeline.model.record.facts import (
    ExecutionFinished,
    PipelineExecutionStatus,
    StageFinished,
    StopRequested,
)
from prefect_codepipeline.model.record.state import ConditionState, ExecutionState, StageState
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.flow_runs import end_run

# The user who cancels or retries in Prefect, which does not say who it was.
PREFECT_USER = "Prefect UI or API"


class Way(Enum):
    """A way an execution ends: its status, and a sentence about it.

    The flow run's state follows from the status: Completed, Failed or else Cancelled, with the status as its name.
    """

    # The process of the execution records these.
    SUCCEEDED = ("Succeeded", "all {stages} stages succeeded")
    ROLLED_BACK = ("Succeeded", "stage {stage!r} is back at execution {target}")
    FAILED = ("Failed", "{reason}")
    STOPPED = ("Stopped", "{reason}")
    CANCELLED = ("Cancelled", "{reason}")
    SUPERSEDED = ("Superseded", "superseded by execution {newer} in front of stage {stage!r}")
    # These are recorded in place of the process.
    CANCELLED_IN_PREFECT = ("Stopped", "cancelled in Prefect")
    INTERRUPTED = ("Stopped", "interrupted at the terminal")
    DIED_TWICE = (
        "Failed",
        "its process died, and so did the process that resumed it; see the log of the worker",
    )
    DELETED = ("Stopped", "its pipeline was deleted")
    # It was run at a terminal: no worker can resume it.
    DIED_IN_FOREGROUND = (
        "Failed",
        "the process that ran it died; start it again with `codepipeline run`",
    )

    def __init__(self, status: PipelineExecutionStatus, sentence: str) -> None:
        self.status = status
        self.sentence = sentence


def ended(state: ExecutionState, way: Way, **values: object) -> ExecutionFinished:
    """The fact that the execution ended in this way; `values` complete the sentence."""
    return ExecutionFinished(
        at=utc_now(), epoch=state.epoch, status=way.status, summary=way.sentence.format(**values)
    )


def conclusion(state: ExecutionState) -> ExecutionFinished:
    """How an execution ended whose process has nothing left to do."""
    finished = [stage.finished for stage in state.stages if stage.finished]
    for stage in finished:
        if stage.status == "Failed":
            return ended(state, Way.FAILED, reason=stage.summary)
    if stop := state.stop:
        way = Way.CANCELLED if stop.ends_as == "Cancelled" else Way.STOPPED
        return ended(state, way, reason=stop.summary)
    for stage in finished:
        if stage.status == "Stopped":
            return ended(state, Way.STOPPED, reason=stage.summary)
    pinned = state.pinned
    if pinned.rollback_target:
        return ended(state, Way.ROLLED_BACK, stage=pinned.rollback_stage, target=pinned.rollback_target)
    return ended(state, Way.SUCCEEDED, stages=len(state.stages))


def end_from_outside(
    execution: KnownExecution, way: Way, by: str = "", *, message: str | None = None
) -> None:
    """End an execution in place of its process: its record, its flow run, and what is sent about it.

    Args:
        execution: as last read. If its record has an end already, that is also the end of its flow run.
        way: one of those that are recorded in place of the process.
        by: the user who stopped it; empty if it failed.
        message: of the flow run's state; by default the summary in the record.
    """
    state = execution.state
    if state and state.final:
        end_run(execution.id, state.final.status, state.final.summary)
    else:
        summary = end_record(state, way, by).summary if state else way.sentence
        end_run(execution.id, way.status, message or summary)
    withdraw_buttons(execution)
    publish_final_state(execution.id)


def end_record(state: ExecutionState, way: Way, by: str = "") -> ExecutionFinished:
    """Record the end of an execution and of all that is in progress in it, send its last events, free its gates."""
    record, final = RecordOf(state.execution_id), ended(state, way)
    if way.status == "Stopped":
        stop = StopRequested(at=utc_now(), epoch=state.epoch, how="abandon", reason=way.sentence, by=by)
        record.write(stop)
        final = final.model_copy(update={"summary": stop.summary})
    _end_open_actions(record, state, way)
    _end_open_stages(record, state, way)
    record.write(final)
    declaration = pinned_declaration(state.pinned.definition_id)
    send_remaining_events(state.execution_id, declaration, record.read())
    gate.leave_all(state.pinned.pipeline_name, state.execution_id)
    return final


def has_work_elsewhere(state: ExecutionState) -> bool:
    """Whether an action or a rule has work that continues without a process, and that only its provider can stop.

    The process of a worker stops it: this one may have no credentials for it.
    """
    actions = (action for _, action in state.actions if action.status == "InProgress")
    conditions = (condition for stage in state.stages for condition in stage.conditions)
    rules = (condition.next_rule for condition in conditions if condition.status == "InProgress")
    return any(action.waits or action.kept or action.pool_run for action in actions) or any(
        rule and can_abandon(rule) for rule in rules
    )


def _end_open_actions(record: RecordOf, state: ExecutionState, way: Way) -> None:
    is_failure = way.status == "Failed"
    status: Literal["Failed", "Abandoned"] = "Failed" if is_failure else "Abandoned"
    details = ErrorDetails(code="JobFailed", message=way.sentence) if is_failure else None
    for _, action in state.actions:
        if action.status == "InProgress" and action.started:
            record.write(
                action.started.finished(utc_now(), status, summary=way.sentence, error_details=details)
            )
            if action.pool_run:
                end_with_execution(record, action.pool_run, status, way.sentence)


def _end_open_stages(record: RecordOf, state: ExecutionState, way: Way) -> None:
    for stage in state.stages:
        for condition in stage.conditions:
            _abandon_condition(record, stage, condition, way.sentence)
        if stage.entered and not stage.finished:
            record.write(
                StageFinished(
                    at=utc_now(),
                    stage=stage.name,
                    attempt=stage.attempt,
                    status="Failed" if way.status == "Failed" else "Stopped",
                    summary=way.sentence,
                )
            )


def _abandon_condition(record: RecordOf, stage: StageState, condition: ConditionState, reason: str) -> None:
    if condition.status != "InProgress" or condition.ended:
        return
    identity: dict[str, Any] = {"stage": stage.name, "condition": condition.kind, "attempt": stage.attempt}
    if condition.next_rule and (outcome := abandon_rule(condition.next_rule, reason, utc_now())):
        record.write(RuleAnswered(**identity, at=utc_now(), outcome=outcome))
    record.write(ConditionEnded(**identity, at=utc_now(), status="Abandoned", summary=reason))
