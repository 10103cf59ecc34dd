"""Limits of connections: how long a client may take, and how many connections one address may hold.

Uvicorn answers 503 to everybody once it has its limit of connections, and waits without an end for the headers and the
body of a request. So a client that opens connections and stays silent would shut out all others.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect_codepipeline.gateway.rate import source_of
from prefect_codepipeline.gateway.transfers import CONNECTION

# Together, and of one address.
MOST, MOST_OF_SOURCE = 500, 200
# For the headers of a request, from the opening of the connection or from the last response. A client that connects
# over a bad line needs a few seconds.
HEADER_SECONDS = 10.0
# From the headers to the end of the response; the body has a limit of its own, in `guard.py`.
REQUEST_SECONDS = 120.0
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Connection(Protocol):
    """An open connection.

    Attributes:
        source: the address, as `source_of` gives it.
        is_waiting: whether the client has not sent a complete request.
    """

    source: str

    @property
    def is_waiting(self) -> bool: ...

    def abort(self) -> None: ...


class Connections:
    """The open connections, oldest first. To admit a new one, one whose client is silent may be closed.

    Args:
        most: of all connections.
        most_of_source: of the connections of one address.
        proxies: addresses that have as many connections as they need, because all clients come through them.
    """

    def __init__(self, most: int, most_of_source: int, proxies: Sequence[Network] | None = ()) -> None:
        self._most = most
        self._most_of_source = most_of_source
        self._proxies = proxies
        self._open: dict[Connection, str] = {}

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False if it must be closed."""
        source = connection.source
        own = [each for each, of in self._open.items() if of == source]
        if len(own) >= self._most_of_source and not self._is_proxy(source) and not self._close_one(own):
            return False
        if len(self._open) >= self._most:
            # The address with the most connections pays: an attacker, rather than the newcomer's neighbours.
            (busiest, _), *_ = Counter(self._open.values()).most_common(1)
            of_busiest = [each for each, of in self._open.items() if of == busiest]
            if not self._close_one(of_busiest) and not self._close_one(list(self._open)):
                return False
        self._open[connection] = source
        return True

    def drop(self, connection: Connection) -> None:
        """Forget a connection that was closed."""
        self._open.pop(connection, None)

    def _close_one(self, connections: Sequence[Connection]) -> bool:
        """Close the oldest one whose client has not sent a complete request; False if all have."""
        oldest = next((each for each in connections if each.is_waiting), None)
        if oldest is None:
            return False
        self.drop(oldest)
        oldest.abort()
        return True

    def _is_proxy(self, source: str) -> bool:
        if self._proxies is None:
            return True
        try:
            address = ipaddress.ip_network(source)
        except ValueError:  # a Unix socket
            return True
        return any(address.version == each.version and address.overlaps(each) for each in self._proxies)


def proxy_networks(trusted_proxies: str) -> list[Network] | None:
    """The addresses of `--trusted-proxies`; None for `*`, which trusts all."""
    names = [each.strip() for each in trusted_proxies.split(",") if each.strip()]
    if "*" in names:
        return None
    found: list[Network] = []
    for name in names:
        try:
            found.append(ipaddress.ip_network(name, strict=False))
        except ValueError:  # such as `localhost`, which uvicorn compares as a text
            continue
    return found


class _TransferProtocol(H11Protocol):
    """Uvicorn's protocol whose requests can be allowed to transfer a file, each for itself: see `transfers`."""

    is_transfer = False

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.is_transfer = False
            self.cycle.scope[CONNECTION] = self  # type: ignore[literal-required]  # ours

    def allow_transfer(self, seconds: float) -> None:
        """Let this request take that long, and do not close its connection for others."""
        self.is_transfer = True
        self._set_deadline(seconds)

    def _set_deadline(self, seconds: float | None) -> None:
        raise NotImplementedError


def limited_protocol(
    connections: Connections, header_seconds: float = HEADER_SECONDS, request_seconds: float = REQUEST_SECONDS
) -> type[asyncio.Protocol]:
    """Uvicorn's protocol for HTTP, with the limits of `connections` and of time.

    It is the one that limits the size of headers; uvicorn's other one is faster, and stores as many as a client sends.
    """

    class LimitedProtocol(_TransferProtocol):
        """One connection. It is closed at the deadline of what its client or its request is doing."""

        source = ""
        _deadline: asyncio.TimerHandle | None = None

        @property
        def is_waiting(self) -> bool:
            return not self._has_request or (self.cycle.more_body and not self.is_transfer)

        @property
        def _has_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def abort(self) -> None:
            self.transport.abort()

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            peer = transport.get_extra_info("peername")
            self.source = source_of(peer[0]) if isinstance(peer, tuple) else ""
            if connections.admit(self):
                self._set_deadline(header_seconds)
            else:
                transport.write(_FULL)
                transport.close()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before and self._has_request:
                self._set_deadline(request_seconds)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            # The client may have sent its next request already.
            self._set_deadline(request_seconds if self._has_request else header_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.drop(self)
            self._set_deadline(None)
            super().connection_lost(exc)

        def _set_deadline(self, seconds: float | None) -> None:
            if self._deadline:
                self._deadline.cancel()
            self._deadline = self.loop.call_later(seconds, self.abort) if seconds is not None else None

    return LimitedProtocol


def serving_options(trusted_proxies: str) -> dict[str, Any]:
    """The arguments of uvicorn with the limits."""
    return {
        "http": limited_protocol(Connections(MOST, MOST_OF_SOURCE, proxy_networks(trusted_proxies))),
        # A connection that becomes a WebSocket would leave the limits, and nothing here uses one.
        "ws": "none",
        "forwarded_allow_ips": trusted_proxies,
    }
