"""What the AWS API answers to requests that reach no operation, and while Prefect is away."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from api_checks import CONTENT_TYPE, UUID, checked_client
from botocore.exceptions import ClientError
from serving import serving

from prefect_codepipeline.engine.approvals.links import load_gateway
from prefect_codepipeline.errors import ConflictException
from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.aws.protocol import answer
from prefect_codepipeline.gateway.aws.protocol.answer import JsonService
from prefect_codepipeline.gateway.aws.protocol.call import Call
from prefect_codepipeline.gateway.aws.protocol.service_model import has_models
from prefect_codepipeline.gateway.aws.service import HANDLERS
from prefect_codepipeline.gateway.threads import provide_threads

pytestmark = pytest.mark.live
TARGET = {"x-amz-target": "CodePipeline_20150709.ListPipelines"}
SECRET = "hunter2-hunter2"


def fail(call: Call) -> None:
    raise RuntimeError(f"a defect that knows {SECRET}")


def refuse(call: Call) -> None:
    raise ConflictException("the stage is busy")


def ask_prefect(call: Call) -> None:
    load_gateway()


@pytest.fixture
def answered_by(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what answers `ListPipelines`."""

    def set_it(operation: Any) -> None:
        service = JsonService("codepipeline", lambda: {"ListPipelines": operation})
        monkeypatch.setitem(HANDLERS, "codepipeline", service.answer)

    return set_it


REFUSED = [
    (TARGET, b"{", 400, "SerializationException"),
    (TARGET, b'{"maxResults": 0}', 400, "ValidationException"),
    (TARGET, b" " * 1_000_001, 413, "RequestEntityTooLargeException"),
    ({}, b"{}", 400, "UnknownOperationException"),
    ({"x-amz-target": "CodePipeline_20150709.Fly"}, b"{}", 400, "UnknownOperationException"),
    (
        {"x-amz-target": "ResourceGroupsTaggingAPI_20170126.GetTagKeys"},
        b"{}",
        400,
        "UnknownOperationException",
    ),
    ({**TARGET, "origin": "http://127.0.0.1"}, b"{}", 403, "AccessDeniedException"),
]


def test_a_request_that_reaches_no_operation_is_refused(gateway: str) -> None:
    for headers, body, status, code in REFUSED:
        answered = httpx.post(gateway, headers=headers, content=body)

        assert (answered.status_code, answered.json()["__type"]) == (status, code)
        assert answered.headers["content-type"] == CONTENT_TYPE
        assert UUID.fullmatch(answered.headers["x-amzn-requestid"])
        assert answered.json().keys() == {"__type", "message"}


def test_a_refusal_of_the_guard_has_an_id_too(gateway: str) -> None:
    answered = httpx.post(gateway, headers={**TARGET, "sec-fetch-site": "cross-site"}, content=b"{}")

    assert answered.status_code == 403
    assert UUID.fullmatch(answered.headers["x-amzn-requestid"])
    assert "x-amzn-requestid" not in httpx.get(f"{gateway}/health").headers


def test_paths_of_others_stay_theirs(gateway: str) -> None:
    assert httpx.get(gateway).status_code == 405
    assert httpx.get(f"{gateway}/bucket/key").status_code == 404
    assert httpx.post(f"{gateway}/health").status_code == 405


def test_a_conflict_is_409_and_a_defect_shows_nothing_of_the_inside(
    gateway: str, answered_by: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "codepipeline.gateway")
    answered_by(refuse)
    refused = httpx.post(gateway, headers=TARGET)
    answered_by(fail)
    failed = httpx.post(gateway, headers=TARGET, content=json.dumps({"nextToken": SECRET}))

    assert (refused.status_code, refused.json()) == (
        409,
        {"__type": "ConflictException", "message": "the stage is busy"},
    )
    assert (failed.status_code, failed.json()) == (
        500,
        {"__type": "InternalFailure", "message": "An internal error occurred."},
    )
    assert f"ListPipelines {failed.headers['x-amzn-requestid']} failed with RuntimeError" in caplog.text
    assert f"POST / ListPipelines {refused.headers['x-amzn-requestid']} 409" in caplog.text
    assert "in fail" in caplog.text
    assert SECRET not in caplog.text


@pytest.fixture
def without_prefect() -> Iterator[str]:
    """A gateway whose Prefect accepts connections, and answers none."""
    from prefect.context import refresh_global_settings_context

    from prefect_codepipeline.prefect_api.settings import forget_files

    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        forget_files()
        refresh_global_settings_context()
        app = create_app()
        provide_threads(app)
        with serving(
            app, lifespan="off"
        ) as address:  # without the threads of webhooks, which would wait for Prefect
            yield address
    forget_files()
    refresh_global_settings_context()


def test_while_prefect_is_away_everybody_is_told_in_time(
    without_prefect: str, answered_by: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer.WAIT_SECONDS + 1 < 10
    monkeypatch.setattr(answer, "WAIT_SECONDS", 1.0)  # a tenth of the time that users wait
    monkeypatch.setattr(answer, "REQUEST_SECONDS", 0.5)
    answered_by(ask_prefect)
    with (
        httpx.Client(timeout=60) as client,
        ThreadPoolExecutor(30) as threads,
    ):  # more than the gateway has threads
        answers = list(threads.map(lambda _: client.post(without_prefect, headers=TARGET), range(30)))

    assert {answered.status_code for answered in answers} == {503}
    assert {answered.json()["__type"] for answered in answers} == {"ServiceUnavailable"}
    assert max(answered.elapsed.total_seconds() for answered in answers) < 10
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        checked_client(without_prefect).list_pipelines()


def test_without_botocore_the_answer_says_what_is_missing(
    gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    has_models.cache_clear()
    try:
        answered = httpx.post(gateway, headers=TARGET)
    finally:
        has_models.cache_clear()

    assert (answered.status_code, answered.json()) == (
        501,
        {
            "__type": "NotImplementedException",
            "message": "The AWS API needs the extra `aws`: pip install 'prefect-codepipeline[aws]'.",
        },
    )
    assert httpx.get(f"{gateway}/health").status_code == 200
