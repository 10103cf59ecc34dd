"""boto3 clients whose every answer, errors too, is checked on the wire against AWS's model of the service."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

CONTENT_TYPE = "application/x-amz-json-1.1"
# What every operation may answer besides the errors that the model lists for it.
COMMON_ERRORS = {
    "AccessDeniedException", "IncompleteSignatureException", "InternalFailure", "InvalidSignatureException",
    "MissingAuthenticationTokenException", "SerializationException", "ServiceUnavailable", "UnknownOperationException",
    "UnrecognizedClientException", "ValidationException",
}  # fmt: skip
# Errors that an operation answers, as AWS does, though the model does not list them for it.
UNLISTED = {
    "CreateCustomActionType": {"ActionTypeAlreadyExistsException"},
    "UpdatePipeline": {"PipelineNotFoundException"},
}
STATUS = {
    "ConflictException": 409,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def checked_client(url: str, service: str = "codepipeline", **options: Any) -> Any:
    """A boto3 client of the gateway at `url`; a call fails with `AssertionError` if its answer is not as AWS's model has it.

    `client.answered` has what was answered so far: pairs of an operation and `OK` or the name of an exception.
    """
    given = {"region_name": "us-east-1", "endpoint_url": url, **options}
    given.setdefault("config", Config(retries={"total_max_attempts": 1}))
    client = boto3.client(service, **given)
    answered: set[tuple[str, str]] = set()
    if client.meta.service_model.metadata["protocol"] == "json":

        def check(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
            code = check_answer(operation_model, response_dict)
            answered.add((operation_model.name, code))

        client.meta.events.register("before-parse", check)
    client.answered = answered
    return client


def refused(operation: Callable[..., Any], **members: Any) -> tuple[str, str]:
    """The exception that an operation answers, and its message."""
    with pytest.raises(ClientError) as caught:
        operation(**members)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def check_answer(operation: Any, answer: dict[str, Any]) -> str:
    """Check one answer: status, headers and body as they came; `OK` or the name of the exception.

    `operation` is the operation's model of botocore.
    """
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    assert UUID.fullmatch(headers.get("x-amzn-requestid", "")), f"{operation.name}: no request id: {headers}"
    assert headers.get("content-type") == CONTENT_TYPE, f"{operation.name}: {headers.get('content-type')}"
    if answer["status_code"] != 200:
        return _check_error(operation, answer)
    if operation.output_shape is None:
        assert answer["body"] == b"", f"{operation.name} has no answer, got {answer['body']!r}"
    else:
        check_value(operation.output_shape, json.loads(answer["body"]), operation.name)
    return "OK"


def _check_error(operation: Any, answer: dict[str, Any]) -> str:
    body = json.loads(answer["body"])
    code = str(body.get("__type"))
    named = {shape.name for shape in operation.error_shapes}
    assert code in named | COMMON_ERRORS | UNLISTED.get(operation.name, set()), (
        f"{operation.name} may not answer {body}"
    )
    assert set(body) == {"__type", "message"}, f"{operation.name}: {body}"
    assert body["message"], f"{operation.name}: {code} without a message"
    assert isinstance(body["message"], str), f"{operation.name}: {body}"
    assert answer["status_code"] == STATUS.get(code, 400), f"{operation.name}: {answer['status_code']} {code}"
    return code


def check_value(shape: Any, value: Any, path: str) -> None:
    """Check a part of an answer, as JSON, and everything in it."""
    assert value is not None, f"{path}: null"
    _CHECKS[shape.type_name](shape, value, path)


def _check_structure(shape: Any, value: Any, path: str) -> None:
    assert isinstance(value, dict), f"{path}: {value!r} is no structure"
    assert value.keys() <= shape.members.keys(), f"{path}: unknown {value.keys() - shape.members.keys()}"
    missing = set(shape.required_members) - value.keys()
    assert not missing, f"{path}: required, but missing: {missing}"
    for name, each in value.items():
        check_value(shape.members[name], each, f"{path}.{name}")


def _check_list(shape: Any, value: Any, path: str) -> None:
    assert isinstance(value, list), f"{path}: {value!r} is no list"
    _check_size(shape, len(value), path)
    for at, each in enumerate(value):
        check_value(shape.member, each, f"{path}[{at}]")


def _check_map(shape: Any, value: Any, path: str) -> None:
    assert isinstance(value, dict), f"{path}: {value!r} is no map"
    _check_size(shape, len(value), path)
    for key, each in value.items():
        check_value(shape.key, key, f"{path} key {key!r}")
        check_value(shape.value, each, f"{path}[{key!r}]")


def _check_string(shape: Any, value: Any, path: str) -> None:
    assert isinstance(value, str), f"{path}: {value!r} is no string"
    _check_size(shape, len(value), path)
    pattern = shape.metadata.get("pattern")
    assert pattern is None or re.fullmatch(pattern, value, re.ASCII), (
        f"{path}: {value!r} is not like {pattern}"
    )
    assert not shape.enum or value in shape.enum, f"{path}: {value!r} is not in {shape.enum}"


def _check_number(shape: Any, value: Any, path: str) -> None:
    is_right = type(value) is int or (shape.type_name == "timestamp" and type(value) is float)
    assert is_right, f"{path}: {value!r} is no {shape.type_name}"
    _check_size(shape, value, path)


def _check_boolean(_: Any, value: Any, path: str) -> None:
    assert isinstance(value, bool), f"{path}: {value!r} is no boolean"


def _check_size(shape: Any, size: float, path: str) -> None:
    least, most = shape.metadata.get("min", size), shape.metadata.get("max", size)
    assert least <= size <= most, f"{path}: {size} is not in {least} to {most}"


_CHECKS = {
    "structure": _check_structure,
    "list": _check_list,
    "map": _check_map,
    "string": _check_string,
    "integer": _check_number,
    "long": _check_number,
    "timestamp": _check_number,
    "boolean": _check_boolean,
}


def with_defaults(wire: dict[str, Any], version: int | None = None) -> dict[str, Any]:
    """A definition as AWS stores it: with version (that of the definition or 1, unless one is given), type, mode, and whole actions."""
    full = {"version": 1, "pipelineType": "V1", "executionMode": "SUPERSEDED", **copy.deepcopy(wire)}
    if version is not None:
        full["version"] = version
    for stage in full["stages"]:
        for action in stage["actions"]:
            for key, value in {
                "runOrder": 1,
                "configuration": {},
                "inputArtifacts": [],
                "outputArtifacts": [],
            }.items():
                action.setdefault(key, value)
    return full
