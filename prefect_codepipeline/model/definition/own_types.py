"""Action types of one's own: their settings, configuration properties, artifact counts and URL templates.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_CreateCustomActionType.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field

from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.definition.action_types import ActionType, ConfigurationKey, ValueType
from prefect_codepipeline.model.definition.declaration import (
    ActionCategory,
    ActionTypeId,
    Declared,
    Provider,
    Version,
)

PropertyType = Literal["String", "Number", "Boolean"]
# What PollForJobs can ask for.
QUERYABLE_VALUE = "[a-zA-Z0-9_-]{1,20}"
# Of custom types, and of published ones.
MOST_ARTIFACTS, MOST_OF_PUBLISHED = 5, 10
EXTERNAL_ID = "ExternalExecutionId"
_VALUE_TYPES: Mapping[str | None, ValueType] = {"Number": "number", "Boolean": "boolean"}
_PLACEHOLDER = re.compile(r"\{(?:Config:(?P<key>[^{}]+)|ExternalExecutionId)\}")
_Url = Annotated[str, Field(min_length=1, max_length=2048)]


class ActionTypeSettings(Declared):
    """Links of the console: to the set-up page of the type, to the entity, to a run and to a revision."""

    third_party_configuration_url: _Url | None = None
    entity_url_template: _Url | None = None
    execution_url_template: _Url | None = None
    revision_url_template: _Url | None = None


class ConfigurationProperty(Declared):
    """A key of the configuration of an action of the type."""

    name: Annotated[str, Field(min_length=1, max_length=50)]
    required: bool
    key: bool
    secret: bool
    queryable: bool | None = None
    description: Annotated[str, Field(min_length=1, max_length=160)] | None = None
    type: PropertyType | None = None


class ArtifactCounts(Declared):
    minimum_count: Annotated[int, Field(ge=0, le=10)]
    maximum_count: Annotated[int, Field(ge=0, le=10)]


class CustomActionType(Declared):
    """The input of CreateCustomActionType, without tags."""

    category: ActionCategory
    provider: Provider
    version: Version
    settings: ActionTypeSettings | None = None
    configuration_properties: Annotated[list[ConfigurationProperty], Field(max_length=10)] = Field(
        default_factory=list
    )
    input_artifact_details: ArtifactCounts
    output_artifact_details: ArtifactCounts


def check_type(kind: CustomActionType, most_artifacts: int = MOST_ARTIFACTS) -> None:
    """Check what concerns several fields. Raises `ValidationException`, in AWS's words.

    Args:
        kind: the type.
        most_artifacts: how many artifacts its actions may have on each side.
    """
    _check_names(kind.configuration_properties)
    _check_queryable(kind.configuration_properties)
    for counts in (kind.input_artifact_details, kind.output_artifact_details):
        if counts.maximum_count > most_artifacts:
            raise ValidationException(
                f"Maximum Number of Artifacts ({counts.maximum_count}) has to be {most_artifacts} or less."
            )
        if counts.minimum_count > counts.maximum_count:
            raise ValidationException(
                f"Maximum Number of Artifacts ({counts.maximum_count}) has to be greater than or equal to minimum "
                f"({counts.minimum_count})."
            )
    _check_templates(kind)


def row_of(
    kind: ActionTypeId,
    properties: Iterable[ConfigurationProperty],
    inputs: ArtifactCounts,
    outputs: ArtifactCounts,
) -> ActionType:
    """The action type as a row of AWS's table, by which definitions are checked."""
    return ActionType(
        **kind.model_dump(),
        pipelineTypes=("V1", "V2"),
        inputArtifacts=(inputs.minimum_count, inputs.maximum_count),
        outputArtifacts=(outputs.minimum_count, outputs.maximum_count),
        configuration=tuple(
            ConfigurationKey(
                key=each.name,
                type=_VALUE_TYPES.get(each.type, "string"),
                required=each.required,
                secret=each.secret,
                pattern=QUERYABLE_VALUE if each.queryable else None,
                description=each.description or "",
            )
            for each in properties
        ),
    )


def filled_url(
    template: str | None, configuration: Mapping[str, str], external_execution_id: str | None = None
) -> str | None:
    """The URL that a template makes; None if there is no template, or a value for it is missing.

    Example:
        >>> filled_url("https://ci.test/{Config:Job}/{ExternalExecutionId}", {"Job": "my shop"}, "7")
        'https://ci.test/my%20shop/7'
    """
    if template is None:
        return None
    values = {f"{{Config:{key}}}": value for key, value in configuration.items()}
    if external_execution_id:
        values[f"{{{EXTERNAL_ID}}}"] = external_execution_id
    if any(match[0] not in values for match in _PLACEHOLDER.finditer(template)):
        return None
    return _PLACEHOLDER.sub(lambda match: _in_url(match, values[match[0]]), template)


def _in_url(match: re.Match[str], value: str) -> str:
    # A value that begins the URL is its address; elsewhere it must not change what the URL leads to.
    return value if match.start() == 0 else quote(value, safe="/")


def _check_names(properties: Iterable[ConfigurationProperty]) -> None:
    names = [each.name for each in properties]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValidationException(
            f"The configuration property '{twice[0]}' is declared more than once; names must be unique."
        )


def _check_queryable(properties: Iterable[ConfigurationProperty]) -> None:
    queryable = [each for each in properties if each.queryable]
    if len(queryable) > 1:
        names = ", ".join(each.name for each in queryable)
        raise ValidationException(
            f"Multiple queryable configuration properties found with names '{names}'. "
            "Up to one queryable property may be specified."
        )
    for each in queryable:
        if each.secret or not each.required:
            raise ValidationException(
                f"Invalid queryable property '{each.name}'. "
                "Queryable configuration properties must be required and non-secret."
            )


def _check_templates(kind: CustomActionType) -> None:
    settings = kind.settings or ActionTypeSettings()
    usable = {each.name for each in kind.configuration_properties if each.required and not each.secret}
    for name in ("entity_url_template", "execution_url_template", "revision_url_template"):
        for match in _PLACEHOLDER.finditer(getattr(settings, name) or ""):
            if match["key"] and match["key"] not in usable:
                raise ValidationException(
                    f"The URL template {getattr(settings, name)!r} uses the configuration property "
                    f"'{match['key']}', which is not a required and non-secret property of the action type."
                )
