"""Rule/AWS/VariableCheck/1 as the engine asks it."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.model.definition.conditions import RuleOutcome


@pytest.mark.parametrize(
    ("variable", "operator", "value", "status", "summary"),
    [
        ("#{Source.BranchName}", "EQ", "main", "Succeeded", "'main' is 'main'"),
        ("#{Source.BranchName}", "EQ", "beta", "Failed", "'main' is not 'beta'"),
        ("#{Source.BranchName}", "NE", "beta", "Succeeded", "'main' is not 'beta'"),
        ("#{Source.BranchName}", "NE", "main", "Failed", "'main' is 'main'"),
        ("#{Source.BranchName}", "CONTAINS", "ai", "Succeeded", "'main' contains 'ai'"),
        ("v-#{Source.BranchName}", "MATCHES", "v-ma.n", "Succeeded", "'v-main' matches 'v-ma.n'"),
        ("#{Source.BranchName}", "MATCHES", "ma", "Failed", "'main' does not match 'ma'"),
        ("main", "EQ", "#{Source.BranchName}", "Succeeded", "'main' is 'main'"),
    ],
)
def test_compares(asker: Any, variable: str, operator: str, value: str, status: str, summary: str) -> None:
    answer = asker.ask("VariableCheck", {"Variable": variable, "Operator": operator, "Value": value})

    assert (answer.status, answer.summary, answer.error_details) == (status, summary, None)
    assert answer.resolved_configuration["Variable"] == variable.replace("#{Source.BranchName}", "main")


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (
            {"Variable": "#{Build.Version}", "Operator": "EQ", "Value": "1"},
            "rule 'Check': #{Build.Version} could not be resolved: there is no namespace 'Build'",
        ),
        (
            {"Variable": "x", "Operator": "LIKE", "Value": "1"},
            "configuration of rule 'Check': Operator: Input should",
        ),
        (
            {"Variable": "x", "Operator": "MATCHES", "Value": "("},
            "Value: Value error, '(' is not a regular expression",
        ),
        ({"Variable": "x", "Operator": "EQ"}, "Value: Member must not be null"),
        ({"Variable": "x", "Operator": "EQ", "Value": "1", "Case": "no"}, "unknown key 'Case'"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(
    asker: Any, configuration: dict[str, str], message: str
) -> None:
    answer = asker.ask("VariableCheck", configuration)

    assert isinstance(answer, RuleOutcome)
    assert answer.errored
    assert message in answer.error_details.message  # type: ignore[union-attr]
