"""Checks of every request: rate and size. Adds security headers, and logs each request without secrets."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect_codepipeline.gateway.rate import RateLimit, source_of
from prefect_codepipeline.gateway.transfers import BODY, BodyLimit

_logger = logging.getLogger("codepipeline.gateway")
# Forbid everything that is not used: scripts, frames, caches, referrers.
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
# GitHub waits ten seconds for an answer.
BODY_SECONDS = 10.0
# Requests that are not signed with the key that they claim.
FAILURES_AT_ONCE, FAILURES_PER_SECOND = 20.0, 1.0
# Set in the scope of a request once it is known who has signed it.
IDENTIFIED = "codepipeline.identified"
# What nginx logs for a client that hung up.
_CLIENT_CLOSED = 499


class TooLarge(Exception):  # noqa: N818  # answered with 413, not an error of the service
    """The body is larger than the limit."""


class TooSlow(Exception):  # noqa: N818  # answered with 408, not an error of the service
    """The body did not arrive in time."""


@dataclass(frozen=True)
class Limits:
    """The limits of one group of paths.

    Attributes:
        rate: requests per source address.
        largest_body: in bytes.
        refusal_cost: the number of additional requests that a refused one (401, 404) counts as.
        slow_cost: the same for one whose body did not arrive in time (408).
    """

    rate: RateLimit
    largest_body: int
    refusal_cost: float = 0.0
    slow_cost: float = 0.0


class Guard:
    """ASGI middleware with the checks.

    Args:
        app: the wrapped app.
        limits: by path prefix. The first match counts, so the last prefix must be empty.
        body_seconds: the time that a client has to send its body, from when the app begins to read it.
        claimed_signer: finds the access key that a request claims to be signed with. Requests with a known key are not
            counted, unless too many of them, from the same address and with the same key, were not signed with it:
            who only knows the id of a key has the rate of strangers, and cannot shut out those who have the key.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Mapping[str, Limits],
        body_seconds: float = BODY_SECONDS,
        claimed_signer: Callable[[Scope], str | None] = lambda scope: None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._body_seconds = body_seconds
        self._claimed_signer = claimed_signer
        self._failures = RateLimit(FAILURES_AT_ONCE, FAILURES_PER_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        limits = next(found for prefix, found in self._limits.items() if scope["path"].startswith(prefix))
        source = source_of(scope["client"][0]) if scope.get("client") else "?"

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                existing = {name.lower() for name, _ in message["headers"]}
                added = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in existing]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        signer = self._claimed_signer(scope)
        pair = f"{source} {signer}"
        is_counted = signer is None or self._failures.wait_seconds(pair, cost=0) > 0
        try:
            wait = limits.rate.wait_seconds(source) if is_counted else 0.0
            await self._serve(limits, wait, scope, receive, send_guarded)
        finally:
            if signer and not scope.get(IDENTIFIED):
                self._failures.charge(pair, 1)
            cost = {401: limits.refusal_cost, 404: limits.refusal_cost, 408: limits.slow_cost}.get(status, 0)
            limits.rate.charge(source, cost)
            seconds = time.perf_counter() - started
            _logger.info("%s %s %s %.3f s", scope["method"], _route_of(scope), status, seconds)

    async def _serve(self, limits: Limits, wait: float, scope: Scope, receive: Receive, send: Send) -> None:
        if wait:
            headers = {"retry-after": str(math.ceil(wait))}
            await PlainTextResponse("Too many requests; try again later.\n", 429, headers)(
                scope, receive, send
            )
            return
        limit = scope[BODY] = BodyLimit(limits.largest_body, self._body_seconds)
        try:
            await self._app(scope, _limited(receive, limit), send)
        except ClientDisconnect:
            # The client hung up in the middle of its request. This response is only for the log: it reaches no client.
            await Response(status_code=_CLIENT_CLOSED)(scope, receive, send)
        except TooLarge:
            await PlainTextResponse("The request is too large.\n", 413)(scope, receive, send)
        except TooSlow:
            await PlainTextResponse("The request took too long.\n", 408)(scope, receive, send)


def _limited(receive: Receive, limit: BodyLimit) -> Receive:
    size, is_complete, deadline = 0, False, 0.0

    async def receive_limited() -> Message:
        nonlocal size, is_complete, deadline
        if is_complete:  # the app waits for the client to hang up
            return await receive()
        if not deadline or limit.is_transfer:
            deadline = anyio.current_time() + limit.seconds
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                message = await receive()
        except TimeoutError:
            raise TooSlow from None
        is_complete = not message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > limit.largest:
            raise TooLarge
        return message

    return receive_limited


def _route_of(scope: Scope) -> str:
    """The matched route. The path itself may contain secrets or arbitrary text of strangers."""
    route = scope.get("route")
    path = str(getattr(route, "path", "(no route)"))
    state = scope.get("state", {})  # of the AWS API: the operation and the id of the request
    return " ".join(filter(None, [path, state.get("logged"), state.get("request_id")]))
