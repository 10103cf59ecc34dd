"""The conditions of a stage as they are now: a part of what GetPipelineState shows.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_StageConditionState.html
"""

from __future__ import annotations

from typing import Any, TypeAlias

from prefect_codepipeline.model.definition.conditions import ConditionKind, condition_of
from prefect_codepipeline.model.definition.declaration import Condition, RuleDeclaration, StageDeclaration
from prefect_codepipeline.model.record.state import ConditionState, StageState
from prefect_codepipeline.model.wire.rule_execution import rule_changed_at, rule_status, rule_summary
from prefect_codepipeline.model.wire.texts import EXTERNAL_ID, SUMMARY, address, error, text

Members: TypeAlias = dict[str, Any]
_MEMBERS: dict[ConditionKind, str] = {
    "beforeEntry": "beforeEntryConditionState",
    "onSuccess": "onSuccessConditionState",
    "onFailure": "onFailureConditionState",
}


def condition_states(declared: StageDeclaration, state: StageState | None) -> Members:
    """A `StageConditionState` for each condition that the stage declares, by the name of its member."""
    return {
        member: _stage_condition_state(condition, state.condition(kind) if state else None)
        for kind, member in _MEMBERS.items()
        if (condition := condition_of(declared, kind))
    }


def _stage_condition_state(declared: Condition, state: ConditionState | None) -> Members:
    if state is None or state.status is None:
        return {"conditionStates": [{"ruleStates": _rule_states(declared, None)}]}
    execution = {"status": state.status, "summary": text(state.summary, SUMMARY)}
    changes = [rule_changed_at(state, rule) for rule in state.rules]
    changed_at = state.ended.at if state.ended else max(at for at in changes if at)
    return {
        "latestExecution": execution,
        "conditionStates": [
            {
                "latestExecution": {**execution, "lastStatusChange": changed_at},
                "ruleStates": _rule_states(declared, state),
            }
        ],
    }


def _rule_states(declared: Condition, state: ConditionState | None) -> list[Members]:
    return [
        {"ruleName": rule.name, "latestExecution": _rule_execution(rule, state) if state else None}
        for rule in declared.rules or ()
    ]


def _rule_execution(declared: RuleDeclaration, condition: ConditionState) -> Members | None:
    """A `RuleExecution`, or None for a rule that was not asked."""
    rule = next((each for each in condition.rules if each.rule.name == declared.name and each.asked), None)
    if rule is None or rule.asked is None:
        return None
    said = rule.outcome or rule.wait
    return {
        "ruleExecutionId": rule.asked.rule_execution_id,
        "status": rule_status(condition, rule),
        "summary": text(rule_summary(rule), SUMMARY),
        "lastStatusChange": rule_changed_at(condition, rule),
        "externalExecutionId": text(said.external_execution_id, EXTERNAL_ID) if said else None,
        "externalExecutionUrl": address(said.external_execution_url) if said else None,
        "errorDetails": error(rule.outcome.error_details) if rule.outcome else None,
    }
