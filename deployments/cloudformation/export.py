"""Convert a definition to a CloudFormation template, including the resources of an import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.deployments.cloudformation.pipelines import PIPELINE
from prefect_codepipeline.deployments.cloudformation.references import References, id_of
from prefect_codepipeline.deployments.files.application_fields import OWN_FIELDS
from prefect_codepipeline.deployments.files.resources import MissingValue
from prefect_codepipeline.model.stored.definition import MASK

_NOT_OF_A_TEMPLATE = ("Attributes", OWN_FIELDS)
# The keys below these are the action's or the user's, and keep their spelling.
_OWN_KEYS = {"configuration"}
# CloudFormation refuses these in a description.
_NAME = re.compile(r"\$\{([^{}]*)\}")


def as_template(
    wire: Mapping[str, Any],
    logical_id: str = "Pipeline",
    properties: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    missing: Mapping[str, MissingValue] | None = None,
) -> dict[str, Any]:
    """The template of a pipeline, which CloudFormation accepts.

    Args:
        wire: the declaration in the API's format. Its version is omitted: CloudFormation counts versions itself.
        logical_id: the pipeline's logical id in the template.
        properties: CloudFormation properties of the pipeline that a declaration does not have.
        resources: additional resources, as in `NAME.resources.yaml`.
        missing: the unknown values. `${name}` becomes the function or the resource that gives the value, if the
            template has it, else a parameter. A masked secret and a placeholder become parameters, too.
    """
    while logical_id in (resources or {}):
        logical_id += "Pipeline"
    wire, secrets = _with_named_secrets(wire)
    pipeline = {
        **{upper_first(key): _property(key, value) for key, value in wire.items()},
        **(properties or {}),
    }
    pipeline.pop("Version", None)
    beside = {
        name: {key: value for key, value in resource.items() if key not in _NOT_OF_A_TEMPLATE}
        for name, resource in (resources or {}).items()
    }
    content = {logical_id: {"Type": PIPELINE, "Properties": pipeline}, **beside}
    references = References({**(missing or {}), **secrets}, set(content))
    written = references.written(content)
    parameters = references.parameters
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Pipeline {_NAME.sub(lambda match: id_of(match[1]), str(wire.get('name', '')))}",
        **({"Parameters": parameters} if parameters else {}),
        "Resources": written,
    }


def upper_first(key: str) -> str:
    """`roleArn` as `RoleArn`."""
    return key[:1].upper() + key[1:]


def _with_named_secrets(wire: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, MissingValue]]:
    """The declaration with a name for each masked secret, and the parameters for these."""
    secrets: dict[str, MissingValue] = {}

    def named(part: Any, name: str) -> Any:
        if isinstance(part, list):
            return [named(item, name) for item in part]
        if not isinstance(part, dict):
            return part
        own = f"{name}.{part['name']}" if isinstance(part.get("name"), str) else name
        return {
            key: _without_masks(value, own, secrets) if key in _OWN_KEYS else named(value, own)
            for key, value in part.items()
        }

    return {**wire, **({"stages": named(wire["stages"], "")} if "stages" in wire else {})}, secrets


def _without_masks(configuration: Any, owner: str, secrets: dict[str, MissingValue]) -> Any:
    if not isinstance(configuration, dict):
        return configuration
    found = dict(configuration)
    for key, value in configuration.items():
        if value == MASK:
            name = f"{owner}.{key}".lstrip(".")
            parameter = {"Type": "String", "NoEcho": "true"}
            secrets[name] = MissingValue("", (), parameter=parameter)
            found[key] = "${" + name + "}"
    return found


def _property(key: str, value: Any) -> Any:
    if key == "artifactStores" and isinstance(value, dict):
        return [{"Region": region, "ArtifactStore": _spelled(store)} for region, store in value.items()]
    return value if key in _OWN_KEYS else _spelled(value)


def _spelled(part: Any) -> Any:
    if isinstance(part, list):
        return [_spelled(item) for item in part]
    if isinstance(part, dict):
        return {upper_first(key): _property(key, value) for key, value in part.items()}
    return part
