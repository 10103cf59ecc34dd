"""What every request passes first: rate, size, headers, and a line in the log without anything secret in it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect_codepipeline.gateway.rate import RateLimit

_logger = logging.getLogger("codepipeline.gateway")
# What is not said to be allowed is not: no script, no frame, no cache, no address given away.
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex, nofollow",
}


class TooLarge(Exception):  # noqa: N818  # said to the client, not an error of ours
    """The body is larger than it may be."""


@dataclass(frozen=True)
class Limits:
    """What one part of the gateway lets pass.

    Attributes:
        rate: for each source and request.
        largest_body: in bytes.
        refusal_cost: how many requests one costs beside itself that is refused (401, 404).
    """

    rate: RateLimit
    largest_body: int
    refusal_cost: float = 0.0


class Guard:
    """Wraps the app.

    Args:
        app: what it guards.
        limits: by the beginning of the path; the first that fits counts, so the last is of the empty one.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, Limits]) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        limits = next(found for prefix, found in self._limits.items() if scope["path"].startswith(prefix))
        source = scope["client"][0] if scope.get("client") else "?"

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                added = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in given]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            await self._serve(limits, source, scope, receive, send_guarded)
        finally:
            if status in (401, 404):
                limits.rate.charge(source, limits.refusal_cost)
            seconds = time.perf_counter() - began
            _logger.info("%s %s %s %.3f s", scope["method"], _what(scope), status, seconds)

    async def _serve(self, limits: Limits, source: str, scope: Scope, receive: Receive, send: Send) -> None:
        if wait := limits.rate.wait_seconds(source):
            headers = {"retry-after": str(math.ceil(wait))}
            await PlainTextResponse("Too many requests; try again later.\n", 429, headers)(
                scope, receive, send
            )
            return
        try:
            await self._app(scope, _limited(receive, limits.largest_body), send)
        except TooLarge:
            await PlainTextResponse("The request is too large.\n", 413)(scope, receive, send)


def _limited(receive: Receive, largest: int) -> Receive:
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > largest:
            raise TooLarge
        return message

    return receive_limited


def _what(scope: Scope) -> str:
    """The route that was taken; the path itself holds what is secret, and what strangers make up."""
    route = scope.get("route")
    return str(getattr(route, "path", "(no route)"))
