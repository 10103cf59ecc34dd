"""The ASGI app and its routes. Every other path is answered with 404."""

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

from prefect_codepipeline.deployments.local.access import proof
from prefect_codepipeline.deployments.local.api_url import embedded_secret
from prefect_codepipeline.gateway import openapi
from prefect_codepipeline.gateway.approvals import page as approvals
from prefect_codepipeline.gateway.aws import service as aws
from prefect_codepipeline.gateway.aws.protocol.request_ids import RequestIds
from prefect_codepipeline.gateway.aws.signing.identify import claimed_signer
from prefect_codepipeline.gateway.guard import Guard, Limits
from prefect_codepipeline.gateway.own_names import OwnNames
from prefect_codepipeline.gateway.own_pages import OwnPages
from prefect_codepipeline.gateway.rate import RateLimit
from prefect_codepipeline.gateway.slack import requests as slack
from prefect_codepipeline.gateway.threads import provide_threads
from prefect_codepipeline.gateway.webhooks.deliverer import Deliverer
from prefect_codepipeline.gateway.webhooks.requests import LARGEST_PAYLOAD, Webhooks

# Enough for twenty people behind one address who open a page, decide and read the result at the same time.
BURST, PER_SECOND = 200.0, 5.0
# A git host sends all its webhooks from a few addresses. A refused request costs ten more, so that a source whose
# requests are refused has about a tenth of the rate.
WEBHOOK_BURST, WEBHOOKS_PER_SECOND, REFUSAL_COST = 2000.0, 200.0, 10.0
# A body that did not arrive in ten seconds: one or two are an accident, four at once cost ten seconds without requests.
SLOW_COST, SLOW_WEBHOOK_COST = 50.0, 1000.0
LARGEST_BODY = 1_000_000


class Part(Protocol):
    """A service that runs beside the requests, in its own threads."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def default_limits() -> dict[str, Limits]:
    """Limits per source address, separate for webhooks. They count per process: n gateways allow n times as much."""
    return {
        "/webhooks/": Limits(
            RateLimit(WEBHOOK_BURST, WEBHOOKS_PER_SECOND), LARGEST_PAYLOAD, REFUSAL_COST, SLOW_WEBHOOK_COST
        ),
        "": Limits(RateLimit(BURST, PER_SECOND), LARGEST_BODY, slow_cost=SLOW_COST),
    }


def create_app(
    parts: Sequence[Part] = (), limits: Mapping[str, Limits] | None = None, *, is_local: bool = True
) -> Starlette:
    """The gateway as an ASGI app.

    Args:
        parts: services in addition to the webhook deliverer; started before the first request, stopped after the last.
        limits: used instead of the default limits.
        is_local: whether it listens on a loopback address only, where the AWS API may need no keys.
    """
    deliverer = Deliverer()
    routes = [
        Route("/health", _health, methods=["GET"]),
        *openapi.ROUTES,
        *approvals.ROUTES,
        *slack.ROUTES,
        *aws.ROUTES,
        *Webhooks(deliverer).routes,
        *aws.SIGNED_ROUTES,
    ]

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        provide_threads(app)
        for part in (deliverer, *parts):
            part.start()
        await run_in_threadpool(aws.prepare)  # here, or the first answer waits for it
        yield
        for part in (deliverer, *parts):
            await run_in_threadpool(part.stop)

    guard = Middleware(Guard, limits=limits or default_limits(), claimed_signer=claimed_signer)
    middleware = [Middleware(RequestIds), guard, Middleware(OwnNames), Middleware(OwnPages)]
    app = Starlette(routes=routes, middleware=middleware, lifespan=running)
    app.router.redirect_slashes = False
    app.state.is_local = is_local
    return app


def _health(request: Request) -> Response:
    """Answer `ok`. The process has no other state that could be unhealthy.

    The embedded set-up asks with a nonce, to know its own gateway from another program on the same port.
    """
    nonce, secret = request.query_params.get("nonce"), embedded_secret()
    if nonce and secret:
        return PlainTextResponse(proof(secret, "gateway", nonce))
    return PlainTextResponse("ok\n")
