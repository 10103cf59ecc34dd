"""Published action types: `ActionTypeDeclaration` of AWS's API, and the same as a custom type.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ActionTypeDeclaration.html
"""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.definition.own_types import CustomActionType

# The same links, in `urls` of a published type and in `settings` of a custom one.
_URLS = {
    "configurationUrl": "thirdPartyConfigurationUrl",
    "entityUrlTemplate": "entityUrlTemplate",
    "executionUrlTemplate": "executionUrlTemplate",
    "revisionUrlTemplate": "revisionUrlTemplate",
}

_SAME = ("queryable", "description")


def type_in(declaration: dict[str, Any]) -> CustomActionType:
    """What a declaration of AWS's API says about actions of the type."""
    kind = {key: declaration["id"][key] for key in ("category", "provider", "version")}
    urls = declaration.get("urls", {})
    return CustomActionType.model_validate(
        {
            **kind,
            "settings": {name: urls[key] for key, name in _URLS.items() if key in urls},
            "configurationProperties": [_property(each) for each in declaration.get("properties", [])],
            "inputArtifactDetails": declaration["inputArtifactDetails"],
            "outputArtifactDetails": declaration["outputArtifactDetails"],
        }
    )


def declaration_of(kind: ActionTypeId, given: CustomActionType) -> dict[str, Any]:
    """The declaration of a type that was given as a custom one: job workers run its actions."""
    wire = given.to_wire()
    settings = wire.get("settings", {})
    urls = {key: settings[name] for key, name in _URLS.items() if name in settings}
    return {
        "executor": {"type": "JobWorker", "configuration": {"jobWorkerExecutorConfiguration": {}}},
        "id": kind.to_wire(),
        "inputArtifactDetails": wire["inputArtifactDetails"],
        "outputArtifactDetails": wire["outputArtifactDetails"],
        "properties": [_published(each) for each in wire["configurationProperties"]],
        **({"urls": urls} if urls else {}),
    }


def _property(each: dict[str, Any]) -> dict[str, Any]:
    other: dict[str, Any] = {key: each[key] for key in _SAME if key in each}
    return {
        "name": each["name"],
        "required": not each["optional"],
        "key": each["key"],
        "secret": each["noEcho"],
        **other,
    }


def _published(each: dict[str, Any]) -> dict[str, Any]:
    other: dict[str, Any] = {key: each[key] for key in _SAME if key in each}
    return {
        "name": each["name"],
        "optional": not each["required"],
        "key": each["key"],
        "noEcho": each["secret"],
        **other,
    }
