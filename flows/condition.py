"""Conditions of a stage: evaluate their rules in order, wait when a rule asks for it, and decide the stage's status.

https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-conditions.html
"""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from prefect_codepipeline.actions.rule_registry import abandon_rule
from prefect_codepipeline.engine.executions.process import Execution, current_execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.flows.stage import run_subflow
from prefect_codepipeline.flows.waiting import wait_for
from prefect_codepipeline.model.definition.conditions import (
    WHEN,
    ConditionKind,
    ConditionStatus,
    summary_of,
)
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.condition_facts import (
    ConditionEnded,
    OverrideRequested,
    RuleAnswered,
    override_key,
)
from prefect_codepipeline.model.record.facts import StageExecutionStatus
from prefect_codepipeline.model.record.state import ConditionState
from prefect_codepipeline.tasks.rule import ask_rule, known_condition

_STAGE_STATUS: dict[str, StageExecutionStatus] = {
    "Proceed": "Succeeded",
    "Fail": "Failed",
    "Rollback": "Failed",
    "Skip": "Skipped",
    "Stop": "Stopped",
}


def check_condition(
    execution: Execution, stage_name: str, kind: ConditionKind
) -> tuple[StageExecutionStatus, str]:
    """The status that the condition gives the stage, and the reason. Succeeded if the stage has no such condition."""
    ended = _evaluate(execution, stage_name, kind)
    if ended is None or ended.consequence == "Proceed":
        return "Succeeded", ""
    if ended.consequence == "Stop" and (stop := execution.state.stop):
        return stop.ends_as, stop.summary
    summary = f"condition {WHEN[kind]} of stage {stage_name!r} was not met: {ended.summary}"
    return _STAGE_STATUS[ended.consequence], summary


def engaged_by_failure(execution: Execution, stage_name: str) -> str | None:
    """The result that the onFailure condition engages, or None if it is not met or does not exist."""
    ended = _evaluate(execution, stage_name, "onFailure")
    return ended.condition.result if ended and ended.status == "Succeeded" else None


@flow(name="condition", persist_result=False, validate_parameters=False)
def condition(stage_name: str, kind: str, attempt: int, asking: int) -> State[Any]:
    """Evaluate the rules of a condition one after another, until one is not met or has to wait."""
    execution = current_execution()
    while (known := known_condition(execution, stage_name, kind)) and known.next_rule:
        rule = known.next_rule
        before = rule.waits
        ask_rule.with_options(name=rule.rule.name, task_run_name=rule.rule.name)(
            stage_name, kind, rule.rule.name, return_state=True
        )
        known = known_condition(execution, stage_name, kind)
        if next(each for each in known.rules if each.rule.name == rule.rule.name).waits > before:
            return Completed(name="Waits", message=known.summary)
    message = summary_of(known.outcomes, len(known.rules))
    if known.by_its_rules == "Succeeded":
        return Completed(name="Succeeded", message=message)
    if known.by_its_rules == "Abandoned":
        return Cancelled(name="Abandoned", message=message)
    return Failed(name=known.by_its_rules, message=message)


def _evaluate(execution: Execution, stage_name: str, kind: ConditionKind) -> ConditionState | None:
    """Evaluate the condition to its end. None if the stage has no condition of that kind."""
    if execution.state.stage(stage_name).condition(kind) is None:
        return None
    attempt = execution.state.stage(stage_name).attempt
    while not (known := known_condition(execution, stage_name, kind)).ended:
        override = execution.record.get(override_key(kind, stage_name, attempt))
        if isinstance(override, OverrideRequested):
            _abandon_rule(execution, stage_name, known, f"overridden by {override.by}")
            _end(execution, stage_name, known, "Overridden", f"overridden by {override.by}")
        elif execution.look_for_stop():
            _abandon_rule(execution, stage_name, known, "the execution was stopped")
            _end(execution, stage_name, known, "Abandoned", "the execution was stopped")
        elif known.by_its_rules != "InProgress":
            _end(
                execution, stage_name, known, known.by_its_rules, summary_of(known.outcomes, len(known.rules))
            )
        elif (wait := known.wait_in(execution.state.stage(stage_name))) and wait.until > utc_now():
            wait_for(execution, [wait])
        else:
            _evaluate_rules(execution, stage_name, known)
    return known


def _evaluate_rules(execution: Execution, stage_name: str, known: ConditionState) -> None:
    attempt = execution.state.stage(stage_name).attempt
    asking = sum(rule.waits for rule in known.rules) + 1
    parameters = {"stage_name": stage_name, "kind": known.kind, "attempt": attempt, "asking": asking}
    key = f"{slug(stage_name)}-{attempt}-{known.kind.lower()}-{asking}"
    run_subflow(execution, condition, f"{stage_name}: {WHEN[known.kind]}", key, parameters)


def _abandon_rule(execution: Execution, stage_name: str, known: ConditionState, reason: str) -> None:
    """Record the rule that has no answer yet as abandoned."""
    attempt = execution.state.stage(stage_name).attempt
    if known.next_rule and (outcome := abandon_rule(known.next_rule, reason, utc_now())):
        execution.write(
            RuleAnswered(
                at=utc_now(), stage=stage_name, condition=known.kind, attempt=attempt, outcome=outcome
            )
        )


def _end(
    execution: Execution, stage_name: str, known: ConditionState, status: ConditionStatus, summary: str
) -> None:
    attempt = execution.state.stage(stage_name).attempt
    execution.write(
        ConditionEnded(
            at=utc_now(),
            stage=stage_name,
            condition=known.kind,
            attempt=attempt,
            status=status,
            summary=summary,
        )
    )
    get_run_logger().info("Condition %s of stage %r: %s (%s)", WHEN[known.kind], stage_name, status, summary)
