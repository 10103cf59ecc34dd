"""What stands before the embedded Prefect server: only its own names and its own pages are let through.

A web page that the user opens can send requests to 127.0.0.1, also under a name of its own that it has pointed there.
Such requests have a foreign `Host` or a foreign `Origin`. The server's password is required besides.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_codepipeline.deployments.local.access import (
    HOSTS_VARIABLE,
    IDENTITY_PATH,
    SIGN_IN_PATH,
    allowed_hosts,
    allowed_origins,
    is_ticket,
    password_of_ui,
    proof,
)

_LONGEST_TICKET = 200
# Prefect's own services send requests to the app without a socket. What came through one has the socket's address here.
_IN_PROCESS = "prefect-in-memory"
# The ticket is behind the `#`, which browsers send to no server and write to no log of one.
_SCRIPT = """
const [ticket, ...rest] = location.hash.slice(1).split("/");
history.replaceState(null, "", location.pathname);
fetch(location.pathname, {method: "POST", body: ticket}).then(async (answer) => {
  if (!answer.ok) throw new Error();
  localStorage.setItem("prefect-password", await answer.json());
  location.replace(new URL("./" + rest.join("/"), location.origin + "/"));
}).catch(() => {
  document.body.textContent = "This link has expired or is incomplete. `codepipeline up` prints a new one.";
});
"""
_PAGE = (
    f'<!doctype html><meta charset="utf-8"><title>Sign in</title><body>Signing in …<script>{_SCRIPT}</script>'
)
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}


class ServerGuard:
    """ASGI middleware that checks each request and each websocket, and serves the page that signs a browser in."""

    def __init__(self, app: ASGIApp, port: str, auth: str) -> None:
        self._app = app
        self._hosts = set(allowed_hosts(port))
        self._origins = set(allowed_origins(port))
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and serve one request."""
        if scope["type"] not in ("http", "websocket") or (scope.get("server") or [""])[0] == _IN_PROCESS:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["headers"])
        if refusal and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif refusal:
            await refusal(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == SIGN_IN_PATH:
            await (await self._sign_in(Request(scope, receive)))(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == IDENTITY_PATH:
            asked = Request(scope).query_params.get("nonce", "")
            await PlainTextResponse(proof(self._auth, "server", asked))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> Response | None:
        given = [(name, value.decode("latin-1").lower()) for name, value in headers]
        hosts = [value for name, value in given if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            text = f"This server does not answer to this name; {HOSTS_VARIABLE} can add names.\n"
            return PlainTextResponse(text, 421)
        if any(name == b"origin" and value not in self._origins for name, value in given):
            return PlainTextResponse("Pages of other sites may not use this server.\n", 403)
        return None

    async def _sign_in(self, request: Request) -> Response:
        if request.method == "GET":
            return HTMLResponse(_PAGE, headers=_HEADERS)
        length = request.headers.get("content-length", "")
        if request.method == "POST" and length.isdecimal() and int(length) <= _LONGEST_TICKET:
            ticket = (await request.body()).decode("latin-1")
            if is_ticket(self._auth, ticket):
                return JSONResponse(password_of_ui(self._auth), headers=_HEADERS)
        return PlainTextResponse("This link is not valid.\n", 403)
