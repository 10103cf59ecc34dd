"""The constraints of the API model: lengths, patterns, enums and required members, all checked before anything else.

The messages are AWS's: https://smithy.io/2.0/spec/constraint-traits.html has the constraints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.gateway.aws.protocol.call import Members
from prefect_codepipeline.gateway.aws.protocol.service_model import CODEPIPELINE, input_shape

# A request of 1 MB can break a hundred thousand constraints.
MOST_ERRORS = 1000
# AWS's longest ARN. In a text of 1 MB the search for all places where a `.+` of a pattern may end would take minutes.
_LONGEST_ARN = 2048
# What AWS shows no value of, besides what its model calls sensitive: what is in the declaration of an action. Nor are the
# rules and the secrets of others shown here.
_SENSITIVE = {
    "ActionDeclaration", "RuleDeclaration", "ClientToken", "WebhookAuthConfiguration",
}  # fmt: skip
_NOT_NULL = "Member must not be null"


def check_constraints(operation: str, members: Members, service: str = CODEPIPELINE) -> None:
    """Check the members of a request. Raises `ValidationException`, which lists everything that is wrong."""
    errors = list(islice(_structure(input_shape(operation, service), members, "", True), MOST_ERRORS))
    if errors:
        count = "1 validation error" if len(errors) == 1 else f"{len(errors)} validation errors"
        raise ValidationException(f"{count} detected: {'; '.join(errors)}")


def _structure(shape: Any, members: Members, prefix: str, is_shown: bool) -> Iterator[str]:
    for name, member in shape.members.items():
        if name in members:
            yield from _errors(member, members[name], f"{prefix}{name}", is_shown)
        elif name in shape.required_members:
            yield _error("Value null", f"{prefix}{name}", _NOT_NULL)


def _errors(shape: Any, value: Any, path: str, is_shown: bool) -> Iterator[str]:
    """What is wrong with a value and what it holds, as the model's order has it."""
    if value is None:
        yield _error("Value null", path, _NOT_NULL)
        return
    is_shown = is_shown and shape.name not in _SENSITIVE and not shape.metadata.get("sensitive")
    if shape.type_name == "structure":
        yield from _structure(shape, value, f"{path}.", is_shown)
        return
    for constraint in broken(shape, value):
        yield _error(_shown(shape, value) if is_shown else "Value", path, constraint)
    if shape.type_name == "list":
        yield from _list(shape, value, path, is_shown)
    elif shape.type_name == "map":
        yield from _map(shape, value, path, is_shown)


def _list(shape: Any, value: list[Any], path: str, is_shown: bool) -> Iterator[str]:
    is_of_texts = shape.member.type_name == "string"
    if is_of_texts and any(broken(shape.member, each) for each in value if each is not None):
        constraint = f"Member must satisfy constraint: [{', '.join(constraints(shape.member))}]"
        yield _error(_shown(shape, value) if is_shown else "Value", path, constraint)
    for at, each in enumerate(value, 1):
        if each is None or not is_of_texts:
            yield from _errors(shape.member, each, f"{path}.{at}.member", is_shown)


def _map(shape: Any, value: dict[str, Any], path: str, is_shown: bool) -> Iterator[str]:
    """What is wrong with the keys and the values. Texts are never shown, since they may be secret."""
    if any(broken(shape.key, key) for key in value):
        yield _error(
            "Value", path, f"Map keys must satisfy constraint: [{', '.join(constraints(shape.key))}]"
        )
    if shape.value.type_name != "string":
        for key, each in value.items():
            yield from _errors(shape.value, each, f"{path}.{key}.member", is_shown)
        return
    if None in value.values():
        yield _error("Value", path, f"Map value must satisfy constraint: [{_NOT_NULL}]")
    if any(broken(shape.value, each) for each in value.values() if each is not None):
        held = ", ".join(constraints(shape.value))
        yield _error("Value", path, f"Map value must satisfy constraint: [{held}]")


def _error(shown: str, path: str, constraint: str) -> str:
    return f"{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _shown(shape: Any, value: Any) -> str:
    """The value as AWS shows it. Structures are not shown."""
    if shape.type_name == "list" and (not value or shape.member.type_name == "string"):
        return f"Value '[{', '.join('null' if each is None else each for each in value)}]'"
    return f"Value '{value}'" if shape.type_name in ("string", "integer") else "Value"


def broken(shape: Any, value: Any) -> list[str]:
    """The constraints of a shape that a value breaks; not those of what it holds."""
    size = value if shape.type_name == "integer" else len(value) if hasattr(value, "__len__") else 0
    limits = shape.metadata
    is_broken = {
        "max": size > limits.get("max", size),
        "min": size < limits.get("min", size),
        "pattern": "pattern" in limits and not _fits(limits["pattern"], value),
        "enum": "enum" in limits and value not in limits["enum"],
    }
    return [text for name, text in _texts(shape) if is_broken[name]]


def constraints(shape: Any) -> list[str]:
    """AWS's words for all constraints of a shape."""
    return [text for _, text in _texts(shape)]


def _texts(shape: Any) -> Iterator[tuple[str, str]]:
    has = "value" if shape.type_name == "integer" else "length"
    limits = shape.metadata
    if "max" in limits:
        yield "max", f"Member must have {has} less than or equal to {limits['max']}"
    if "min" in limits:
        yield "min", f"Member must have {has} greater than or equal to {limits['min']}"
    if "pattern" in limits:
        yield "pattern", f"Member must satisfy regular expression pattern: {limits['pattern']}"
    if "enum" in limits:
        yield "enum", f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"


def _fits(pattern: str, value: str) -> bool:
    is_too_long = ".+" in pattern and len(value) > _LONGEST_ARN
    return not is_too_long and _pattern(pattern).fullmatch(value) is not None


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII)  # as in Java, `\w` has no letters but those of ASCII
