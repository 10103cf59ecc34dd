"""What this version cannot run is refused by its place, and never ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.actions.registry import get_provider
from prefect_codepipeline.deployments.checking import runnable
from prefect_codepipeline.deployments.checking.files import read_runnable
from prefect_codepipeline.deployments.checking.runnable import Runnable, check_runnable
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import InvalidDefinition

HELLO = Path(__file__).parent.parent.parent.parent / "examples" / "hello" / "pipeline.json"
SHOP = Path(__file__).parent.parent.parent / "data" / "pipelines" / "shop-release.json"


def hello() -> Any:
    return json.loads(HELLO.read_text())["pipeline"]


def check(wire: Any) -> list[str]:
    return [
        str(problem)
        for problem in check_runnable(PipelineDeclaration.model_validate(wire))
        if problem.severity == "error"
    ]


def test_the_example_can_run() -> None:
    assert check(hello()) == []


def test_a_definition_from_a_file_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def check_and_count(declaration: PipelineDeclaration, **options: Any) -> list[Any]:
        checked.append(declaration.name)
        return check_runnable(declaration, **options)

    monkeypatch.setattr(runnable, "check_runnable", check_and_count)
    monkeypatch.setattr("prefect_codepipeline.deployments.checking.files.check_runnable", check_and_count)

    read = read_runnable(HELLO)

    assert Runnable.of(read) is read
    assert checked == ["hello"]


def test_a_declaration_that_no_file_was_read_for_is_checked() -> None:
    wire = hello()
    wire["stages"][0]["actions"][0]["actionTypeId"]["provider"] = "Nothing"

    with pytest.raises(InvalidDefinition, match="pipeline 'hello' cannot run: "):
        Runnable.of(PipelineDeclaration.model_validate(wire))


def test_a_pipeline_in_several_regions_can_run():
    store = {"type": "S3", "location": "bucket"}
    stores = {"artifactStore": None, "artifactStores": {"eu-west-1": store, "us-east-1": store}}

    assert not any("artifactStores" in found for found in check(hello() | stores))


def test_triggers_for_pushes_and_pull_requests_can_run() -> None:
    wire = json.loads(SHOP.read_text())["pipeline"]
    problems = [
        problem
        for problem in check_runnable(PipelineDeclaration.model_validate(wire))
        if problem.path.startswith("triggers")
    ]

    assert problems == []


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        pytest.param(
            {"owner": "AWS", "provider": "LambdaInvoke"},
            "rule type Rule/AWS/LambdaInvoke/1 is not available yet: it answers through the job result API",
            id="a rule of AWS that comes later",
        ),
        pytest.param(
            {"owner": "Custom", "provider": "Htp"},
            "there is no rule type Rule/Custom/Htp/1",
            id="a rule of one's own that nobody has",
        ),
    ],
)
def test_a_rule_that_cannot_run_is_refused_by_its_place(kind: Any, problem: str) -> None:
    wire = hello()
    rule = {
        "name": "R",
        "ruleTypeId": {"category": "Rule", "version": "1", **kind},
        "configuration": {"FunctionName": "f"},
    }
    wire["stages"][1]["beforeEntry"] = {"conditions": [{"result": "FAIL", "rules": [rule]}]}

    (found,) = check(wire)

    assert found.startswith(f"stages[1].beforeEntry.conditions[0].rules[0].ruleTypeId: {problem}")


@pytest.mark.parametrize("field", ["beforeEntry", "onSuccess"])
def test_what_is_wrong_with_a_rule_is_said_once(field: str) -> None:
    wire = hello()
    wire["stages"][1][field] = {
        "conditions": [
            {
                "result": "FAIL",
                "rules": [
                    {
                        "name": "R",
                        "ruleTypeId": {"category": "Rule", "provider": "DeploymentWindow", "version": "1"},
                        "configuration": {"Cron": "never", "Zone": "UTC"},
                        "commands": ["make"],
                    }
                ],
            }
        ]
    }

    places = [found.partition(": ")[0].rpartition("rules[0].")[2] for found in check(wire)]

    assert sorted(places) == ["commands", "configuration.Cron", "configuration.Zone"]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("Invoke/AWS/Lambda/1", "is not available yet: the function answers through the job result API"),
        ("Deploy/AWS/OpsWorks/1", "does not run here: AWS ended OpsWorks"),
        ("Invoke/ThirdParty/Snyk/1", "does not run here: job workers serve it"),
        (
            "Deploy/Custom/OurTool/1",
            "does not run here: job workers run custom actions; no installed package",
        ),
    ],
)
def test_a_type_that_does_not_run_here_is_refused_with_the_reason(kind: str, why: str) -> None:
    wire = hello()
    action = wire["stages"][3]["actions"][0]
    action["actionTypeId"] = dict(
        zip(("category", "owner", "provider", "version"), kind.split("/"), strict=True)
    )
    action["configuration"] = {}

    found = [each for each in check(wire) if "actionTypeId" in each]

    assert [each.partition(";")[0] for each in found if f"action type {kind} {why}" in each]
    with pytest.raises(ActionFailed, match=f"action type {kind} {why}"):
        get_provider(PipelineDeclaration.model_validate(wire).stages[3].actions[0].action_type_id)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(
            {"inputArtifacts": []},
            "declares 0 input artifacts which is less than the minimum count (1)",
            id="too few inputs",
        ),
        pytest.param(
            {"configuration": {"ComputeTyp": "BUILD_GENERAL1_SMALL"}},
            "contains unknown configuration 'ComputeTyp' (did you mean 'ComputeType'?)",
            id="unknown configuration",
        ),
        pytest.param(
            {"configuration": {"ComputeType": "HUGE"}},
            "stages[3].actions[0].configuration.ComputeType",
            id="bad value",
        ),
    ],
)
def test_an_action_that_its_provider_would_refuse(change: Any, problem: str) -> None:
    wire = hello()
    kind = {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"}
    wire["stages"][3]["actions"][0] |= {
        "actionTypeId": kind,
        "configuration": {},
        "commands": ["true"],
        **change,
    }

    assert any(problem in found for found in check(wire))


def test_a_required_key_that_is_missing_is_said_in_aws_words() -> None:
    wire = hello()
    del wire["stages"][0]["actions"][0]["configuration"]["BranchName"]

    assert any(
        "Action configuration for action 'Checkout' is missing required configuration 'BranchName'" in found
        for found in check(wire)
    )


def test_a_value_that_only_a_variable_knows_is_checked_later() -> None:
    wire = hello()
    extract = {"BucketName": "site", "Extract": "#{variables.PublishTo}"}
    kind = {"category": "Deploy", "owner": "AWS", "provider": "S3", "version": "1"}
    wire["stages"][3]["actions"][0] |= {"actionTypeId": kind, "configuration": extract}

    assert check(wire) == []


def test_change_detection_can_run() -> None:
    wire = hello()
    wire["stages"][0]["actions"][0]["configuration"]["DetectChanges"] = "true"

    problems = check_runnable(PipelineDeclaration.model_validate(wire))

    assert problems == []
