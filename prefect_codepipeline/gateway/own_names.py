"""Refuse requests under a name that is not the gateway's.

A page can point a name of its own to this machine or to an address in the user's network. The browser then sends it there
as the page's own site, with that name as `Host`, so `own_pages.py` lets it through. An address is no such name.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_codepipeline.deployments.local.access import HOSTS_VARIABLE, added_hosts
from prefect_codepipeline.engine.approvals.links import load_gateway
from prefect_codepipeline.errors import MissingBlock, PrefectUnavailable
from prefect_codepipeline.prefect_api.client import within

# How old the known public name may be when a request comes under another one.
FRESH_SECONDS = 5.0
_PREFECT_SECONDS = 4.0
_logger = logging.getLogger("codepipeline.gateway")


def public_name() -> str | None:
    """The name in the gateway's URL, which any copy of it may have changed. Raises `PrefectUnavailable`."""
    with within(_PREFECT_SECONDS):
        try:
            gateway = load_gateway()
        except MissingBlock as error:
            _logger.warning("%s", error)
            return None
    return name_of(urlsplit(gateway.url).netloc) if gateway and gateway.url else None


def name_of(host: str) -> str:
    """The name in a `Host`, without its port; the address of `[::1]:80` is `::1`.

    Example:
        >>> name_of("Release.Example.com.:443"), name_of("[::1]:80")
        ('release.example.com', '::1')
    """
    name, colon, port = host.lower().rpartition(":")
    if not colon or not port.isdecimal():
        name = host.lower()
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name.removesuffix(".")


class OwnNames:
    """ASGI middleware that answers 421 to all names but the gateway's own: of this machine, and of its public URL.

    `/health` answers under every name, because load balancers ask under names of their own.

    Args:
        app: the wrapped app.
        public_name: finds the name of the public URL.
        fresh_seconds: for which the answer counts.
    """

    def __init__(
        self,
        app: ASGIApp,
        public_name: Callable[[], str | None] = public_name,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        self._app = app
        self._find = public_name
        self._fresh_seconds = fresh_seconds
        self._added = {"localhost", *map(name_of, added_hosts())}
        self._public: str | None = None
        self._is_known = False
        self._fresh_until = 0.0
        self._lock = anyio.Lock()  # of many requests at the start one asks, and the others wait

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and serve one request."""
        if scope["type"] == "http" and scope["path"] != "/health" and (refusal := await self._refusal(scope)):
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        name = name_of(Request(scope).headers.get("host", ""))
        if _is_address(name) or name in self._added or (name and name == self._public):
            return None
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                await self._ask()
        if not self._is_known:
            return PlainTextResponse("Prefect does not answer; try again.\n", 503, {"retry-after": "10"})
        if name and name == self._public:
            return None
        return PlainTextResponse(
            "The gateway does not answer to this name. Its URL is set by `codepipeline gateway --url`; "
            f"{HOSTS_VARIABLE} adds names.\n",
            421,
        )

    async def _ask(self) -> None:
        try:
            self._public = await run_in_threadpool(self._find)
            self._is_known = True
        except PrefectUnavailable:  # the name that was known before stays
            pass
        self._fresh_until = time.monotonic() + self._fresh_seconds


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
