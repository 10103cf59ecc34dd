"""The app: which path leads where. What is not named here is answered with 404."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Lifespan

from prefect_codepipeline.gateway import approvals, slack
from prefect_codepipeline.gateway.guard import Guard
from prefect_codepipeline.gateway.rate import RateLimit

# Twenty people behind one address may open, decide and read the outcome at once.
BURST, PER_SECOND = 200.0, 5.0
LARGEST_BODY = 1_000_000


def create_app(
    more_routes: Sequence[BaseRoute] = (),
    rate: RateLimit | None = None,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """The gateway as an ASGI app.

    Args:
        more_routes: beside those for approvals.
        rate: for each source; of this process, so that n copies let n times as much pass.
        lifespan: what is done before the first request and after the last.
    """
    guard = Middleware(Guard, rate=rate or RateLimit(BURST, PER_SECOND), largest_body=LARGEST_BODY)
    routes = [Route("/health", _health), *approvals.ROUTES, *slack.ROUTES, *more_routes]
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)


def _health(_: Request) -> Response:
    """Whether this process answers; it has nothing else that could be ill."""
    return PlainTextResponse("ok\n")
