"""The app: which path leads where. What is not named here is answered with 404."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from prefect_codepipeline.gateway import openapi
from prefect_codepipeline.gateway.approvals import page as approvals
from prefect_codepipeline.gateway.guard import Guard, Limits
from prefect_codepipeline.gateway.rate import RateLimit
from prefect_codepipeline.gateway.slack import requests as slack
from prefect_codepipeline.gateway.webhooks.deliverer import Deliverer
from prefect_codepipeline.gateway.webhooks.requests import LARGEST_PAYLOAD, Webhooks

# Twenty people behind one address may open, decide and read the outcome at once.
BURST, PER_SECOND = 200.0, 5.0
# All of a host's webhooks come from a few addresses; who is refused has a tenth of it.
WEBHOOK_BURST, WEBHOOKS_PER_SECOND, REFUSAL_COST = 2000.0, 200.0, 10.0
LARGEST_BODY = 1_000_000


class Part(Protocol):
    """What runs beside the requests, in threads of its own."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def default_limits() -> dict[str, Limits]:
    """For each source, webhooks apart; of this process, so that n copies let n times as much pass."""
    return {
        "/webhooks/": Limits(RateLimit(WEBHOOK_BURST, WEBHOOKS_PER_SECOND), LARGEST_PAYLOAD, REFUSAL_COST),
        "": Limits(RateLimit(BURST, PER_SECOND), LARGEST_BODY),
    }


def create_app(parts: Sequence[Part] = (), limits: Mapping[str, Limits] | None = None) -> Starlette:
    """The gateway as an ASGI app.

    Args:
        parts: started before the first request and stopped after the last, beside what deals with webhooks.
        limits: in place of the default ones.
    """
    deliverer = Deliverer()
    routes = [
        Route("/health", _health, methods=["GET"]),
        *openapi.ROUTES,
        *approvals.ROUTES,
        *slack.ROUTES,
        *Webhooks(deliverer).routes,
    ]

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        for part in (deliverer, *parts):
            part.start()
        yield
        for part in (deliverer, *parts):
            await run_in_threadpool(part.stop)

    guard = Middleware(Guard, limits=limits or default_limits())
    app = Starlette(routes=routes, middleware=[guard], lifespan=running)
    app.router.redirect_slashes = False
    return app


def _health(_: Request) -> Response:
    """Whether this process answers; it has nothing else that could be ill."""
    return PlainTextResponse("ok\n")
