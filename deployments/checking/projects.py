"""The CodeBuild projects that the actions and rules of a pipeline use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PROJECT = "AWS::CodeBuild::Project"


def projects_in_use(
    wire: Mapping[str, Any], resources: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """The project resources whose buildspecs the actions and rules of a definition use, by logical id."""
    names = set(project_names(wire))
    return {
        logical_id: resource
        for logical_id, resource in resources.items()
        if resource.get("Type") == PROJECT and project_name(resource) in names
    }


def project_name(resource: Mapping[str, Any]) -> str:
    """The name of a project, as the definition has it; `${…}` if it is unknown."""
    properties, attributes = resource.get("Properties"), resource.get("Attributes")
    name = properties.get("Name") if isinstance(properties, dict) else None
    return str(name or (attributes.get("Ref", "") if isinstance(attributes, dict) else ""))


def project_names(part: Any) -> Iterator[str]:
    """Every `ProjectName` below a part of a definition, of actions and of rules that use the project's buildspec."""
    if isinstance(part, dict):
        configuration = part.get("configuration")
        if isinstance(configuration, dict) and "BuildspecOverride" not in configuration:
            name = configuration.get("ProjectName")
            yield from [name] if isinstance(name, str) else []
        for value in part.values():
            yield from project_names(value)
    elif isinstance(part, list):
        for item in part:
            yield from project_names(item)
