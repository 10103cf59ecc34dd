"""A part of the wrong shape is told which keys it must have, and what it is instead."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.model.validation import declare_or_problems

SOURCE = {"name": "Src", "actionTypeId": {"category": "Source"}}


@pytest.mark.parametrize(
    ("part", "path", "message"),
    [
        pytest.param(
            {"stages": [{"name": "A", "actions": [{**SOURCE, "actionTypeId": "Source/AWS/CodeCommit/1"}]}]},
            "stages[0].actions[0].actionTypeId",
            "this must be an object with 'category', 'owner', 'provider' and 'version', got 'Source/AWS/CodeCommit/1'",
            id="required keys",
        ),
        pytest.param(
            {"triggers": [{"gitConfiguration": {"push": [{"branches": ["main"]}]}}]},
            "triggers[0].gitConfiguration.push[0].branches",
            "this must be an object with 'includes' or 'excludes', got a list",
            id="optional keys",
        ),
        pytest.param(
            {"variables": ["A"]}, "variables[0]", "this must be an object with 'name', got 'A'", id="one key"
        ),
        pytest.param(
            {"stages": [None]}, "stages[0]", "this must be an object with 'name' and 'actions', got nothing", id="nothing"
        ),
        pytest.param({"stages": {"name": "A"}}, "stages", "this must be a list, got an object", id="no list"),
        pytest.param(
            {"artifactStore": {"type": "S3"}},
            "artifactStore.location",
            "Value at 'pipeline.artifactStore.location' failed to satisfy constraint: Member must not be null",
            id="a missing key",
        ),
    ],
)  # fmt: skip
def test_the_message_names_the_keys(part: dict[str, Any], path: str, message: str) -> None:
    _, problems = declare_or_problems(part)

    assert message in [problem.message for problem in problems if problem.path == path]
