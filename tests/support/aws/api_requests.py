"""Requests of the AWS API, made from its model: good ones, the places of all their members, and random ones."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ITEM, KEY, VALUE = "[item]", "{key}", "{value}"
UUID = "0b5a9d2e-6c1f-4d0b-9d53-0d6c8e6f7a01"
# A text for each pattern that is more than a class of characters.
LIKE = {
    "[0-9]{12}": "123456789012",
    r"[0-9]{12}|\*": "*",
    "AWS|ThirdParty": "ThirdParty",
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": UUID,
    r"arn:aws(-[\w]+)*:codepipeline:.+:[0-9]{12}:.+": "arn:aws:codepipeline:us-east-1:123456789012:nothing",
    r"arn:aws(-[\w]+)*:iam::[0-9]{12}:role/.*": "arn:aws:iam::123456789012:role/release",
    r"arn:aws(-[\w]+)*:lambda:.+:[0-9]{12}:function:.+": "arn:aws:lambda:us-east-1:123456789012:function:f",
}


@dataclass(frozen=True)
class Place:
    """A member of a request, at any depth: the steps to it, its shape, and the key of the map that it is in."""

    steps: tuple[str, ...]
    shape: Any
    is_required: bool = False
    shapes_above: tuple[str, ...] = ()
    key: str = ""

    @property
    def path(self) -> str:
        """The place as AWS's messages name it; keys and texts of a map have the map's."""
        steps = {ITEM: "1.member", VALUE: f"{self.key}.member"}
        whole = self.steps[:-1] if self.steps[-1] in (KEY, VALUE) else self.steps
        return ".".join(steps.get(step, step) for step in whole)


def places(shape: Any, above: Place | None = None) -> Iterator[Place]:
    """All places below a shape."""
    steps = above.steps if above else ()
    names = (*above.shapes_above, shape.name) if above else (shape.name,)
    key = above.key if above else ""
    found = []
    if shape.type_name == "structure":
        required = shape.required_members
        found = [
            Place((*steps, name), each, name in required, names, key) for name, each in shape.members.items()
        ]
    elif shape.type_name == "list":
        found = [Place((*steps, ITEM), shape.member, False, names, key)]
    elif shape.type_name == "map":
        found = [
            Place((*steps, KEY), shape.key, False, names),
            Place((*steps, VALUE), shape.value, False, names, good(shape.key)),
        ]
    for place in found:
        yield place
        yield from places(place.shape, place)


def good(shape: Any) -> Any:
    """A value that a shape allows, with no member that is not required."""
    kind = shape.type_name
    if kind == "structure":
        return {name: good(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [good(shape.member)] * max(1, shape.metadata.get("min", 1))
    if kind == "map":
        return {good(shape.key): good(shape.value)}
    if kind == "string":
        return good_text(shape, max(1, shape.metadata.get("min", 1)))
    return {"boolean": True, "timestamp": 1_700_000_000.5, "integer": max(1, shape.metadata.get("min", 1))}[
        kind
    ]


def good_text(shape: Any, length: int) -> str:
    """A text that a shape allows, of that length if its pattern leaves a choice."""
    if shape.enum:
        return str(shape.enum[0])
    return LIKE.get(shape.metadata.get("pattern", ""), "a" * length)


def unlike(shape: Any) -> str:
    """A text of a good length that breaks the shape's pattern."""
    length = len(good(shape))
    texts = [character * length for character in ("\n", " ", "é")]
    return next(text for text in texts if not re.fullmatch(shape.metadata["pattern"], text))


def with_value(shape: Any, steps: tuple[str, ...], value: Any) -> Any:
    """A good value of a shape that has `value` at that place."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if step == ITEM:
        return [with_value(shape.member, rest, value)] * max(1, shape.metadata.get("min", 1))
    if step == KEY:
        return {value: good(shape.value)}
    if step == VALUE:
        return {good(shape.key): with_value(shape.value, rest, value)}
    return {**good(shape), step: with_value(shape.members[step], rest, value)}


def drawn(shape: Any, choose: random.Random, known: dict[str, list[Any]]) -> Any:
    """A random value that a shape allows; `known` has values for shapes by name, such as names of pipelines."""
    if shape.name in known and choose.random() < 0.8:
        return choose.choice(known[shape.name])
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        required = shape.required_members
        chosen = [name for name in shape.members if name in required or choose.random() < 0.5]
        return {name: drawn(shape.members[name], choose, known) for name in chosen}
    if kind in ("list", "map"):
        count = choose.randint(limits.get("min", 0), min(limits.get("max", 3), 3))
        if kind == "list":
            return [drawn(shape.member, choose, known) for _ in range(count)]
        return {drawn(shape.key, choose, known): drawn(shape.value, choose, known) for _ in range(count)}
    if kind == "string":
        if shape.enum:
            return choose.choice(shape.enum)
        least = max(1, limits.get("min", 1))
        return good_text(shape, choose.choice([least, min(limits.get("max", 20), 20)]))
    if kind == "integer":
        return choose.randint(limits.get("min", 0), min(limits.get("max", 99), 99))
    return choose.random() < 0.5 if kind == "boolean" else choose.uniform(0, 2e9)
