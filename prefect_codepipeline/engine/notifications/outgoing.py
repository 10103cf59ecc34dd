"""Requests to URLs that people chose: they lead where their name did when it was checked, and nowhere private.

The name is looked up once, when the connection is made, and the connection goes to an address that was looked at; a name
that means something else a moment later (DNS rebinding) changes nothing. TLS checks the name, as always. No redirect is
followed, and no proxy of the environment is used.
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

_ANSWER_BYTES = 4096  # an answer is not looked at; so much is taken, so that the connection can be used again


class PrivateAddressError(Exception):
    """The URL leads to somebody's own network, which was not allowed."""


@dataclass(frozen=True)
class Answer:
    """What a server said: its status, and its headers by their names in small letters."""

    status: int
    headers: Mapping[str, str]


class Poster:
    """Posts to one URL, over a connection that is kept.

    Args:
        url: where to.
        allows_private_addresses: whether it may lead to this machine or its network.
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
        """Post it once.

        Args:
            body: what is posted.
            headers: its headers; length and host are added.
            timeout: so many seconds it may take to connect, to send, and to be answered.

        Raises:
            PrivateAddressError: the URL leads to an address that it may not.
            TimeoutError: there was no answer in time; the request may have been taken.
            ConnectionError: the server was not reached, its certificate is not good, or the connection broke.
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
        """Let the connection go."""
        self._pool.close()


def _read_a_little(stream: Iterable[bytes], ends: float) -> None:
    """An answer that is longer, or comes by drops, is left: its connection is closed rather than used again."""
    size = 0
    for chunk in stream:
        size += len(chunk)
        if size > _ANSWER_BYTES or time.monotonic() > ends:
            return


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were looked at."""

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
            raise httpcore.ConnectError(f"the name could not be looked up: {error}") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if self._allows_private_addresses:
            return addresses
        # One private address among public ones is no accident that a worker has to help.
        if not all(map(is_public, addresses)):
            raise PrivateAddressError("the URL leads to a private address; the block does not allow that")
        return addresses
