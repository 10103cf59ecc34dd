"""Clients that stay silent, with real sockets: they shut out no one, and their connections end."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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

from prefect_codepipeline.gateway.connections import Connections, limited_protocol, proxy_networks
from prefect_codepipeline.gateway.guard import Guard, Limits
from prefect_codepipeline.gateway.rate import RateLimit, source_of

SILENT = 520


async def _answer(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def guarded(**options: Any) -> Starlette:
    guard = Middleware(Guard, limits={"": Limits(RateLimit(1e9, 1e9), 1_000_000)}, **options)
    routes = [Route("/health", _answer, methods=["GET", "POST"])]
    return Starlette(routes=routes, middleware=[guard])


def limits(most: int = 500, of_source: int = 200, proxies: str = "", **seconds: float) -> dict[str, Any]:
    return {"http": limited_protocol(Connections(most, of_source, proxy_networks(proxies)), **seconds)}


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """Both ends of all connections are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def connect() -> Iterator[Callable[[str, bytes], socket.socket]]:
    with ExitStack() as stack:

        def connect_once(url: str, said: bytes = b"") -> socket.socket:
            found = stack.enter_context(socket.create_connection(("127.0.0.1", httpx.URL(url).port)))
            found.sendall(said)
            found.settimeout(20)
            return found

        yield connect_once


def can_send(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
    except OSError:
        return False
    return True


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end closes the connection, with or without an answer, before the timeout."""
    try:
        while connection.recv(1000):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "said",
    [b"", b"POST /health HTTP/1.1\r\nhost: x\r\nx-a: ", b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1"],
    ids=["nothing", "a part of the headers", "a part of the body"],
)  # fmt: skip
def test_520_silent_connections_of_one_address_shut_out_no_other_client(said: bytes, connect: Any) -> None:
    # The clients come from a trusted proxy's address, for which no limit of its own applies.
    with serving(guarded()) as url:
        silent = [connect(url, said) for _ in range(SILENT)]

        answers = [httpx.get(f"{url}/health", timeout=5).status_code for _ in range(3)]

        assert answers == [200, 200, 200]
        assert is_closed(silent[0]), "the oldest made room"
        for each in silent:  # else the gateway waits for the rest of the bodies before it ends
            each.close()


def test_an_address_that_is_no_proxy_has_fewer_connections(connect: Any) -> None:
    with serving(guarded(), **limits(of_source=5)) as url:
        silent = [connect(url) for _ in range(6)]

        assert is_closed(silent[0])
        assert httpx.get(f"{url}/health", timeout=5).status_code == 200
        silent[-1].sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert silent[-1].recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "said", [b"", b"GET /health HTTP/1.1\r\nhost: x\r\nx-a: ", b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET"],
    ids=["nothing", "a part of the headers", "a part of the second request"],
)  # fmt: skip
def test_headers_have_a_time_limit_however_slowly_they_drip(said: bytes, connect: Any) -> None:
    with serving(guarded(), **limits(header_seconds=0.5)) as url:
        slow = connect(url, said)

        assert until(lambda: not can_send(slow), seconds=15)


def test_a_body_has_a_time_limit_on_every_path(connect: Any) -> None:
    with serving(guarded(body_seconds=0.3), **limits(header_seconds=0.5)) as url:
        slow = connect(url, b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1")

        assert slow.recv(12) == b"HTTP/1.1 408"
        assert is_closed(slow)


def test_an_address_whose_bodies_do_not_arrive_may_send_less(connect: Any) -> None:
    guard = Middleware(
        Guard, limits={"": Limits(RateLimit(10, 0.01), 1_000_000, slow_cost=4)}, body_seconds=0.1
    )
    app = Starlette(routes=[Route("/health", _answer, methods=["GET", "POST"])], middleware=[guard])
    with serving(app) as url:
        for _ in range(2):
            slow = connect(
                url,
                b"POST /health HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.1\r\ncontent-length: 9\r\n\r\n1",
            )
            assert slow.recv(12) == b"HTTP/1.1 408"

        def status(address: str) -> int:
            return httpx.get(f"{url}/health", headers={"x-forwarded-for": address}).status_code

        assert status("192.0.2.1") == 429
        assert status("192.0.2.2") == 200


def test_headers_have_a_largest_size(connect: Any) -> None:
    with serving(guarded(), **limits()) as url:
        large = connect(url, b"GET /health HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 200_000)

        assert is_closed(large)


@dataclass(eq=False)
class Client:
    source: str
    is_waiting: bool
    is_closed: bool = False

    def abort(self) -> None:
        self.is_closed = True


def test_those_whose_requests_are_complete_are_never_closed_for_others() -> None:
    connections = Connections(most=4, most_of_source=3, proxies=proxy_networks("10.0.0.1, 192.168.0.0/16"))
    busy = [Client("192.0.2.1", is_waiting=False) for _ in range(3)]
    proxied = Client("10.0.0.1", is_waiting=True)
    assert all(connections.admit(each) for each in [*busy, proxied])

    assert not connections.admit(Client("192.0.2.1", is_waiting=True)), "has its three"
    newcomer = Client("198.51.100.7", is_waiting=False)
    assert connections.admit(newcomer)
    assert [each.is_closed for each in [*busy, proxied]] == [False, False, False, True]
    assert not connections.admit(Client("198.51.100.8", is_waiting=True)), "all are busy"
    connections.drop(busy[0])
    assert connections.admit(Client("198.51.100.8", is_waiting=True))


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_one_customer_of_ipv6_is_one_source(address: str, source: str) -> None:
    assert source_of(address) == source
