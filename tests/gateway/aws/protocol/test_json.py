"""JSON 1.1: what is no request is refused, what is unknown is ignored, and answers have only what the model has."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Any

import pytest

from prefect_codepipeline.gateway.aws.protocol.json import (
    ApiError,
    operation_of,
    read_members,
    write_members,
)
from prefect_codepipeline.gateway.aws.service import service_of

NO_JSON = "The body is not JSON in UTF-8."
NO_TEXT = "The text at 'name' has a character that text can not have."
NO_INTEGER = "NUMBER_VALUE can not be converted to Integer at 'version'"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"{", NO_JSON, id="half of it"),
        pytest.param(b'{"name": "\xff"}', NO_JSON, id="no UTF-8"),
        pytest.param('{"name": "x"}'.encode("utf-16"), NO_JSON, id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf{}", NO_JSON, id="a byte order mark"),
        pytest.param(b"[" * 500_000, NO_JSON, id="too deep"),
        pytest.param(b'{"unknown": ' + b"[" * 400_000 + b"]" * 400_000 + b"}", NO_JSON, id="too deep, closed"),
        pytest.param(b'{"version": NaN}', NO_JSON, id="not a number"),
        pytest.param(b'{"version": ' + b"9" * 5000 + b"}", NO_JSON, id="more digits than Python reads"),
        pytest.param(b"[]", "The body is not a JSON object.", id="a list"),
        pytest.param(b'"x"', "The body is not a JSON object.", id="a text"),
        pytest.param(b"null", "The body is not a JSON object.", id="null"),
        pytest.param(b'{"name": "a\\u0000"}', NO_TEXT, id="NUL"),
        pytest.param(b'{"name": "\\ud800"}', NO_TEXT, id="half a character"),
        pytest.param(b'{"name": 1}', "NUMBER_VALUE can not be converted to String at 'name'", id="a number"),
        pytest.param(b'{"name": true}', "TRUE_VALUE can not be converted to String at 'name'", id="true"),
        pytest.param(b'{"name": []}', "START_ARRAY can not be converted to String at 'name'", id="an array"),
        pytest.param(b'{"name": {}}', "START_OBJECT can not be converted to String at 'name'", id="an object"),
        pytest.param(b'{"version": "1"}', "STRING_VALUE can not be converted to Integer at 'version'", id="text"),
        pytest.param(b'{"version": false}', "FALSE_VALUE can not be converted to Integer at 'version'", id="false"),
        pytest.param(b'{"version": 1.5}', NO_INTEGER, id="a fraction"),
        pytest.param(b'{"version": 2147483648}', NO_INTEGER, id="too large"),
        pytest.param(b'{"version": 1e999}', NO_INTEGER, id="infinite"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_members("GetPipeline", body)

    assert (refused.value.code, refused.value.message, refused.value.status) == (
        "SerializationException",
        message,
        400,
    )


@pytest.mark.parametrize(
    ("operation", "members", "path"),
    [
        ("CreatePipeline", {"pipeline": {"stages": [{}, {"name": 1}]}}, "pipeline.stages.2.member.name"),
        ("CreatePipeline", {"pipeline": {"stages": {}}}, "pipeline.stages"),
        ("PollForJobs", {"queryParam": {"a": 1}}, "queryParam"),
        ("PollForJobs", {"queryParam": ["a"]}, "queryParam"),
        ("PutJobSuccessResult", {"currentRevision": {"created": "today"}}, "currentRevision.created"),
        ("PutJobSuccessResult", {"currentRevision": {"created": 1e15}}, "currentRevision.created"),
        ("PutJobSuccessResult", {"currentRevision": {"created": -1e300}}, "currentRevision.created"),
        ("StopPipelineExecution", {"abandon": "true"}, "abandon"),
    ],
)
def test_a_wrong_type_is_named_by_its_place(operation: str, members: Any, path: str) -> None:
    with pytest.raises(ApiError, match=f"at '{path}'$") as refused:
        read_members(operation, json.dumps(members).encode())

    assert refused.value.code == "SerializationException"


def test_unknown_members_and_null_are_ignored() -> None:
    kind = {"category": "Build", "color": "red", "owner": None}
    body = json.dumps({"actionTypeId": kind, "wanted": {"a": [1]}, "maxBatchSize": 3.0}).encode()

    assert read_members("PollForJobs", body) == {"actionTypeId": {"category": "Build"}, "maxBatchSize": 3}
    assert read_members("ListPipelines", b"") == {}


def test_times_come_as_times() -> None:
    body = b'{"currentRevision": {"created": 1700000000.25}}'

    time = datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=timezone.utc)
    assert read_members("PutJobSuccessResult", body) == {"currentRevision": {"created": time}}


def test_answers_have_times_as_numbers_and_no_null() -> None:
    time = datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=timezone.utc)
    metadata = {"pipelineArn": None, "created": time}

    written = json.loads(write_members("GetPipeline", {"pipeline": None, "metadata": metadata}))

    assert written == {"metadata": {"created": 1700000000.25}}
    assert write_members("DeletePipeline", None) == b""
    assert write_members("PollForJobs", None) == b"{}"


def test_a_member_that_the_model_does_not_have_is_never_answered() -> None:
    with pytest.raises(KeyError):
        write_members("GetPipeline", {"pipeline": {"colour": "red"}})


@pytest.mark.parametrize(
    "target",
    ["", "GetPipeline", "CodePipeline_20150709", "CodePipeline_20150709.", "CodePipeline_20150709.getPipeline",
     "CodeBuild_20161006.GetPipeline", "CodePipeline_20150709.GetPipeline.x"],
)  # fmt: skip
def test_an_unknown_operation_is_refused(target: str) -> None:
    with pytest.raises(ApiError) as refused:
        operation_of(target)

    assert (refused.value.code, refused.value.status) == ("UnknownOperationException", 400)


SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIA/20261128/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
)


@pytest.mark.parametrize(
    ("headers", "service"),
    [
        ({"authorization": SIGNED.format("s3")}, "s3"),
        ({"authorization": SIGNED.format("s3").replace(", ", ",")}, "s3"),
        ({"authorization": SIGNED.format("sts"), "x-amz-target": "CodePipeline_20150709.GetPipeline"}, "sts"),
        ({"x-amz-target": "ResourceGroupsTaggingAPI_20170126.GetResources"}, "tagging"),
        ({"x-amz-target": "CodePipeline_20150709.No"}, "codepipeline"),
        ({"x-amz-target": "CodeBuild_20161006.BatchGetBuilds"}, None),
        ({"authorization": "Bearer x"}, None),
        ({"authorization": SIGNED.format("ec2")}, "ec2"),
        ({"authorization": SIGNED.format("s3").replace("aws4_request", "aws4_requests")}, None),
        ({}, None),
    ],
)
def test_the_signature_says_which_service_is_asked(headers: dict[str, str], service: str | None) -> None:
    assert service_of(headers) == service


def test_a_strangers_long_header_is_not_searched_for_long() -> None:
    began = time.process_time()
    assert service_of({"authorization": "AWS4-HMAC-SHA256 " + "Credential=" * 5800}) is None
    assert time.process_time() - began < 0.2
