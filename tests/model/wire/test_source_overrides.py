"""Source revisions of a start request: which action takes which type, and what it is given."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.wire.source_overrides import override_of, source_overrides


def source(name: str, provider: str, owner: str = "AWS", **configuration: str) -> dict[str, Any]:
    kind = {"category": "Source", "owner": owner, "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind, "configuration": configuration}


DECLARATION = PipelineDeclaration.model_validate(
    {
        "name": "shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {
                "name": "Source",
                "actions": [
                    source("Git", "CodeStarSourceConnection"),
                    source("Old", "GitHub", "ThirdParty"),
                    source("Image", "ECR"),
                    source("Any", "S3", AllowOverrideForS3ObjectKey="true"),
                    source("One", "S3"),
                    source("Own", "S3", "Custom"),
                ],
            },
        ],
    }
)


def given(action: str, kind: str, value: str = "v") -> dict[str, str]:
    return {"actionName": action, "revisionType": kind, "revisionValue": value}


@pytest.mark.parametrize(
    ("overrides", "values"),
    [
        pytest.param([given("Git", "COMMIT_ID", "c0ffee")], {"Git": "c0ffee"}, id="a commit"),
        pytest.param([given("Old", "COMMIT_ID")], {"Old": "v"}, id="a commit of GitHub's first version"),
        pytest.param([given("Image", "IMAGE_DIGEST", "sha256:1")], {"Image": "sha256:1"}, id="an image"),
        pytest.param([given("One", "S3_OBJECT_VERSION_ID")], {"One": "S3_OBJECT_VERSION_ID=v"}, id="a version"),
        pytest.param([given("Any", "S3_OBJECT_KEY", "a,b=c")], {"Any": "S3_OBJECT_KEY=a,b=c"}, id="a key"),
        pytest.param(
            [given("Any", "S3_OBJECT_KEY", "k"), given("Any", "S3_OBJECT_VERSION_ID")],
            {"Any": "S3_OBJECT_VERSION_ID=v,S3_OBJECT_KEY=k"},
            id="a key and a version, in any order",
        ),
        pytest.param([given("Own", "COMMIT_ID", "r1")], {"Own": "r1"}, id="of a custom source"),
        pytest.param(
            [given("Git", "COMMIT_ID", "a"), given("One", "S3_OBJECT_VERSION_ID")],
            {"Git": "a", "One": "S3_OBJECT_VERSION_ID=v"},
            id="of two actions",
        ),
        pytest.param([], {}, id="none"),
    ],
)  # fmt: skip
def test_each_source_gets_what_it_takes(overrides: Any, values: dict[str, str]) -> None:
    assert source_overrides(DECLARATION, overrides) == (values, [])


@pytest.mark.parametrize(
    ("overrides", "mistake"),
    [
        pytest.param([given("Git", "IMAGE_DIGEST")], "takes no revision of type IMAGE_DIGEST (it takes: COMMIT_ID)", id="an image of a repository"),
        pytest.param([given("Image", "COMMIT_ID")], "'Image' of provider ECR takes no revision of type COMMIT_ID", id="a commit of an image"),
        pytest.param([given("One", "COMMIT_ID")], "(it takes: S3_OBJECT_VERSION_ID, S3_OBJECT_KEY)", id="a commit of an object"),
        pytest.param([given("Own", "S3_OBJECT_KEY")], "takes no revision of type S3_OBJECT_KEY", id="of a custom source"),
        pytest.param([given("One", "S3_OBJECT_KEY")], "does not allow another object key", id="a key that is not allowed"),
        pytest.param([given("One", "S3_OBJECT_VERSION_ID", "v,S3_OBJECT_KEY=k")], "is not the version of an object", id="a key inside of a version"),
        pytest.param([given("Git", "COMMIT_ID")] * 2, "several revisions of type COMMIT_ID for action 'Git'", id="twice"),
        pytest.param([given("No", "COMMIT_ID")], "it has no source action 'No' (it has: Git, Old, Image, Any, One, Own)", id="no such action"),
    ],
)  # fmt: skip
def test_what_an_action_cannot_take_is_a_mistake(overrides: Any, mistake: str) -> None:
    _, mistakes = source_overrides(DECLARATION, overrides)

    assert len(mistakes) == 1
    assert mistake in mistakes[0]


@pytest.mark.parametrize(
    ("action", "text"), [("Git", "r"), ("Image", "r"), ("One", "S3_OBJECT_VERSION_ID=r"), ("Own", "r")]
)
def test_a_revision_of_put_action_revision_becomes_an_override(action: str, text: str) -> None:
    declared = next(each for each in DECLARATION.stages[0].actions if each.name == action)

    assert override_of(declared, "r") == text
