"""The JSON Schema takes what is right, refuses what is wrong, and tells an editor what there is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from prefect_codepipeline.model.validation.schema import pipeline_schema

SCHEMA = pipeline_schema()
VALIDATOR = Draft7Validator(SCHEMA)
ROOT = Path(__file__).parent.parent.parent
PIPELINES = [
    ROOT.parent / "examples" / "hello" / "pipeline.json",
    *sorted((ROOT / "data" / "pipelines").glob("*.json")),
]
SHOP = json.loads((ROOT / "data" / "pipelines" / "shop-release.json").read_text())


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_real_pipelines_agree_bare_and_as_aws_prints_them(path: Path) -> None:
    content = json.loads(path.read_text())

    assert list(VALIDATOR.iter_errors(content)) == []
    assert list(VALIDATOR.iter_errors(content["pipeline"])) == []


def changed(path: str, value: Any) -> dict[str, Any]:
    content: dict[str, Any] = copy.deepcopy(SHOP)
    place: Any = content["pipeline"]
    *parents, last = path.split(".")
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "a b"),
        ("stagess", []),
        ("executionMode", "FAST"),
        ("stages", []),
        ("roleArn", None),
        ("stages.0.actions.0.runOrder", "1"),
        ("stages.0.actions.0.actionTypeId.category", "Sorce"),
        ("stages.0.actions.0.configuration.BranchName", None),
        ("stages.0.actions.0.configuration.Branch", "main"),
        ("stages.0.actions.0.configuration.DetectChanges", "no"),
        ("stages.0.actions.0.configuration", None),
        ("stages.0.actions.0.outputArtifacts", []),
        ("stages.1.actions.1.configuration.ProjectName", ""),
        ("stages.2.beforeEntry.conditions.0.rules.0.configuration.Operator", "EQUALS"),
        ("stages.2.beforeEntry.conditions.0.rules.0.configuration.Value", None),
    ],
)
def test_what_is_wrong_is_refused(path: str, value: Any) -> None:
    assert list(VALIDATOR.iter_errors(changed(path, value)))


def test_a_variable_may_stand_for_any_value() -> None:
    assert not list(
        VALIDATOR.iter_errors(changed("stages.2.actions.0.configuration.Extract", "#{variables.Env}"))
    )


def test_a_rule_of_ones_own_has_keys_of_its_own() -> None:
    rule = "stages.2.beforeEntry.conditions.0.rules.0"
    own = changed(f"{rule}.ruleTypeId.owner", "Custom")
    own["pipeline"]["stages"][2]["beforeEntry"]["conditions"][0]["rules"][0]["configuration"] = {
        "Any": "thing"
    }

    assert not list(VALIDATOR.iter_errors(own))
    assert not list(VALIDATOR.iter_errors(changed(f"{rule}.ruleTypeId.owner", None)))


def test_every_field_is_described_and_every_provider_named() -> None:
    for name, definition in SCHEMA["definitions"].items():
        for field, schema in definition["properties"].items():
            assert schema["description"], f"{name}.{field}"
    assert "CodeBuild" in SCHEMA["definitions"]["ActionTypeId"]["properties"]["provider"]["examples"]
    described = json.loads(
        (
            ROOT.parent / "prefect_codepipeline" / "model" / "validation" / "field_descriptions.json"
        ).read_text()
    )
    assert {name: set(fields) for name, fields in described.items()} == {
        name: set(definition["properties"]) for name, definition in SCHEMA["definitions"].items()
    }
