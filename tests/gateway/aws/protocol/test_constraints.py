"""The constraints of every member of every request: a value just inside and just outside, made from AWS's model."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from api_requests import ITEM, KEY, LIKE, VALUE, Place, good, places, unlike, with_value

from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.gateway.aws.protocol.constraints import MOST_ERRORS, check_constraints
from prefect_codepipeline.gateway.aws.protocol.json import read_members
from prefect_codepipeline.gateway.aws.protocol.service_model import input_shape, operation_names

OPERATIONS = sorted(operation_names())
# Shapes whose values no message shows.
HIDDEN = {"ActionDeclaration", "RuleDeclaration", "ClientToken", "WebhookAuthConfiguration"}


def refusal(operation: str, members: Any) -> str | None:
    """What is said of a request that came as JSON; None if it is good."""
    try:
        check_constraints(operation, read_members(operation, json.dumps(members).encode()))
    except ValidationException as error:
        return str(error)
    return None


def phrases(shape: Any, value: Any) -> list[str]:
    """AWS's words for what a text or a number breaks."""
    limits, size = shape.metadata, value if isinstance(value, int) else len(value)
    has = "value" if shape.type_name == "integer" else "length"
    found = []
    if size > limits.get("max", size):
        found.append(f"Member must have {has} less than or equal to {limits['max']}")
    if size < limits.get("min", size):
        found.append(f"Member must have {has} greater than or equal to {limits['min']}")
    if "pattern" in limits and not re.fullmatch(limits["pattern"], value):
        found.append(f"Member must satisfy regular expression pattern: {limits['pattern']}")
    if "enum" in limits and value not in limits["enum"]:
        found.append(f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]")
    return found


def inside(shape: Any) -> Iterator[Any]:
    limits = shape.metadata
    if shape.type_name == "string":
        yield from shape.enum or [good(shape)]
        if limits.get("pattern") not in LIKE:
            yield from ("a" * limits[name] for name in ("min", "max") if name in limits)
        elif "max" in limits:
            yield good(shape).ljust(limits["max"], "a")
    elif shape.type_name == "integer":
        yield from (limits[name] for name in ("min", "max") if name in limits)
    elif shape.type_name == "list":
        yield from ([good(shape.member)] * limits[name] for name in ("min", "max") if name in limits)


def outside(shape: Any) -> Iterator[Any]:
    limits = shape.metadata
    if shape.type_name == "string":
        if "max" in limits:
            yield "a" * (limits["max"] + 1)
        if limits.get("min"):
            yield "a" * (limits["min"] - 1)
        if "pattern" in limits:
            yield unlike(shape)
        if "enum" in limits:
            yield shape.enum[0].swapcase()
    elif shape.type_name == "integer":
        yield from (limits[name] + step for name, step in (("min", -1), ("max", 1)) if name in limits)
    elif shape.type_name == "list":
        if "max" in limits:
            yield [good(shape.member)] * (limits["max"] + 1)
        if limits.get("min"):
            yield [good(shape.member)] * (limits["min"] - 1)


def expected(place: Place, value: Any, holder: Any) -> str:
    """The message about one value at a place; `holder` is the list or the map whose text it is."""
    hidden = {*place.shapes_above, place.shape.name} & HIDDEN
    broken = phrases(place.shape, value)
    all_phrases = ", ".join(all_of(place.shape))
    if place.steps[-1] in (KEY, VALUE):
        what = "Map keys" if place.steps[-1] == KEY else "Map value"
        broken, shown = [f"{what} must satisfy constraint: [{all_phrases}]"], "Value"
    elif place.steps[-1] == ITEM:
        broken = [f"Member must satisfy constraint: [{all_phrases}]"]
        shown = "Value" if hidden else f"Value '[{', '.join(holder)}]'"
        place = Place(place.steps[:-1], place.shape)
    elif isinstance(value, list):
        is_of_texts = place.shape.member.type_name == "string"
        text = f"Value '[{', '.join(value)}]'" if is_of_texts or not value else "Value"
        shown = "Value" if hidden else text
    else:
        shown = "Value" if hidden else f"Value '{value}'"
    errors = [f"{shown} at '{place.path}' failed to satisfy constraint: {phrase}" for phrase in broken]
    return said(errors)


def said(errors: list[str]) -> str:
    plural = "" if len(errors) == 1 else "s"
    return f"{len(errors)} validation error{plural} detected: {'; '.join(errors)}"


def all_of(shape: Any) -> list[str]:
    limits = shape.metadata
    words = {
        "max": "Member must have length less than or equal to {}",
        "min": "Member must have length greater than or equal to {}",
        "pattern": "Member must satisfy regular expression pattern: {}",
    }
    found = [text.format(limits[name]) for name, text in words.items() if name in limits]
    if "enum" in limits:
        found.append(f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]")
    return found


def holder_of(members: Any, steps: tuple[str, ...]) -> Any:
    for step in steps[:-1]:
        members = (
            members[0] if step == ITEM else next(iter(members.values())) if step == VALUE else members[step]
        )
    return members


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_value_just_inside_is_taken_and_one_just_outside_is_refused(operation: str) -> None:
    shape = input_shape(operation)
    assert refusal(operation, good(shape)) is None
    for place in places(shape):
        for value in inside(place.shape):
            assert refusal(operation, with_value(shape, place.steps, value)) is None, (place.path, value)
        for value in outside(place.shape):
            members = with_value(shape, place.steps, value)
            told = expected(place, value, holder_of(members, place.steps))
            assert refusal(operation, members) == told, place.path


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_required_member_that_is_missing_or_null_is_refused(operation: str) -> None:
    shape = input_shape(operation)
    for place in places(shape):
        if place.is_required:
            members = with_value(shape, place.steps, None)
            told = said(
                [f"Value null at '{place.path}' failed to satisfy constraint: Member must not be null"]
            )
            assert refusal(operation, members) == told, place.path
            del holder_of(members, place.steps)[place.steps[-1]]
            assert refusal(operation, members) == told, place.path


MAP_VALUE = (
    "Map value must satisfy constraint: [Member must have length less than or equal to 1000, "
    "Member must have length greater than or equal to 1]"
)


def pipeline(**action: Any) -> dict[str, Any]:
    kind = {"category": "Build", "owner": "Custom", "provider": "P", "version": "1"}
    stages = [{"name": name, "actions": [{"name": "A", "actionTypeId": kind, **action}]} for name in "ab"]
    return {"pipeline": {"name": "p", "roleArn": "arn:aws:iam::123456789012:role/r", "stages": stages}}


@pytest.mark.parametrize(
    ("operation", "members", "message"),
    [
        pytest.param(
            "GetPipeline", {"name": "a b"},
            "1 validation error detected: Value 'a b' at 'name' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: [A-Za-z0-9.@\-_]+",
            id="one error",
        ),
        pytest.param(
            "GetPipeline", {"version": 0},
            "2 validation errors detected: Value null at 'name' failed to satisfy constraint: Member must not be null; "
            "Value '0' at 'version' failed to satisfy constraint: Member must have value greater than or equal to 1",
            id="two errors, as the model has the members",
        ),
        pytest.param(
            "UpdatePipeline", pipeline(configuration={"K": ""}),
            f"2 validation errors detected: Value at 'pipeline.stages.1.member.actions.1.member.configuration' failed to "
            f"satisfy constraint: {MAP_VALUE}; Value at 'pipeline.stages.2.member.actions.1.member.configuration' failed "
            f"to satisfy constraint: {MAP_VALUE}",
            id="a configuration, as AWS was seen to say",
        ),
        pytest.param(
            "StartPipelineExecution", {"name": "p", "variables": [{"name": "a", "value": "x\n"}, {"name": "a"}]},
            "2 validation errors detected: Value 'x\n' at 'variables.1.member.value' failed to satisfy constraint: Member "
            "must satisfy regular expression pattern: .*; Value null at 'variables.2.member.value' failed to satisfy "
            "constraint: Member must not be null",
            id="members of a list count from 1",
        ),
        pytest.param(
            "UntagResource", {"resourceArn": "arn:aws:codepipeline:r:123456789012:p", "tagKeys": ["a", None, ""]},
            "2 validation errors detected: Value '[a, null, ]' at 'tagKeys' failed to satisfy constraint: Member must "
            "satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than "
            "or equal to 1]; Value null at 'tagKeys.2.member' failed to satisfy constraint: Member must not be null",
            id="texts of a list",
        ),
        pytest.param(
            "PollForJobs",
            {"actionTypeId": pipeline()["pipeline"]["stages"][0]["actions"][0]["actionTypeId"], "queryParam": {"a": None}},
            "1 validation error detected: Value at 'queryParam' failed to satisfy constraint: Map value must satisfy "
            "constraint: [Member must not be null]",
            id="null in a map",
        ),
    ],
)  # fmt: skip
def test_everything_that_is_wrong_is_listed(operation: str, members: Any, message: str) -> None:
    assert refusal(operation, members) == message


def test_secrets_are_not_shown() -> None:
    token = "secret-" + "x" * 300
    told = refusal("GetThirdPartyJobDetails", {"jobId": "1", "clientToken": token})
    assert told == said(
        [
            "Value at 'clientToken' failed to satisfy constraint: Member must have length less than or equal to 256"
        ]
    )
    assert "hunter2" not in str(refusal("CreatePipeline", pipeline(configuration={"Token": "hunter2" * 200})))


def test_of_very_many_errors_the_first_are_listed() -> None:
    arn = "arn:aws:codepipeline:us-east-1:123456789012:p"
    told = refusal("TagResource", {"resourceArn": arn, "tags": [{}] * MOST_ERRORS})
    assert told
    assert told.startswith(f"{MOST_ERRORS} validation errors detected: ")
    assert told.count(";") == MOST_ERRORS - 1


def test_a_text_that_takes_a_pattern_long_is_refused_at_once() -> None:
    arn = "arn:aws:codepipeline:us-east-1" + ":123456789012" * 30_000 + ":\n"
    began = time.process_time()
    told = refusal("ListTagsForResource", {"resourceArn": arn})
    assert time.process_time() - began < 1
    assert told
    assert told.endswith(
        r"Member must satisfy regular expression pattern: arn:aws(-[\w]+)*:codepipeline:.+:[0-9]{12}:.+"
    )
