"""What every request passes first."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from serving import serving
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from waiting import until

from prefect_codepipeline.deployments.local.access import HOSTS_VARIABLE
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.guard import Guard, Limits
from prefect_codepipeline.gateway.own_names import OwnNames
from prefect_codepipeline.gateway.rate import RateLimit


async def _echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def ask(app: Starlette, method: str, path: str, **more: Any) -> httpx.Response:
    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **more)

    return asyncio.run(answer())


def guarded(rate: RateLimit, largest: int = 100) -> Starlette:
    guard = Middleware(Guard, limits={"": Limits(rate, largest)})
    return Starlette(routes=[Route("/x/{secret}", _echo, methods=["POST"])], middleware=[guard])


def test_a_source_that_asks_too_often_learns_when_to_come_back() -> None:
    app = guarded(RateLimit(2, 0.1, clock=lambda: 0.0))

    answers = [ask(app, "POST", "/x/1") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "10"


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 404), (None, 404)]
)
def test_a_page_of_another_site_can_send_nothing_by_a_users_browser(site: str | None, status: int) -> None:
    headers = {"sec-fetch-site": site} if site else {}

    assert ask(create_app(), "POST", "/nowhere", headers=headers).status_code == status
    assert ask(create_app(), "GET", "/health", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:4290", 404),
        ("[::1]:4290", 404),
        ("10.0.0.5", 404),
        ("localhost:8080", 404),
        ("LOCALHOST.", 404),
        ("release.example.com", 404),
        ("Release.example.com.:8443", 404),
        ("added.example.com:1", 404),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:4290", 421),
        ("evil.example@localhost", 421),
        ("", 421),
    ],
)
def test_only_the_gateways_own_names_are_answered(
    host: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOSTS_VARIABLE, "Added.example.com:8080")
    app = Starlette(middleware=[Middleware(OwnNames, public_name=lambda: "release.example.com")])

    assert ask(app, "POST", "/nowhere", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("fresh_seconds", "statuses", "times"), [(60, [421, 421, 421], 1), (0, [421, 404, 404], 2)]
)
def test_a_new_public_name_is_found_and_not_asked_for_at_each_request(
    fresh_seconds: float, statuses: list[int], times: int
) -> None:
    asked: list[str | None] = []

    def find() -> str | None:
        asked.append("release.example.com" if asked else None)
        return asked[-1]

    app = Starlette(middleware=[Middleware(OwnNames, public_name=find, fresh_seconds=fresh_seconds)])
    found = [ask(app, "GET", "/x", headers={"host": "release.example.com"}).status_code for _ in range(3)]

    assert (found, len(asked)) == (statuses, times)


def test_while_prefect_is_away_an_unknown_name_is_asked_to_come_back() -> None:
    def find() -> str:
        raise PrefectUnavailable("away")

    app = Starlette(middleware=[Middleware(OwnNames, public_name=find)])

    assert ask(app, "GET", "/x", headers={"host": "release.example.com"}).status_code == 503
    assert ask(app, "GET", "/x", headers={"host": "localhost"}).status_code == 404


def test_each_source_has_its_own_rate_and_it_comes_back() -> None:
    now = 0.0
    rate = RateLimit(1, 0.5, clock=lambda: now)

    assert (rate.wait_seconds("a"), rate.wait_seconds("b")) == (0, 0)
    assert rate.wait_seconds("a") == 2
    now = 2.0
    assert rate.wait_seconds("a") == 0


@pytest.mark.parametrize(("size", "status"), [(100, 200), (101, 413)])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "in parts"])
def test_a_body_that_is_too_large_is_not_read_to_its_end(size: int, status: int, is_streamed: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"x"

    content = parts() if is_streamed else b"x" * size

    assert ask(guarded(RateLimit(9, 1)), "POST", "/x/1", content=content).status_code == status


def test_the_log_names_the_route_and_nothing_that_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "codepipeline.gateway")
    app = guarded(RateLimit(9, 1))

    ask(app, "POST", "/x/s3cret?token=s3cret", headers={"authorization": "s3cret"})
    ask(app, "GET", "/s3cret")

    ours = [record.getMessage() for record in caplog.records if record.name.startswith("codepipeline")]
    assert [line.rsplit(" ", 2)[0] for line in ours] == ["POST /x/{secret} 200", "GET (no route) 404"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/", 405),
        ("GET", "/approvals/", 404),
        ("GET", "/docs", 404),
        ("PUT", "/approvals/x", 405),
        ("GET", "/slack/interactions", 405),
    ],
)
def test_what_is_not_allowed_is_denied_and_every_answer_is_guarded(
    method: str, path: str, status: int
) -> None:
    answer = ask(create_app(), method, path)

    assert answer.status_code == status
    assert_guarded(answer)


def assert_guarded(answer: httpx.Response) -> None:
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/approvals/link", "/slack/interactions"])
def test_a_client_that_hangs_up_in_the_middle_is_no_error(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's log has the request, and no traceback."""
    caplog.set_level(logging.INFO)
    with serving(create_app()) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(head.encode() + b"half")
        until(lambda: [each for each in caplog.messages if each.startswith("POST")])
        assert httpx.get(f"{url}/health").status_code == 200

    (line,) = [each for each in caplog.messages if each.startswith("POST")]
    assert " 499 " in line
    assert [
        each.getMessage()
        for each in caplog.records
        if each.exc_info or (each.name == "uvicorn.error" and each.levelno >= logging.WARNING)
    ] == []
