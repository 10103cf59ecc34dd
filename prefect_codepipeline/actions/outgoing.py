"""Requests to URLs that users configured, which must not reach private addresses.

The host name is resolved once, when the connection is opened, and the connection uses only a checked address. A name
that resolves to another address a moment later (DNS rebinding) has no effect. TLS checks the name, as usual. No redirect
to another host is followed, and no proxy from the environment is used.
"""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpcore
import httpx

from prefect_codepipeline.model.web_addresses import is_public

_ANSWER_BYTES = 4096  # the body is not used; up to this size it is read, so that the connection can be reused
_MOST_REDIRECTS = 6


class PrivateAddressError(Exception):
    """The URL leads to a private network, and its settings do not allow that."""


class TooLongError(Exception):
    """The response is longer than the limit."""


@dataclass(frozen=True)
class Answer:
    """A server's response: the status, and the headers by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Sending:
    """One request to send.

    Attributes:
        method: of the request.
        url: http or https.
        headers: length and host are added.
        body: of the request, or None.
        allows_private_addresses: whether the URL may lead to this machine or its network.
    """

    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    body: bytes | None = None
    allows_private_addresses: bool = False


def ask(sending: Sending, seconds: float, most_bytes: int, check: Callable[[], None]) -> Answer:
    """Send a request and read the response. Redirects are followed within the host; others are the answer.

    Args:
        sending: the request. After a redirect it is repeated with the same headers and, for 307 and 308, the same body.
        seconds: the limit for everything.
        most_bytes: of the body of the response.
        check: called while the body is read; may raise.

    Raises:
        PrivateAddressError: the URL leads to a private address, which is not allowed.
        TooLongError: the body of the response is longer than `most_bytes`.
        TimeoutError: there was no response in time.
        ConnectionError: the server was not reached, its certificate is not valid, or the connection broke.
    """
    ends = time.monotonic() + seconds
    with _translated_errors(), _pool(sending.allows_private_addresses) as pool:
        for _ in range(_MOST_REDIRECTS):
            answer = _ask_once(pool, sending, ends, most_bytes, check)
            following = _following(sending, answer)
            if following is None:
                break
            sending = following
        return answer


def login_header(url: httpx.URL) -> dict[str, str]:
    """The header for the user and the password in a URL; empty if there are none."""
    if not url.userinfo:
        return {}
    login = f"{url.username}:{url.password}".encode()
    return {"authorization": f"Basic {base64.b64encode(login).decode()}"}


def _ask_once(
    pool: httpcore.ConnectionPool, sending: Sending, ends: float, most_bytes: int, check: Callable[[], None]
) -> Answer:
    url = httpcore.URL(
        scheme=sending.url.raw_scheme,
        host=sending.url.raw_host,
        port=sending.url.port,
        target=sending.url.raw_path,
    )
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), max(ends - time.monotonic(), 0.1))
    with pool.stream(
        sending.method,
        url,
        headers=[(name.lower().encode(), value.encode()) for name, value in sending.headers.items()],
        content=b"" if sending.body is None and sending.method == "POST" else sending.body,
        extensions={"timeout": timeouts},
    ) as response:
        body = b""
        for chunk in response.iter_stream():
            body += chunk
            check()
            if time.monotonic() > ends:
                raise TimeoutError("the response did not end in time")
            if len(body) > most_bytes:
                raise TooLongError
        return Answer(response.status, _by_name(response.headers), body)


def _following(sending: Sending, answer: Answer) -> Sending | None:
    """The request after a redirect; None if there is none, or if it leads to another host."""
    location = answer.headers.get("location")
    if answer.status not in (301, 302, 303, 307, 308) or not location:
        return None
    try:
        url = sending.url.join(location)
    except httpx.InvalidURL:
        return None
    old = (sending.url.scheme, sending.url.host, sending.url.port)
    is_upgrade = old == ("http", url.host, None) and (url.scheme, url.port) == ("https", None)
    if (url.scheme, url.host, url.port) != old and not is_upgrade:
        return None
    if answer.status in (307, 308) or sending.method == "HEAD":
        return replace(sending, url=url)
    return replace(sending, url=url, method="GET", body=None)


class Poster:
    """Posts to one URL, over a connection that is reused.

    Args:
        url: the URL to post to.
        allows_private_addresses: whether the URL may lead to this machine or its network.
    """

    def __init__(self, url: str, allows_private_addresses: bool) -> None:
        self._url = url
        self._pool = _pool(allows_private_addresses)

    def post(self, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
        """Send one POST request.

        Args:
            body: the body of the request.
            headers: its headers; length and host are added.
            timeout: the limit in seconds for each of connecting, sending and receiving.

        Raises:
            PrivateAddressError: the URL leads to a private address, which is not allowed.
            TimeoutError: there was no response in time; the server may have accepted the request.
            ConnectionError: the server was not reached, its certificate is not valid, or the connection broke.
        """
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        extensions: dict[str, Any] = {"timeout": timeouts}
        ends = time.monotonic() + timeout
        with (
            _translated_errors(),
            self._pool.stream(
                "POST", self._url, headers=list(headers.items()), content=body, extensions=extensions
            ) as response,
        ):
            _read_a_little(response.iter_stream(), ends)
            return Answer(response.status, _by_name(response.headers))

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


def _pool(allows_private_addresses: bool) -> httpcore.ConnectionPool:
    return httpcore.ConnectionPool(
        ssl_context=ssl.create_default_context(),
        max_connections=1,
        keepalive_expiry=30,
        network_backend=_CheckedBackend(allows_private_addresses),
    )


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise TimeoutError("no answer in time") from error
    except TimeoutError:  # our own; it is an OSError
        raise
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _read_a_little(stream: Iterable[bytes], ends: float) -> None:
    """Stop at a response that is long or slow: its connection is closed instead of reused."""
    size = 0
    for chunk in stream:
        size += len(chunk)
        if size > _ANSWER_BYTES or time.monotonic() > ends:
            return


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects only to checked addresses."""

    def __init__(self, allows_private_addresses: bool) -> None:
        self._allows_private_addresses = allows_private_addresses
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        error: Exception | None = None
        for address in self._addresses(host, port):
            try:
                return self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                error = failure
        raise error or httpcore.ConnectError("the name has no address")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the host name could not be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if self._allows_private_addresses:
            return addresses
        # One private address among public ones is refused too: it may be an attack.
        if not all(map(is_public, addresses)):
            raise PrivateAddressError("the URL leads to a private address, which is not allowed")
        return addresses
