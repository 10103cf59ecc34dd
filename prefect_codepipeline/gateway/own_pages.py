"""Refuse what a page of another site sends by a user's browser, which reaches a gateway that the site itself cannot reach."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class OwnPages:
    """ASGI middleware that refuses POST requests of other sites' pages. Git hosts and Slack are no browsers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and serve one request."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        if is_post and Request(scope).headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            refusal = PlainTextResponse("Pages of other sites may not send this.\n", 403)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
