"""Conditions of a stage: the result of their rules, and the consequence for the stage.

https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works-conditions.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from prefect_codepipeline.model.definition.declaration import Condition, ConditionResult, StageDeclaration
from prefect_codepipeline.model.records import ErrorDetails, Record

ConditionKind = Literal["beforeEntry", "onSuccess", "onFailure"]
ConditionType = Literal["BEFORE_ENTRY", "ON_SUCCESS"]
ConditionStatus = Literal[
    "InProgress", "Failed", "Errored", "Succeeded", "Cancelled", "Abandoned", "Overridden"
]
Consequence = Literal["Wait", "Proceed", "Fail", "Skip", "Rollback", "Stop"]
Operator = Literal["EQ", "NE", "CONTAINS", "MATCHES"]

KIND_OF_TYPE: dict[ConditionType, ConditionKind] = {
    "BEFORE_ENTRY": "beforeEntry",
    "ON_SUCCESS": "onSuccess",
}
RESULTS: dict[ConditionKind, tuple[ConditionResult, ...]] = {
    "beforeEntry": ("FAIL", "SKIP"),
    "onSuccess": ("FAIL", "ROLLBACK"),
    # RETRY is a result of `onFailure` itself, never of a condition.
    "onFailure": ("ROLLBACK", "FAIL"),
}
WHEN: dict[ConditionKind, str] = {
    "beforeEntry": "before entry",
    "onSuccess": "on success",
    "onFailure": "on failure",
}
# A rule that fails with one of these codes could not be evaluated; its answer is not "no".
ERROR_CODES = frozenset({"ConfigurationError", "PermissionError", "SystemUnavailable", "InternalError"})
_CONSEQUENCES: dict[ConditionResult, Consequence] = {
    "FAIL": "Fail",
    "SKIP": "Skip",
    "ROLLBACK": "Rollback",
}


class RuleOutcome(Record):
    """The result of one rule: the fields of AWS's RuleExecutionDetail that are known here.

    Secrets in `resolved_configuration` are masked.
    """

    rule: str
    rule_execution_id: str
    status: Literal["Succeeded", "Failed", "Abandoned"]
    started_at: datetime
    ended_at: datetime
    summary: str = ""
    error_details: ErrorDetails | None = None
    external_execution_id: str | None = None
    external_execution_url: str | None = None
    resolved_configuration: dict[str, str] = Field(default_factory=dict)

    @property
    def errored(self) -> bool:
        """Whether the rule could not be evaluated at all."""
        return bool(self.error_details and self.error_details.code in ERROR_CODES)


class RuleWait(Record):
    """A rule without an answer yet: evaluate it again at `at` (UTC), with the same `memory`."""

    rule: str
    rule_execution_id: str
    started_at: datetime
    at: datetime
    summary: str = ""
    memory: dict[str, str] = Field(default_factory=dict)
    external_execution_id: str | None = None
    external_execution_url: str | None = None


def condition_of(stage: StageDeclaration, kind: ConditionKind) -> Condition | None:
    """The condition of that kind, or None if the stage has none or the condition has no rules."""
    holder = {
        "beforeEntry": stage.before_entry,
        "onSuccess": stage.on_success,
        "onFailure": stage.on_failure,
    }[kind]
    conditions = holder.conditions if holder else None
    return conditions[0] if conditions and conditions[0].rules else None


def result_of(outcomes: Sequence[RuleOutcome], rules: int) -> ConditionStatus:
    """The status of a condition with `rules` rules, which are evaluated in order until one does not succeed.

    Succeeded if all rules succeeded. The first rule that does not succeed ends the condition as Failed or Errored.
    Abandoned if the execution was stopped meanwhile. Otherwise InProgress.
    """
    for outcome in outcomes:
        if outcome.status == "Abandoned":
            return "Abandoned"
        if outcome.status == "Failed":
            return "Errored" if outcome.errored else "Failed"
    return "Succeeded" if len(outcomes) >= rules else "InProgress"


def consequence_of(
    kind: ConditionKind, result: ConditionResult | None, status: ConditionStatus
) -> Consequence:
    """The consequence for a stage whose condition of that kind has that status.

    Before entry and on success, the result is applied if the condition is *not* met. On failure, it is applied if the
    condition *is* met (an alarm triggers a rollback). `Proceed`: the first action runs, or the stage has succeeded.
    `Fail`: the stage has failed, or stays failed. A condition without a result fails its stage.

    Raises:
        ValueError: a condition of that kind cannot have that result.
    """
    if result is not None and result not in RESULTS[kind]:
        raise ValueError(f"a condition {kind} cannot have the result {result}; it can have {RESULTS[kind]}")
    if status == "InProgress":
        return "Wait"
    if status in ("Abandoned", "Cancelled"):
        return "Stop"
    consequence = _CONSEQUENCES[result or "FAIL"]
    if kind == "onFailure":
        return consequence if status == "Succeeded" else "Fail"
    return "Proceed" if status in ("Succeeded", "Overridden") else consequence


def is_overridable(kind: ConditionKind, result: ConditionResult | None, status: ConditionStatus) -> bool:
    """Whether OverrideStageCondition may end the condition; if not, it raises ConditionNotOverridableException.

    https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_OverrideStageCondition.html
    """
    if kind == "beforeEntry":
        return status == "InProgress" and result != "SKIP"
    return kind == "onSuccess" and status in ("InProgress", "Failed", "Errored")


def summary_of(outcomes: Sequence[RuleOutcome], rules: int) -> str:
    """One sentence that explains the status of the condition, for states, messages and the command line."""
    last = outcomes[-1] if outcomes else None
    if last and last.status != "Succeeded":
        why = last.error_details.message if last.error_details else last.summary
        return f"rule {last.rule!r} {last.status.lower()}{f': {why}' if why else ''}"
    if len(outcomes) >= rules:
        return (
            f"{rules} of {rules} rules succeeded"
            if rules != 1
            else f"rule {last.rule!r} succeeded"
            if last
            else ""
        )
    return f"{len(outcomes)} of {rules} rules succeeded so far"


def compare(actual: str, operator: Operator, expected: str) -> bool:
    """Compare two strings as a rule does, case sensitive. `MATCHES`: a regular expression matches all of `actual`.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-VariableCheck.html

    Raises:
        ValueError: the regular expression is invalid.
    """
    if operator == "EQ":
        return actual == expected
    if operator == "NE":
        return actual != expected
    if operator == "CONTAINS":
        return expected in actual
    return bool(read_pattern(expected).fullmatch(actual))


def read_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression of `MATCHES`. Raises `ValueError`."""
    try:
        return re.compile(pattern, re.ASCII)  # as in Java, \d and \w match only ASCII
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
