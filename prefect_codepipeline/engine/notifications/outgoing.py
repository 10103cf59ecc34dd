"""Requests to URLs that users configured, which must not reach private addresses.

The host name is resolved once, when the connection is opened, and the connection uses only a checked address. A name
that resolves to another address a moment later (DNS rebinding) has no effect. TLS checks the name, as usual. No redirect
is followed, and no proxy from the environment is used.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore

from prefect_codepipeline.model.web_addresses import is_public

_ANSWER_BYTES = 4096  # the body is not used; up to this size it is read, so that the connection can be reused


class PrivateAddressError(Exception):
    """The URL leads to a private network, and the block does not allow that."""


@dataclass(frozen=True)
class Answer:
    """A server's response: the status, and the headers by their names in lower case."""

    status: int
    headers: Mapping[str, str]


class Poster:
    """Posts to one URL, over a connection that is reused.

    Args:
        url: the URL to post to.
        allows_private_addresses: whether the URL may lead to this machine or its network.
    """

    def __init__(self, url: str, allows_private_addresses: bool) -> None:
        self._url = url
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=1,
            keepalive_expiry=30,
            network_backend=_CheckedBackend(allows_private_addresses),
        )

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
        try:
            with self._pool.stream(
                "POST", self._url, headers=list(headers.items()), content=body, extensions=extensions
            ) as response:
                _read_a_little(response.iter_stream(), ends)
                pairs = (
                    (name.decode("latin-1").lower(), value.decode("latin-1"))
                    for name, value in response.headers
                )
                return Answer(response.status, dict(pairs))
        except httpcore.TimeoutException as error:
            raise TimeoutError("no answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise ConnectionError(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


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
            raise PrivateAddressError("the URL leads to a private address; the block does not allow that")
        return addresses
