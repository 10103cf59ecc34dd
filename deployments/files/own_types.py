"""`AWS::CodePipeline::CustomActionType` resources beside a definition. Needs no server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.definition.action_types import ActionType, FindType
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.definition.own_types import CustomActionType, check_type
from prefect_codepipeline.model.stored.action_type import StoredActionType

CUSTOM_TYPE = "AWS::CodePipeline::CustomActionType"
_NUMBERS = {"minimumCount", "maximumCount"}
_SWITCHES = {"required", "key", "secret", "queryable"}
_FIELDS = (
    "Category", "Provider", "Version", "Settings", "ConfigurationProperties", "InputArtifactDetails",
    "OutputArtifactDetails",
)  # fmt: skip


def type_in(properties: Mapping[str, Any]) -> CustomActionType:
    """The action type of a resource's properties.

    Raises:
        ValidationError: a property is wrong or not known.
        ValidationException: the type contradicts itself.
    """
    found = CustomActionType.model_validate(
        {_lower(key): _as_wire(properties[key]) for key in _FIELDS if key in properties}
    )
    check_type(found)
    return found


def finder_with(resources: Mapping[str, Mapping[str, Any]], others: FindType) -> FindType:
    """Finds the action types of the resources beside a definition first, then what `others` finds."""
    own = rows_in(resources)
    return lambda kind: own.get(kind) or others(kind)


def rows_in(resources: Mapping[str, Mapping[str, Any]]) -> dict[ActionTypeId, ActionType]:
    """The action types of the resources beside a definition, as rows of AWS's table."""
    found = {}
    for resource in resources.values():
        if resource.get("Type") == CUSTOM_TYPE:
            try:
                stored = StoredActionType.of(type_in(resource.get("Properties") or {}))
            except (ValidationError, ValidationException):
                continue  # `deploy` says what is wrong with it
            found[stored.id] = stored.row
    return found


def _as_wire(value: Any, key: str = "") -> Any:
    """A property in the spelling of the API. Templates write numbers and switches as texts, too."""
    if isinstance(value, dict):
        return {_lower(name): _as_wire(each, _lower(name)) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_wire(each) for each in value]
    text = str(value)
    if key in _NUMBERS and text.isdecimal():
        return int(text)
    if key in _SWITCHES and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return value if key in _NUMBERS | _SWITCHES else text


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]
