"""What a template declares about its parameters and conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prefect_codepipeline.deployments.cloudformation.unknown import as_text


def allowed_values(parameter: Mapping[str, Any]) -> list[str]:
    """The only values that a parameter may have, if they are declared."""
    choice = parameter.get("AllowedValues")
    return [str(as_text(each)) for each in choice] if isinstance(choice, list) else []


def parameters_of_condition(
    name: str, conditions: Mapping[str, Any], parameters: Mapping[str, Any]
) -> list[str]:
    """The parameters on which a condition depends, also by other conditions."""
    names: dict[str, None] = {}
    waiting, seen = [name], {name}
    while waiting:
        for key, value in _references(conditions.get(waiting.pop())):
            if key == "Ref" and value in parameters:
                names[value] = None
            elif key == "Condition" and value not in seen:
                seen.add(value)
                waiting.append(value)
    return list(names)


def attributes_in_outputs(declared: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, str]:
    """The attributes of resources that are outputs of a template, as `Resource.Attribute`, from the outputs of its stack."""
    found = {}
    for name, output in declared.items():
        value = output.get("Value") if isinstance(output, dict) else None
        attribute = value.get("Fn::GetAtt") if isinstance(value, dict) else None
        if name in values and isinstance(attribute, (str, list)):
            found[attribute if isinstance(attribute, str) else ".".join(map(str, attribute))] = values[name]
    return found


def node_at(content: Any, path: str) -> Any:
    """The part of a document at a path, or None."""
    for index, key in re.findall(r"\[(\d+)\]|([^.\[\]]+)", path):
        try:
            content = content[int(index)] if index else content[key]
        except (LookupError, TypeError):
            return None
    return content


def _references(part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for key, value in part.items():
            if isinstance(value, str):
                yield key, value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)
