"""Conditions: what rules amount to, what becomes of the stage, who may override, and how texts compare."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from prefect_codepipeline.model.definition.conditions import (
    RuleOutcome,
    compare,
    condition_of,
    consequence_of,
    is_overridable,
    result_of,
    summary_of,
)
from prefect_codepipeline.model.definition.declaration import StageDeclaration
from prefect_codepipeline.model.records import ErrorDetails

NOW = datetime(2024, 7, 1, tzinfo=timezone.utc)


def outcome(short: str) -> RuleOutcome:
    """`S`, `A`, or a failure by its code."""
    status: Any = {"S": "Succeeded", "A": "Abandoned"}.get(short, "Failed")
    details = ErrorDetails(code=short, message="why") if status == "Failed" else None
    return RuleOutcome(
        rule=f"Rule{short}",
        rule_execution_id="r",
        status=status,
        started_at=NOW,
        ended_at=NOW,
        error_details=details,
    )


@pytest.mark.parametrize(
    ("outcomes", "rules", "status", "summary"),
    [
        ("", 1, "InProgress", "0 of 1 rules succeeded so far"),
        ("S", 1, "Succeeded", "rule 'RuleS' succeeded"),
        ("S", 2, "InProgress", "1 of 2 rules succeeded so far"),
        ("S S", 2, "Succeeded", "2 of 2 rules succeeded"),
        ("JobFailed", 2, "Failed", "rule 'RuleJobFailed' failed: why"),
        ("S Timeout", 2, "Failed", "rule 'RuleTimeout' failed: why"),
        ("ConfigurationError", 2, "Errored", "rule 'RuleConfigurationError' failed: why"),
        ("S PermissionError", 3, "Errored", "rule 'RulePermissionError' failed: why"),
        ("SystemUnavailable", 1, "Errored", "rule 'RuleSystemUnavailable' failed: why"),
        ("InternalError", 1, "Errored", "rule 'RuleInternalError' failed: why"),
        ("A", 1, "Abandoned", "rule 'RuleA' abandoned"),
        ("S A", 3, "Abandoned", "rule 'RuleA' abandoned"),
    ],
)
def test_a_condition_is_met_when_all_its_rules_are(
    outcomes: str, rules: int, status: str, summary: str
) -> None:
    known = [outcome(short) for short in outcomes.split()]

    assert result_of(known, rules) == status
    assert summary_of(known, rules) == summary


@pytest.mark.parametrize(
    ("kind", "result", "met", "not_met", "overridden"),
    [
        ("beforeEntry", "FAIL", "Proceed", "Fail", "Proceed"),
        ("beforeEntry", "SKIP", "Proceed", "Skip", "Proceed"),
        ("beforeEntry", None, "Proceed", "Fail", "Proceed"),
        ("onSuccess", "FAIL", "Proceed", "Fail", "Proceed"),
        ("onSuccess", "ROLLBACK", "Proceed", "Rollback", "Proceed"),
        ("onSuccess", None, "Proceed", "Fail", "Proceed"),
        # Only here the result is applied if the rules succeed: their success confirms the failure.
        ("onFailure", "ROLLBACK", "Rollback", "Fail", "Fail"),
        ("onFailure", "FAIL", "Fail", "Fail", "Fail"),
        ("onFailure", None, "Fail", "Fail", "Fail"),
    ],
)
def test_what_becomes_of_the_stage(kind: Any, result: Any, met: str, not_met: str, overridden: str) -> None:
    assert consequence_of(kind, result, "InProgress") == "Wait"
    assert consequence_of(kind, result, "Succeeded") == met
    assert consequence_of(kind, result, "Failed") == not_met
    assert consequence_of(kind, result, "Errored") == not_met
    assert consequence_of(kind, result, "Overridden") == overridden
    assert consequence_of(kind, result, "Abandoned") == "Stop"
    assert consequence_of(kind, result, "Cancelled") == "Stop"


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("beforeEntry", "ROLLBACK"),
        ("beforeEntry", "RETRY"),
        ("onSuccess", "SKIP"),
        ("onSuccess", "RETRY"),
        ("onFailure", "SKIP"),
        ("onFailure", "RETRY"),
    ],
)
def test_a_result_that_the_kind_has_not_is_refused(kind: Any, result: Any) -> None:
    with pytest.raises(ValueError, match=f"{kind} cannot have the result {result}"):
        consequence_of(kind, result, "InProgress")


@pytest.mark.parametrize(
    ("kind", "result", "overridable_when"),
    [
        ("beforeEntry", "FAIL", {"InProgress"}),
        ("beforeEntry", "SKIP", set()),
        ("onSuccess", "FAIL", {"InProgress", "Failed", "Errored"}),
        ("onSuccess", "ROLLBACK", {"InProgress", "Failed", "Errored"}),
        ("onFailure", "ROLLBACK", set()),
    ],
)
def test_what_may_be_overridden(kind: Any, result: Any, overridable_when: set[str]) -> None:
    statuses: Any = ("InProgress", "Failed", "Errored", "Succeeded", "Cancelled", "Abandoned", "Overridden")

    assert {status for status in statuses if is_overridable(kind, result, status)} == overridable_when


@pytest.mark.parametrize(
    ("actual", "operator", "expected", "holds"),
    [
        ("main", "EQ", "main", True),
        ("main", "EQ", "Main", False),
        ("main", "NE", "Main", True),
        ("main", "NE", "main", False),
        ("release/1.2", "CONTAINS", "ease", True),
        ("release/1.2", "CONTAINS", "EASE", False),
        ("release/1.2", "CONTAINS", r"\d", False),
        ("release/1.2", "MATCHES", r"release/\d+\.\d+", True),
        ("release/1.2", "MATCHES", "release", False),
        ("release/1.2", "MATCHES", "release/.*", True),
        ("release/1.2", "MATCHES", "(?i)RELEASE/.*", True),
        ("release/\u0661", "MATCHES", r"release/\d", False),
        ("main\n", "MATCHES", "main", False),
        ("", "EQ", "", True),
    ],
)
def test_operators(actual: str, operator: Any, expected: str, holds: bool) -> None:
    assert compare(actual, operator, expected) is holds


def test_a_pattern_that_cannot_be_read_is_explained() -> None:
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression: missing \)"):
        compare("x", "MATCHES", "(")


def test_the_condition_of_a_stage() -> None:
    rule = {"name": "R", "ruleTypeId": {"category": "Rule", "provider": "VariableCheck"}}
    kind = {"category": "Test", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
    stage = StageDeclaration.model_validate(
        {
            "name": "S",
            "actions": [{"name": "A", "actionTypeId": kind}],
            "beforeEntry": {"conditions": [{"result": "SKIP", "rules": [rule]}]},
            "onFailure": {"result": "RETRY"},
        }
    )
    before = condition_of(stage, "beforeEntry")

    assert before is not None
    assert before.result == "SKIP"
    assert condition_of(stage, "onSuccess") is None
    assert condition_of(stage, "onFailure") is None
