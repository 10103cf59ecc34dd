"""Convert pydantic's errors of single fields into problems with the messages of AWS.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from prefect_codepipeline.model.definition.declaration import Declared
from prefect_codepipeline.model.names import may_be_secret
from prefect_codepipeline.model.problem import MOST_PROBLEMS, Problem, nearest

Location = tuple[int | str, ...]

_KEY = "[key]"  # pydantic appends this to the location of the key of a mapping
_TYPES = {
    "string_type": "a string",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
_BOUNDS = {"min_length": "min", "max_length": "max", "ge": "min", "le": "max", "pattern": "pattern"}
_CONSTRAINTS = {
    "string_too_long", "string_too_short", "too_long", "too_short", "greater_than_equal", "less_than_equal",
    "string_pattern_mismatch", "literal_error",
}  # fmt: skip


def problems_of(error: ValidationError, model: type[BaseModel] | None = None) -> list[Problem]:
    """The errors that pydantic found, in readable words and without the values of secrets. At most 1,000 problems.

    Args:
        error: the error from the validation of JSON data.
        model: the model that was validated, to suggest the nearest known key. For a declaration, the messages are
            AWS's own.
    """
    details = error.errors(include_url=False)[:MOST_PROBLEMS]
    return [_problem_of(detail, model) for detail in details]


def _problem_of(details: Any, model: type[BaseModel] | None) -> Problem:
    location, kind, value = details["loc"], details["type"], details.get("input")
    path = path_of(location)
    if kind == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        hint = nearest(str(location[-1]), known)
        return Problem(path, f"unknown key '{location[-1]}'", hint=hint, rule="field-known")
    if model is None or not issubclass(model, Declared):
        if kind == "missing":
            return Problem(path, "Member must not be null: this field is required", rule="field")
        return Problem(path, f"{details['msg']}{_got(location, value)}", rule="field")
    if kind in _TYPES:
        expected = f"{_TYPES[kind]}{_with_keys(model, location)}"
        return Problem(path, f"this must be {expected}{_got_kind(location, value)}", rule="field-type")
    if kind == "missing":
        return Problem(path, _failed("Value", location, "Member must not be null"), rule="field-required")
    if kind in _CONSTRAINTS:
        return _constraint(details, location, model)
    return Problem(path, f"{details['msg']}{_got(location, value)}", rule="field")


def _constraint(details: Any, location: Location, model: type[BaseModel]) -> Problem:
    value, path = details["input"], path_of(location)
    hint = _hint(details, value)
    members = _constraints(_annotation_at(model, location))
    if location[-1] == _KEY:
        message = _failed("Value", location[:-2], f"Map keys must satisfy constraint: [{', '.join(members)}]")
    elif get_origin(parent := bare(_annotation_at(model, location[:-1]))) in (dict, list) and get_args(
        parent
    ):
        what = "Map value" if get_origin(parent) is dict else "Member"
        message = _failed("Value", location[:-1], f"{what} must satisfy constraint: [{', '.join(members)}]")
    else:
        quoted = "" if isinstance(value, (dict, list)) or _is_secret(location) else f" '{_cut(str(value))}'"
        message = _failed(f"Value{quoted}", location, _phrase(details))
    return Problem(path, message, hint=hint, rule="field-constraint")


def _failed(value: str, location: Location, phrase: str) -> str:
    return f"{value} at '{_aws_path(location)}' failed to satisfy constraint: {phrase}"


def _phrase(details: Any) -> str:
    context = details.get("ctx", {})
    kind = details["type"]
    if kind in ("string_too_long", "too_long"):
        return _at_most_length(context["max_length"])
    if kind in ("string_too_short", "too_short"):
        return _at_least_length(context["min_length"])
    if kind == "greater_than_equal":
        return f"Member must have value greater than or equal to {context['ge']}"
    if kind == "less_than_equal":
        return f"Member must have value less than or equal to {context['le']}"
    if kind == "string_pattern_mismatch":
        return _of_pattern(context["pattern"])
    return f"Member must satisfy enum value set: [{', '.join(_members(context['expected']))}]"


def _at_most_length(most: int) -> str:
    return f"Member must have length less than or equal to {most}"


def _at_least_length(least: int) -> str:
    return f"Member must have length greater than or equal to {least}"


def _of_pattern(pattern: str) -> str:
    # AWS's patterns have no anchors and always apply to the whole string.
    return f"Member must satisfy regular expression pattern: {pattern_of(pattern)}"


def pattern_of(anchored: str) -> str:
    """The pattern as in AWS's model, without the anchors that Python needs."""
    found = re.fullmatch(r"\\A\(\?:(.*)\)\\Z", anchored, re.S)
    return found[1] if found else anchored


def _members(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def _hint(details: Any, value: Any) -> str:
    context = details.get("ctx", {})
    if details["type"] == "literal_error":
        return nearest(str(value), _members(context["expected"]))
    if details["type"] in ("string_too_long", "too_long") and hasattr(value, "__len__"):
        return f"its length is {len(value)}, at most {context['max_length']} is allowed"
    return ""


def path_of(location: Location) -> str:
    """The path of a location, such as `stages[1].actions[0].runOrder`."""
    text = ""
    for part in location:
        if part != _KEY:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _aws_path(location: Location) -> str:
    """AWS's form of a path: `pipeline.stages.2.member.actions.1.member.runOrder`. AWS counts from 1."""
    return ".".join(["pipeline", *(f"{p + 1}.member" if isinstance(p, int) else str(p) for p in location)])


def _is_secret(location: Location) -> bool:
    return any(may_be_secret(str(part)) for part in location)


def _got(location: Location, value: Any) -> str:
    return "" if isinstance(value, (dict, list)) or _is_secret(location) else f", got {_cut(repr(value))}"


def _got_kind(location: Location, value: Any) -> str:
    if value is None:
        return ", got nothing"
    kind = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else ""
    return f", got {kind}" if kind else _got(location, value)


def _with_keys(model: type[BaseModel], location: Location) -> str:
    """The keys of the object that is expected at a location: those that are required, else all that it may have."""
    kind = bare(_annotation_at(model, location))
    if not isinstance(kind, type) or not issubclass(kind, BaseModel):
        return ""
    fields = kind.model_fields.items()
    required = [_alias(name, field) for name, field in fields if field.is_required()]
    quoted = [f"'{key}'" for key in required or [_alias(name, field) for name, field in fields]]
    *first, last = quoted
    return f" with {', '.join(first)} {'and' if required else 'or'} {last}" if first else f" with {last}"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


# -- the model at a location


@cache
def hints_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """The annotations of a model's fields, by the field names in JSON."""
    hints = get_type_hints(model, include_extras=True)
    return {_alias(name, field): hints[name] for name, field in model.model_fields.items()}


def _alias(name: str, field: FieldInfo) -> str:
    return field.alias or name


def bare(annotation: Any) -> Any:
    """A type without `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    inner = [part for part in get_args(annotation) if part is not NoneType]
    if NoneType in get_args(annotation) and len(inner) == 1:
        return bare(inner[0])
    return annotation


def _annotation_at(model: type[BaseModel], location: Location) -> Any:
    annotation: Any = model
    for part in (part for part in location if part != _KEY):
        kind = bare(annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            annotation = hints_of(kind).get(str(part))
        elif get_origin(kind) in (list, dict):
            annotation = get_args(kind)[-1]
        else:
            return None
    if location and location[-1] == _KEY:
        container = bare(_annotation_at(model, location[:-2]))
        return get_args(container)[0] if get_args(container) else None
    return annotation


def _constraints(annotation: Any) -> list[str]:
    """Every constraint of a string, in the order of AWS's messages."""
    words: dict[str, Callable[[Any], str]] = {
        "max": _at_most_length,
        "min": _at_least_length,
        "pattern": _of_pattern,
    }
    bounds = bounds_of(annotation)
    return [say(bounds[name]) for name, say in words.items() if name in bounds]


def bounds_of(annotation: Any) -> dict[str, Any]:
    """The `min`, `max`, `pattern` and `enum` that an annotation has; the bounds apply to the length or to the value."""
    found: dict[str, Any] = {}
    for item in _metadata(annotation):
        for attribute, name in _BOUNDS.items():
            if (bound := getattr(item, attribute, None)) is not None:
                found[name] = bound
    if get_origin(kind := bare(annotation)) is Literal:
        found["enum"] = get_args(kind)
    return found


def _metadata(annotation: Any) -> Iterator[Any]:
    """The metadata of each `Annotated` around the bare annotation."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        for item in metadata:
            yield from item.metadata if isinstance(item, FieldInfo) else [item]
        yield from _metadata(inner)
    inner = [part for part in get_args(annotation) if part is not NoneType]
    if NoneType in get_args(annotation) and len(inner) == 1:
        yield from _metadata(inner[0])


def _keys_at(model: type[BaseModel] | None, location: Location) -> set[str]:
    """The keys that an object at a location may have."""
    found = bare(_annotation_at(model, location)) if model else None
    if isinstance(found, type) and issubclass(found, BaseModel):
        return set(hints_of(found))
    return set()
