"""Convert a definition to a CloudFormation template, including the resources of an import."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from prefect_codepipeline.deployments.cloudformation.pipelines import PIPELINE

# The keys below these are the action's or the user's, and keep their spelling.
_OWN_KEYS = {"configuration"}
_NAME = re.compile(r"\$\{(AWS::[A-Za-z]+|[A-Za-z0-9]+(?:\.[A-Za-z0-9.]+)?)\}")
_PARAMETER = re.compile(r"[A-Za-z0-9]+")


def as_template(
    wire: Mapping[str, Any],
    logical_id: str = "Pipeline",
    properties: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    missing: Iterable[str] = (),
) -> dict[str, Any]:
    """The template of a pipeline.

    Args:
        wire: the declaration in the API's format. Its version is omitted: CloudFormation counts versions itself.
        logical_id: the pipeline's logical id in the template.
        properties: CloudFormation properties of the pipeline that a declaration does not have.
        resources: additional resources, as in `NAME.resources.yaml`.
        missing: the names of unknown values. `${name}` is written with `Fn::Sub`; names that are not attributes of
            resources become parameters.
    """
    names = {name for name in missing if _NAME.fullmatch("${" + name + "}")}
    pipeline = {
        **{upper_first(key): _property(key, value) for key, value in wire.items()},
        **(properties or {}),
    }
    pipeline.pop("Version", None)
    while logical_id in (resources or {}):
        logical_id += "Pipeline"
    beside = {
        name: {key: value for key, value in resource.items() if key != "Attributes"}
        for name, resource in (resources or {}).items()
    }
    content = {logical_id: {"Type": PIPELINE, "Properties": pipeline}, **beside}
    parameters = sorted(name for name in names if _PARAMETER.fullmatch(name) and name not in content)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Pipeline {wire.get('name', '')}",
        **({"Parameters": {name: {"Type": "String"} for name in parameters}} if parameters else {}),
        "Resources": _substituted(content, names),
    }


def upper_first(key: str) -> str:
    """`roleArn` as `RoleArn`."""
    return key[:1].upper() + key[1:]


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


def _substituted(part: Any, names: set[str]) -> Any:
    if isinstance(part, list):
        return [_substituted(item, names) for item in part]
    if isinstance(part, dict):
        return {key: _substituted(value, names) for key, value in part.items()}
    if not isinstance(part, str) or not any(match[1] in names for match in _NAME.finditer(part)):
        return part
    return {"Fn::Sub": _with_others_kept(part, names)}


def _with_others_kept(text: str, names: set[str]) -> str:
    """The text for `Fn::Sub`, with every `${...}` escaped that is not a missing value."""
    return re.sub(
        r"\$\{([^{}]*)\}", lambda match: match[0] if match[1] in names else "${!" + match[1] + "}", text
    )
