"""Requests that transfer files, with real sockets: only those that are allowed to are larger and take longer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from serving import serving
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from prefect_codepipeline.gateway import transfers
from prefect_codepipeline.gateway.connections import Connections, limited_protocol
from prefect_codepipeline.gateway.guard import Guard, Limits
from prefect_codepipeline.gateway.rate import RateLimit
from prefect_codepipeline.gateway.transfers import allow_transfer

LARGEST, MOST, SILENT = 1000, 2, 1.0


async def _answer(request: Request) -> Response:
    if request.url.path == "/transfer":
        allow_transfer(request.scope, 5000)
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(transfers, "SILENT_SECONDS", SILENT)
    limits = {"": Limits(RateLimit(1e9, 1e9), LARGEST)}
    app = Starlette(
        routes=[Route(path, _answer, methods=["POST"]) for path in ("/transfer", "/other")],
        middleware=[Middleware(Guard, limits=limits, body_seconds=0.4)],
    )
    protocol = limited_protocol(Connections(MOST, MOST), header_seconds=5, request_seconds=0.8)
    with serving(app, http=protocol) as served:
        yield served


def begin(url: str, path: str, length: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", httpx.URL(url).port), timeout=10)
    connection.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode())
    return connection


def answer_to_a_slow_one(url: str, path: str) -> bytes:
    """The first line of the answer to a body of four bytes, one each 0.35 seconds."""
    with begin(url, path, 4) as connection:
        try:
            for byte in b"abcd":
                time.sleep(0.35)
                connection.sendall(bytes([byte]))
            return connection.recv(12)
        except (ConnectionError, BrokenPipeError):
            return b""


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/other", 1000, 200), ("/other", 1001, 413), ("/transfer", 5000, 200), ("/transfer", 5001, 413)],
)
def test_the_body_of_a_transfer_may_be_larger(path: str, size: int, status: int, url: str) -> None:
    assert httpx.post(f"{url}{path}", content=bytes(size)).status_code == status


def test_a_transfer_may_take_longer_than_other_requests(url: str) -> None:
    assert answer_to_a_slow_one(url, "/transfer") == b"HTTP/1.1 200"
    assert answer_to_a_slow_one(url, "/other") in (b"HTTP/1.1 408", b"")


def test_the_next_request_of_a_connection_has_the_usual_limits(url: str) -> None:
    with httpx.Client() as client:
        assert client.post(f"{url}/transfer", content=bytes(5000)).status_code == 200
        assert client.post(f"{url}/other", content=bytes(1001)).status_code == 413


def test_a_transfer_is_not_closed_to_make_room(url: str) -> None:
    with begin(url, "/transfer", 300_000) as transfer:
        transfer.sendall(b"x")
        # Another request is answered after the app has seen this one.
        assert httpx.post(f"{url}/other", content=b"x").status_code == 200
        with begin(url, "/other", 2) as other, begin(url, "/other", 2) as newcomer:
            newcomer.sendall(b"ab")
            assert newcomer.recv(12) == b"HTTP/1.1 200"
            assert is_closed(other)
        transfer.sendall(bytes(5001))
        assert transfer.recv(12) == b"HTTP/1.1 413"


def test_a_silent_transfer_ends(url: str) -> None:
    with begin(url, "/transfer", 2) as connection:
        assert connection.recv(12) == b"HTTP/1.1 408"


def test_the_next_request_of_a_connection_is_closed_to_make_room(url: str) -> None:
    with begin(url, "/transfer", 2) as connection:
        connection.sendall(b"ab")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"POST /other HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n")
        assert httpx.post(f"{url}/other", content=b"x").status_code == 200
        with begin(url, "/other", 2), begin(url, "/other", 2):
            assert is_closed(connection)


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(12) == b""
    except ConnectionError:
        return True
