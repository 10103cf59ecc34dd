"""Our own calls to Prefect's API: short retries, and status codes instead of exceptions where the caller expects them.

Prefect's client sleeps 2, 4, 8 s after a 503, which SQLite causes under load ("database is locked"); our retries come
after 0.05 to 0.3 s. If the server is not reachable, calls wait as long as a restart takes.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.prefect_api.internals import http_client_of

PAGE = 200  # the largest page of Prefect's API
BUSY_SECONDS = 20.0
AWAY_SECONDS = float(os.environ.get("PREFECT_CODEPIPELINE_AWAY_SECONDS") or 90.0)
_BUSY = {429, 500, 502, 503}  # 500: the server has lost its database, until that is started again
_TIMEOUTS = ("connect", "read", "write", "pool")
_most_seconds: ContextVar[float | None] = ContextVar("most_seconds", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit each request in the block to `seconds`, for callers that need a quick response."""
    token = _most_seconds.set(seconds)
    try:
        yield
    finally:
        _most_seconds.reset(token)


class _PatientTransport(httpx.BaseTransport):
    """Repeats a request while the server is busy or restarting, each for a limited time."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        most = _most_seconds.get()
        if most is None:
            return self._send(request, BUSY_SECONDS, AWAY_SECONDS)
        request.extensions = {**request.extensions, "timeout": dict.fromkeys(_TIMEOUTS, most)}
        try:
            response = self._send(request, most, most)
        except httpx.TransportError as error:
            # Prefect's client would retry after any of httpx's errors.
            raise _unavailable(error) from error
        if response.status_code in _BUSY:
            response.close()
            raise PrefectUnavailable(f"Prefect's API at {PREFECT_API_URL.value()} is busy; try again later")
        return response

    def _send(self, request: httpx.Request, busy_seconds: float, away_seconds: float) -> httpx.Response:
        busy_until = time.monotonic() + busy_seconds
        away_until = time.monotonic() + away_seconds
        while True:
            try:
                response = self._transport.handle_request(request)
            except httpx.TransportError:
                if time.monotonic() > away_until:
                    raise
                time.sleep(0.5)
                continue
            if response.status_code not in _BUSY or time.monotonic() > busy_until:
                return response
            response.close()
            time.sleep(random.uniform(0.05, 0.3))

    def close(self) -> None:
        self._transport.close()


_clients: dict[tuple[int, str | None], SyncPrefectClient] = {}
_creating = threading.Lock()


def client() -> SyncPrefectClient:
    """The only client of this process, recreated after a fork or a change of `PREFECT_API_URL`."""
    key = (os.getpid(), PREFECT_API_URL.value())
    with _creating:
        if key not in _clients:
            created = get_client(sync_client=True, httpx_settings={"timeout": 30.0})
            http = http_client_of(created)
            http._transport = _PatientTransport(http._transport)
            for pattern, transport in http._mounts.items():
                http._mounts[pattern] = transport and _PatientTransport(transport)
            _clients[key] = created.__enter__()
    return _clients[key]


def call(method: str, path: str, json: Any = None, *, expected: tuple[int, ...] = ()) -> tuple[int, Any]:
    """Send one request; the status code and the body, decoded if it is JSON.

    Args:
        method: the HTTP method.
        path: below the API's URL, starting with a slash.
        json: the body.
        expected: status codes of 400 and more that are returned instead of raised.

    Raises:
        PrefectUnavailable: no response in time, or another error; names the request and the response.
    """
    try:
        response = client()._client.request(method, path, json=json)
    except PrefectHTTPStatusError as error:
        response = error.response
        if response.status_code not in expected:
            raise PrefectUnavailable(
                f"{method} {path}: Prefect's API responded with {response.status_code}: {response.text[:500]}"
            ) from error
    except httpx.HTTPError as error:
        raise _unavailable(error) from error
    is_json = response.headers.get("content-type", "").startswith("application/json")
    return response.status_code, response.json() if is_json and response.content else response.text


def _unavailable(error: Exception) -> PrefectUnavailable:
    return PrefectUnavailable(
        f"Prefect's API at {PREFECT_API_URL.value()} did not answer ({type(error).__name__}: {error}); "
        "is the server running?"
    )


def call_all(path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """All results of a `filter` endpoint, read page by page. Raises `PrefectUnavailable`."""
    found: list[dict[str, Any]] = []
    while True:
        _, page = call("POST", path, {**body, "limit": PAGE, "offset": len(found)})
        found += page
        if len(page) < PAGE:
            return found


def path_segment(name: str) -> str | None:
    """A name as one segment of a path, or None for a name that Prefect can know nothing under.

    `..` would lead to another path of the API, and so would a slash behind a proxy that decodes it.

    Example:
        >>> path_segment("a?b"), path_segment(".."), path_segment("a/b")
        ('a%3Fb', None, None)
    """
    is_possible = name not in ("", ".", "..") and "/" not in name and name.isprintable()
    return quote(name, safe="") if is_possible else None


def moment(text: str) -> datetime:
    """The time in a text of the API."""
    return datetime.fromisoformat(text)


def flow_run(flow_run_id: str | UUID) -> dict[str, Any] | None:
    """The flow run as the API returns it, or None if it does not exist."""
    status, body = call("GET", f"/flow_runs/{flow_run_id}", expected=(404,))
    return body if status == 200 else None
