"""JSON 1.1, the protocol of the AWS API: the only place that reads its requests and writes its answers.

https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn

from prefect_codepipeline.gateway.aws.protocol.call import Members
from prefect_codepipeline.gateway.aws.protocol.service_model import (
    CODEPIPELINE,
    input_shape,
    operation_names,
    output_shape,
    target_prefix,
)

CONTENT_TYPE = "application/x-amz-json-1.1"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LARGEST_INTEGER = 2**31 - 1


class ApiError(Exception):
    """An answer that is an error: AWS's name of it, its message and its HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> bytes:
        """The body of the answer."""
        return json.dumps({"__type": self.code, "message": self.message}).encode()


def operation_of(target: str, service: str = CODEPIPELINE) -> str:
    """The operation that `X-Amz-Target` names. Raises `ApiError`: there is no such operation."""
    prefix = target_prefix(service)
    name = target.removeprefix(prefix)
    if not target.startswith(prefix) or name not in operation_names(service):
        raise ApiError(
            "UnknownOperationException", "The X-Amz-Target header names no operation of this service."
        )
    return name


def read_members(operation: str, body: bytes, service: str = CODEPIPELINE) -> Members:
    """The members of a request, without those that the API model does not have; times are `datetime`.

    Raises:
        ApiError: the body is not JSON, or the type of a member is wrong.
    """
    try:
        value = json.loads(body.decode() or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError):  # the error would show a part of the body, which may be secret
        _refuse("The body is not JSON in UTF-8.")
    if not isinstance(value, dict):
        _refuse("The body is not a JSON object.")
    members: Members = _read(input_shape(operation, service), value, "")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _refuse(message: str) -> NoReturn:
    raise ApiError("SerializationException", message)


def _read(shape: Any, value: Any, path: str) -> Any:
    """The value as the API model has it. Members without a value are left out, but stay in lists and maps."""
    if value is None:
        return None
    kind = shape.type_name
    if kind == "structure" and isinstance(value, dict):
        known = {name: each for name, each in value.items() if name in shape.members and each is not None}
        return {name: _read(shape.members[name], each, f"{path}.{name}") for name, each in known.items()}
    if kind == "list" and isinstance(value, list):
        return [_read(shape.member, each, f"{path}.{at}.member") for at, each in enumerate(value, 1)]
    if kind == "map" and isinstance(value, dict):
        keys = [_read_text(key, path) for key in value]
        return {key: _read(shape.value, value[key], path) for key in keys}
    if kind == "string" and isinstance(value, str):
        return _read_text(value, path)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "integer" and _is_number(value):
        return _read_integer(value, path)
    if kind == "timestamp" and _is_number(value):
        return _read_time(value, path)
    _refuse(f"{_named(value)} can not be converted to {kind.capitalize()} at '{path[1:]}'")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_text(value: str, path: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold: without halves of characters and without NUL."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        _refuse(f"The text at '{path[1:]}' has a character that text can not have.")
    return value


def _read_integer(value: float, path: str) -> int:
    if value != value or abs(value) > _LARGEST_INTEGER or value != int(value):
        _refuse(f"NUMBER_VALUE can not be converted to Integer at '{path[1:]}'")
    return int(value)


def _read_time(value: float, path: str) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=value)
    except (OverflowError, ValueError):
        _refuse(f"NUMBER_VALUE can not be converted to Timestamp at '{path[1:]}'")


def _named(value: Any) -> str:
    """AWS's words for a JSON value of the wrong type."""
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    if isinstance(value, int | float):
        return "NUMBER_VALUE"
    if isinstance(value, str):
        return "STRING_VALUE"
    return "START_ARRAY" if isinstance(value, list) else "START_OBJECT"


def write_members(operation: str, members: Members | None, service: str = CODEPIPELINE) -> bytes:
    """The body of an answer: times as numbers, and what has no value left out.

    Raises:
        KeyError: the API model does not have a member of that name.
    """
    shape = output_shape(operation, service)
    return b"" if shape is None else json.dumps(_written(shape, members or {})).encode()


def _written(shape: Any, value: Any) -> Any:
    if shape.type_name == "structure" and isinstance(value, Mapping):
        return {key: _written(shape.members[key], each) for key, each in value.items() if each is not None}
    if shape.type_name == "list":
        return [_written(shape.member, each) for each in value]
    if shape.type_name == "map":
        return {key: _written(shape.value, each) for key, each in value.items()}
    if isinstance(value, datetime):
        return value.timestamp()
    return value
