"""A rule that cannot run here is refused by its place, when the pipeline is deployed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.deployments.checking.runnable import check_runnable
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration, RuleDeclaration
from prefect_codepipeline.model.validation import Problem

PLACE = "stages[1].beforeEntry.conditions[0].rules[0]"
HELLO = Path(__file__).parent.parent.parent.parent / "examples" / "hello" / "pipeline.json"
ELSEWHERE = {"reference-to-earlier-namespace", "variable-declared", "artifact-made-before-rule"}
CHECK = {"Variable": "#{Source.BranchName}", "Operator": "EQ", "Value": "main"}


def rule(
    provider: str, configuration: dict[str, str] | None = None, owner: str = "AWS", **fields: Any
) -> Any:
    kind = {"category": "Rule", "owner": owner, "provider": provider, "version": "1"}
    wire = {"name": "Check", "ruleTypeId": kind, "configuration": configuration, **fields}
    return RuleDeclaration.model_validate(wire)


def check_rule(declared: RuleDeclaration) -> list[Problem]:
    """What is found at a rule when its pipeline is deployed, but for what it refers to elsewhere."""
    wire = json.loads(HELLO.read_text())["pipeline"]
    condition = {"result": "FAIL", "rules": [declared.to_wire()]}
    wire["stages"][1]["beforeEntry"] = {"conditions": [condition]}
    problems = check_runnable(PipelineDeclaration.model_validate(wire))
    return [found for found in problems if found.path.startswith(PLACE) and found.rule not in ELSEWHERE]


@pytest.mark.parametrize(
    "declared",
    [
        rule("VariableCheck", CHECK),
        rule("VariableCheck", CHECK | {"Operator": "#{variables.How}"}),
        rule("VariableCheck", CHECK | {"Operator": "MATCHES", "Value": "#{variables.Pattern}("}),
        rule("DeploymentWindow", {"Cron": "* * 9-17 ? * MON-FRI *", "TimeZone": "PST"}),
        rule("DeploymentWindow", {"Cron": "#{variables.Window}"}),
        rule("Commands", commands=["make check"], inputArtifacts=[{"name": "App"}]),
        rule("CodeBuild", {"ProjectName": "p"}, inputArtifacts=[{"name": "App"}]),
        rule("CloudWatchAlarm", {"AlarmName": "Errors", "WaitTime": "60"}),
        rule("Http", {"Url": "https://example.com/health"}, owner="Custom"),
        rule("Http", {"Url": "#{variables.Url}", "Query": "a", "Value": "#{variables.V}"}, owner="Custom"),
        rule("PrefectFlow", {"Deployment": "smoke/test"}, owner="Custom"),
    ],
    ids=lambda declared: str(declared.configuration),
)
def test_what_can_run_has_no_problem(declared: RuleDeclaration) -> None:
    assert list(check_rule(declared)) == []


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (
            rule("LambdaInvoke", {"FunctionName": "f"}),
            "ruleTypeId: rule type Rule/AWS/LambdaInvoke/1 is not available",
        ),
        (rule("VariableChek", CHECK), "is not available (did you mean 'VariableCheck'?)"),
        (
            rule("VariableCheck", {"Variable": "#{a.b}", "Operator": "EQ"}),
            "is missing required configuration 'Value'",
        ),
        (
            rule("VariableCheck", CHECK | {"Valu": "x"}),
            "configuration.Valu: Rule configuration for rule 'Check' contains unknown configuration 'Valu' "
            "(did you mean 'Value'?)",
        ),
        (
            rule("VariableCheck", CHECK | {"Operator": "LIKE"}),
            "contains an invalid value for 'Operator': 'LIKE' is not one of EQ, NE, CONTAINS, MATCHES",
        ),
        (
            rule("VariableCheck", CHECK | {"Operator": "MATCHES", "Value": "("}),
            "contains an invalid value for 'Value': '(' is not a regular expression",
        ),
        (rule("DeploymentWindow", {"Cron": "0 9 * * MON"}), "is not valid: '0 9 * * MON' has 5 fields"),
        (
            rule("DeploymentWindow", {"Cron": "* * 9 ? * *", "TimeZone": "Mars"}),
            "is not valid: there is no time zone 'Mars'",
        ),
        (rule("Commands"), "commands: Rule Check must have a non-empty commands field"),
        (rule("Commands", commands=["a\nb"]), "commands[0]: a command is a single line"),
        (
            rule("VariableCheck", CHECK, commands=["make"]),
            "commands: only Commands rules can have this field",
        ),
        (
            rule("VariableCheck", CHECK, inputArtifacts=[{"name": "App"}]),
            "inputArtifacts: Rule Check declares 1 input artifacts which exceeds the maximum count (0)",
        ),
        (rule("Http", {"Url": "example.com"}, owner="Custom"), "configuration.Url: it must start with http"),
        (
            rule("Http", {"Url": "http://x", "Query": "a"}, owner="Custom"),
            "configuration: 'Query' and 'Value' need each other",
        ),
    ],
)
def test_what_cannot_run_is_refused(declared: RuleDeclaration, problem: str) -> None:
    (found,) = check_rule(declared)

    assert found.severity == "error"
    assert found.exception == "InvalidStageDeclarationException"
    assert str(found).startswith(f"{PLACE}.")
    assert problem in str(found)


@pytest.mark.parametrize(
    ("declared", "warning"),
    [
        (
            rule("VariableCheck", CHECK | {"Variable": "Source.BranchName"}),
            "is not a reference, so this text itself is compared",
        ),
        (
            rule("CloudWatchAlarm", {"AlarmName": "Errors", "WaitTime": "60"}, timeoutInMinutes=30),
            "timeoutInMinutes: the rule times out after 30 minutes, before its WaitTime of 60 minutes ends",
        ),
    ],
)
def test_what_will_surprise_is_a_warning(declared: RuleDeclaration, warning: str) -> None:
    (found,) = check_rule(declared)

    assert found.severity == "warning"
    assert warning in str(found)
