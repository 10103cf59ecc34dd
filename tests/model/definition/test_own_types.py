"""Action types of one's own: what a definition of one may say, its row for `validate`, and the URLs of its templates."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.definition.own_types import CustomActionType, check_type, filled_url
from prefect_codepipeline.model.definition.published_types import declaration_of, type_in
from prefect_codepipeline.model.stored.action_type import StoredActionType


def declared(name: str, **other: Any) -> dict[str, Any]:
    return {"name": name, "required": True, "key": False, "secret": False, **other}


def custom_type(*properties: dict[str, Any], **other: Any) -> CustomActionType:
    given = {
        "category": "Build",
        "provider": "Acme",
        "version": "1",
        "configurationProperties": list(properties),
        "inputArtifactDetails": {"minimumCount": 0, "maximumCount": 1},
        "outputArtifactDetails": {"minimumCount": 1, "maximumCount": 2},
    }
    return CustomActionType.model_validate({**given, **other})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            custom_type(declared("A", queryable=True), declared("B", queryable=True)),
            "Multiple queryable configuration properties found with names 'A, B'. "
            "Up to one queryable property may be specified.",
        ),
        (
            custom_type(declared("A", queryable=True, secret=True)),
            "Invalid queryable property 'A'. Queryable configuration properties must be required and non-secret.",
        ),
        (
            custom_type(declared("A", queryable=True, required=False)),
            "Invalid queryable property 'A'. Queryable configuration properties must be required and non-secret.",
        ),
        (
            custom_type(outputArtifactDetails={"minimumCount": 2, "maximumCount": 1}),
            "Maximum Number of Artifacts (1) has to be greater than or equal to minimum (2).",
        ),
        (
            custom_type(declared("A"), declared("A", secret=True)),
            "The configuration property 'A' is declared more than once; names must be unique.",
        ),
        (
            custom_type(
                declared("A", secret=True), settings={"entityUrlTemplate": "https://ci.test/{Config:A}"}
            ),
            "The URL template 'https://ci.test/{Config:A}' uses the configuration property 'A', which is not a "
            "required and non-secret property of the action type.",
        ),
    ],
)
def test_a_type_that_contradicts_itself_is_refused(kind: CustomActionType, message: str) -> None:
    with pytest.raises(ValidationException) as refused:
        check_type(kind)
    assert str(refused.value) == message


def test_a_type_that_is_complete_passes() -> None:
    check_type(
        custom_type(
            declared("Project", key=True, queryable=True),
            declared("Token", secret=True),
            settings={"executionUrlTemplate": "https://ci.test/{Config:Project}/{ExternalExecutionId}"},
        )
    )


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("https://ci.test/{Config:Job}", "https://ci.test/my%20shop/%3Fa%23b"),
        ("https://ci.test/{Config:Job}/{ExternalExecutionId}/", "https://ci.test/my%20shop/%3Fa%23b/7/"),
        ("{Config:Base}/x", "https://ci.test:80/x"),
        ("https://ci.test/{Config:Missing}", None),
        ("https://ci.test/{region}", "https://ci.test/{region}"),
        (None, None),
    ],
)
def test_a_template_becomes_a_url(template: str | None, url: str | None) -> None:
    configuration = {"Job": "my shop/?a#b", "Base": "https://ci.test:80"}
    assert filled_url(template, configuration, "7") == url


def test_a_template_with_the_id_of_a_run_gives_no_url_before_there_is_one() -> None:
    assert filled_url("https://ci.test/{ExternalExecutionId}", {}) is None


def test_a_published_type_is_the_same_as_declaration_and_as_custom_type() -> None:
    given = custom_type(
        declared("Project", key=True, queryable=True, description="Which."),
        declared("Token", secret=True, required=False),
        settings={
            "thirdPartyConfigurationUrl": "https://ci.test",
            "revisionUrlTemplate": "https://ci.test/r",
        },
    )
    stored = StoredActionType.of(given, "ThirdParty")
    declaration = declaration_of(stored.id, given)
    assert declaration["id"]["owner"] == "ThirdParty"
    assert declaration["urls"]["configurationUrl"] == "https://ci.test"
    assert type_in(declaration) == given


def test_a_stored_type_knows_its_secrets_its_queryable_key_and_its_row() -> None:
    stored = StoredActionType.of(
        custom_type(
            declared("Project", queryable=True), declared("Token", secret=True), declared("N", type="Number")
        )
    )
    assert (stored.secrets, stored.queryable) == ({"Token"}, "Project")
    assert str(stored.row) == str(stored.id) == "Build/Custom/Acme/1"
    assert (stored.row.input_artifacts, stored.row.output_artifacts) == ((0, 1), (1, 2))
    assert [key.type for key in stored.row.configuration] == ["string", "string", "number"]
    assert stored.row.keys["Token"].secret
