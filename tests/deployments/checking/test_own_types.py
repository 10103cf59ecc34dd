"""Definitions with action types of one's own are checked by what these types say, wherever they are declared."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_codepipeline.deployments.checking.files import check_file, read_runnable
from prefect_codepipeline.deployments.checking.runnable import check_runnable
from prefect_codepipeline.deployments.files.own_types import rows_in, type_in
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration

DEPLOY = {"category": "Deploy", "owner": "Custom", "provider": "Acme", "version": "1"}
RESOURCE = {
    "Type": "AWS::CodePipeline::CustomActionType",
    "Properties": {
        "Category": "Deploy",
        "Provider": "Acme",
        "Version": 1,
        "ConfigurationProperties": [
            {"Name": "Site", "Required": "true", "Key": True, "Secret": False, "Queryable": "true"},
            {"Name": "Token", "Required": False, "Key": False, "Secret": True},
            {"Name": "Count", "Required": False, "Key": False, "Secret": False, "Type": "Number"},
        ],
        "InputArtifactDetails": {"MinimumCount": "1", "MaximumCount": 1},
        "OutputArtifactDetails": {"MinimumCount": 0, "MaximumCount": 0},
        "Settings": {"EntityUrlTemplate": "https://acme.test/{Config:Site}"},
        "Tags": [{"Key": "team", "Value": "a"}],
    },
}
ROWS = rows_in({"Acme": RESOURCE})


def pipeline(
    configuration: dict[str, str], inputs: tuple[str, ...] = ("Code",), **kind: str
) -> dict[str, Any]:
    source = {
        "name": "Source",
        "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"},
        "configuration": {"S3Bucket": "b", "S3ObjectKey": "k"},
        "outputArtifacts": [{"name": "Code"}],
    }
    action = {
        "name": "Release",
        "actionTypeId": {**DEPLOY, **kind},
        "configuration": configuration,
        "inputArtifacts": [{"name": name} for name in inputs],
    }
    return {
        "name": "shop",
        "roleArn": "arn:aws:iam::123456789012:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [{"name": "Source", "actions": [source]}, {"name": "Deploy", "actions": [action]}],
    }


def errors(wire: dict[str, Any]) -> list[str]:
    found = check_runnable(PipelineDeclaration.model_validate(wire), find_own=ROWS.get)
    return [problem.message for problem in found if problem.severity == "error"]


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (pipeline({"Site": "eu"}), None),
        (pipeline({"Site": "eu", "Token": "t", "Count": "1.5"}), None),
        (pipeline({}), "Action configuration for action 'Release' is missing required configuration 'Site'"),
        (
            pipeline({"Site": "eu", "Sight": "us"}),
            "Action configuration for action 'Release' contains unknown configuration 'Sight'",
        ),
        (
            pipeline({"Site": "not queryable!"}),
            "Action configuration for action 'Release' contains an invalid value for 'Site': 'not queryable!' is not "
            "of the form [a-zA-Z0-9_-]{1,20}",
        ),
        (
            pipeline({"Site": "eu", "Count": "many"}),
            "Action configuration for action 'Release' contains an invalid value for 'Count': 'many' is not a number",
        ),
        (
            pipeline({"Site": "eu"}, ()),
            "Action Release declares 0 input artifacts which is less than the minimum count (1)",
        ),
    ],
)
def test_an_action_is_checked_by_its_own_type(wire: dict[str, Any], message: str | None) -> None:
    assert errors(wire) == ([message] if message else [])


def test_a_type_that_does_not_exist_is_an_error_that_says_how_to_create_it() -> None:
    assert any("codepipeline action-type add" in each for each in errors(pipeline({}, version="2")))


def test_the_type_may_be_beside_the_definition_or_in_its_template(tmp_path: Path) -> None:
    definition = tmp_path / "shop.json"
    definition.write_text(json.dumps(pipeline({"Site": "eu"})))
    assert check_file(definition).has_errors
    (tmp_path / "shop.resources.yaml").write_text(yaml.safe_dump({"resources": {"Acme": RESOURCE}}))
    assert not check_file(definition).has_errors
    assert read_runnable(definition).declaration.name == "shop"


def test_templates_may_write_numbers_and_switches_as_texts() -> None:
    found = type_in(RESOURCE["Properties"])  # type: ignore[arg-type]
    assert found.input_artifact_details.minimum_count == 1
    assert found.configuration_properties[0].queryable is True
    assert found.version == "1"


def test_the_check_asks_for_each_type_once() -> None:
    asked = []

    def find(kind: Any) -> Any:
        asked.append(str(kind))
        return ROWS.get(kind)

    check = partial(check_runnable, find_own=find)
    check(PipelineDeclaration.model_validate(pipeline({"Site": "eu"})))
    assert asked == ["Deploy/Custom/Acme/1"]
