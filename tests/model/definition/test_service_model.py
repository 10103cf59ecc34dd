"""The declaration has the fields, bounds, patterns, sets and exceptions of AWS's own model of its service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from pydantic import BaseModel

from prefect_codepipeline import errors
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import RULES
from prefect_codepipeline.model.validation.fields import bare, bounds_of, hints_of, pattern_of

SERVICE = botocore.session.get_session().get_service_model("codepipeline")

# Where we differ from the service's model on purpose: place, ours, AWS's.
ON_PURPOSE = {
    # Rules of one's own, which AWS does not have.
    *(
        (f"stages[].{kind}.conditions[].rules[].ruleTypeId.owner", "enum", ("AWS", "Custom"), ("AWS",))
        for kind in ("beforeEntry", "onSuccess", "onFailure")
    ),
    # The user guide demands an action, the model does not say so.
    ("stages[].actions", "min", 1, None),
    # The model has no least length beside the pattern, which matches no shorter text.
    ("roleArn", "min", 1, None),
    ("stages[].actions[].roleArn", "min", 1, None),
    ("stages[].onFailure.conditions[].rules[].roleArn", "min", 1, None),
    ("stages[].onSuccess.conditions[].rules[].roleArn", "min", 1, None),
    ("stages[].beforeEntry.conditions[].rules[].roleArn", "min", 1, None),
    # AWS has no rules but its own.
    *(
        (f"stages[].{kind}.conditions[].rules[].ruleTypeId.owner", "enum", ("AWS", "Custom"), ("AWS",))
        for kind in ("beforeEntry", "onSuccess", "onFailure")
    ),
}


def bounds(annotation: Any) -> dict[str, Any]:
    found = bounds_of(annotation)
    if "pattern" in found:
        found["pattern"] = pattern_of(found["pattern"])
    if "enum" in found:
        found["enum"] = tuple(sorted(found["enum"]))
    return found


def bounds_of_service(shape: Shape) -> dict[str, Any]:
    found = {key: shape.metadata[key] for key in ("min", "max", "pattern") if shape.metadata.get(key)}
    if found.get("pattern") == ".*":
        del found["pattern"]  # it says nothing
    if shape.metadata.get("enum"):
        found["enum"] = tuple(sorted(shape.metadata["enum"]))
    return found


def differences(annotation: Any, shape: Shape, path: str) -> Iterator[tuple[str, str, Any, Any]]:
    ours, theirs = bounds(annotation), bounds_of_service(shape)
    for key in sorted(ours.keys() | theirs.keys()):
        if not _is_same(key, ours.get(key), theirs.get(key)):
            yield path, key, ours.get(key), theirs.get(key)
    kind = bare(annotation)
    if isinstance(shape, StructureShape):
        yield from _differences_of_structure(kind, shape, path)
    elif isinstance(shape, ListShape):
        yield from differences(get_args(kind)[0], shape.member, f"{path}[]")
    elif isinstance(shape, MapShape):
        yield from differences(get_args(kind)[0], shape.key, f"{path} (key)")
        yield from differences(get_args(kind)[1], shape.value, f"{path} (value)")


def _is_same(key: str, ours: Any, theirs: Any) -> bool:
    if key == "pattern" and ours and theirs:
        # `-` at the end of a set, and `.` in it, need no backslash.
        return str(ours).replace("\\", "") == str(theirs).replace("\\", "")
    return bool((ours or None) == (theirs or None))


def _differences_of_structure(
    model: type[BaseModel], shape: StructureShape, path: str
) -> Iterator[tuple[str, str, Any, Any]]:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    hints = hints_of(model)
    required = {name for name, field in fields.items() if field.is_required()}
    for key, ours, theirs in (
        ("fields", set(fields), set(shape.members)),
        ("required", required, set(shape.required_members)),
    ):
        if ours != theirs:
            yield path, key, ours, theirs
    for name, member in shape.members.items():
        yield from differences(hints[name], member, f"{path}.{name}" if path else name)


def test_every_field_has_the_bounds_of_the_service() -> None:
    found = set(differences(PipelineDeclaration, SERVICE.shape_for("PipelineDeclaration"), ""))

    assert found == ON_PURPOSE


@pytest.mark.parametrize(
    "name",
    sorted(
        {rule.exception for rule in RULES.values() if rule.subject not in ("Buildspecs", "AppSpecs")}
        | {kind.__name__ for kind in errors.PipelineServiceError.__subclasses__()}
    ),
)
def test_exceptions_bear_names_that_the_service_knows(name: str) -> None:
    shape = SERVICE.shape_for(name)

    assert isinstance(shape, StructureShape)
    assert shape.metadata["exception"]
