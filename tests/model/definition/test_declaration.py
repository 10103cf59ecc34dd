"""The declaration reads what AWS prints, refuses what AWS's model refuses, and writes it back in AWS's shape."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from api_checks import with_defaults
from pydantic import ValidationError

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import problems_of

PIPELINES = sorted((Path(__file__).parent.parent.parent / "data" / "pipelines").glob("*.json"))

MINIMAL: dict[str, Any] = {
    "name": "p",
    "roleArn": "arn:aws:iam::111122223333:role/p",
    "artifactStore": {"type": "S3", "location": "bucket"},
    "stages": [
        {
            "name": "S",
            "actions": [
                {
                    "name": "A",
                    "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"},
                }
            ],
        }
    ],
}


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_real_pipelines_parse_and_come_back_as_aws_returns_them(path: Path) -> None:
    wire = json.loads(path.read_text())["pipeline"]

    model = PipelineDeclaration.model_validate(wire)

    assert model.to_wire() == with_defaults(wire)
    assert PipelineDeclaration.model_validate(model.to_wire()) == model


def changed(path: str, value: Any) -> dict[str, Any]:
    wire = copy.deepcopy(MINIMAL)
    place: Any = wire
    *parents, last = path.split(".")
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    return wire


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        pytest.param("name", "a b", "name: Value 'a b' at 'pipeline.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [A-Za-z0-9.@\\-_]+", id="name with a space"),
        pytest.param("name", "a\n", "name: Value 'a\n' at 'pipeline.name' failed", id="name with a newline at its end"),
        pytest.param("name", "x" * 101, "Member must have length less than or equal to 100 (its length is 101, at most 100 is allowed)", id="name too long"),
        pytest.param("stagez", [], "stagez: unknown key 'stagez' (did you mean 'stages'?)", id="unknown key"),
        pytest.param("roleArn", "role", "roleArn: Value 'role' at 'pipeline.roleArn' failed to satisfy constraint: Member must satisfy regular", id="role that is no ARN"),
        pytest.param(
            "stages.0.actions.0.runOrder", 1000, "Value '1000' at 'pipeline.stages.1.member.actions.1.member.runOrder' failed to satisfy constraint: Member must have value less than or equal to 999",
            id="runOrder too high",
        ),
        pytest.param(
            "stages.0.actions.0.runOrder", "1", "stages[0].actions[0].runOrder: this must be a whole number, got '1'",
            id="runOrder as a string",
        ),
        pytest.param(
            "stages.0.actions.0.configuration", {"K": 1}, "stages[0].actions[0].configuration.K: this must be a string, got 1",
            id="a number as a configuration value",
        ),
        pytest.param(
            "stages.0.actions.0.configuration", {"K": ""}, "stages[0].actions[0].configuration.K: Value at 'pipeline.stages.1.member.actions.1.member.configuration' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 1000, Member must have length greater than or equal to 1]",
            id="an empty configuration value",
        ),
        pytest.param(
            "stages.0.actions.0.commmands", ["x"], "did you mean 'commands'?", id="unknown key of an action",
        ),
        pytest.param("executionMode", "FAST", "executionMode: Value 'FAST' at 'pipeline.executionMode' failed to satisfy constraint: Member must satisfy enum value set: [QUEUED, SUPERSEDED, PARALLEL]", id="unknown mode"),
        pytest.param("stages.0.actions.0.timeoutInMinutes", 4, "greater than or equal to 5", id="short timeout"),
        pytest.param(
            "stages.0.actions.0.commands", ["make", ""], "stages[0].actions[0].commands[1]: Value at 'pipeline.stages.1.member.actions.1.member.commands' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 1000, Member must have length greater than or equal to 1]",
            id="an empty command",
        ),
        pytest.param(
            "stages.0.actions.0.configuration", {"K" * 51: "v"}, "Map keys must satisfy constraint: [Member must have length less than or equal to 50, Member must have length greater than or equal to 1]",
            id="a long configuration key",
        ),
        pytest.param(
            "stages.0.actions.0.actionTypeId.category", "Sourc", "enum value set: [Source, Build, Deploy, Test, Invoke, Approval, Compute] (did you mean 'Source'?)",
            id="unknown category",
        ),
        pytest.param("stages.0.actions", [], "greater than or equal to 1", id="no action"),
        pytest.param("roleArn", None, "roleArn: this must be a string, got nothing", id="null"),
    ],
)  # fmt: skip
def test_a_field_out_of_bounds_is_refused_with_its_place(path: str, value: Any, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PipelineDeclaration.model_validate(changed(path, value))

    assert problem in "\n".join(str(found) for found in problems_of(caught.value, PipelineDeclaration))


def test_all_problems_are_found_at_once() -> None:
    wire = changed("name", "")
    wire["stages"][0]["name"] = "a b"
    del wire["roleArn"]

    with pytest.raises(ValidationError) as caught:
        PipelineDeclaration.model_validate(wire)

    assert {problem.path for problem in problems_of(caught.value)} == {"name", "roleArn", "stages[0].name"}


def test_the_value_of_a_secret_is_not_in_the_problem() -> None:
    with pytest.raises(ValidationError) as caught:
        PipelineDeclaration.model_validate(
            changed("stages.0.actions.0.configuration", {"OAuthToken": "planted-secret" * 100})
        )

    assert "planted-secret" not in str(problems_of(caught.value))
