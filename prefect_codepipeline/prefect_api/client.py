"""Our own calls to Prefect's API: short retries, and status codes instead of exceptions where the caller expects them.

Prefect's client sleeps 2, 4, 8 s after a 503, which SQLite causes under load ("database is locked"); our retries come
after 0.05 to 0.3 s. If the server is not reachable, calls wait as long as a restart takes.
"""

from __future__ import annotations

import math
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import httpx

from prefect_codepipeline.errors import NotLetIn, PrefectRefused, PrefectUnavailable
from prefect_codepipeline.numbers_set import number_set
from prefect_codepipeline.prefect_api.connection import TIMEOUT, CsrfToken, http_client
from prefect_codepipeline.prefect_api.credentials import refusal
from prefect_codepipeline.prefect_api.internals import http_client_of
from prefect_codepipeline.prefect_api.settings import ApiSettings, api_settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

PAGE = 200  # the largest page of Prefect's API
BUSY_SECONDS = 20.0
AWAY_SECONDS = number_set("PREFECT_CODEPIPELINE_AWAY_SECONDS", 90.0)
# An execution waits that many times as long as a command: its work must not be lost when the server is restarted.
_EXECUTION_TIMES = 6
_BUSY = {408, 429, 500, 502, 503}  # 500: the server has lost its database, until that is started again
_LEAST_SECONDS = 1.0
_TIMEOUTS = ("connect", "read", "write", "pool")
_most_seconds: ContextVar[float | None] = ContextVar("most_seconds", default=None)
_until: ContextVar[float] = ContextVar("until", default=math.inf)


@contextmanager
def within(seconds: float, *, until: float = math.inf) -> Iterator[None]:
    """Limit each request in the block to `seconds`, for callers that need a quick response.

    After `until`, a time of `time.monotonic`, each has only a second: callers that wait on purpose may go on if Prefect
    answers.
    """
    tokens = _most_seconds.set(seconds), _until.set(min(until, _until.get()))
    try:
        yield
    finally:
        _most_seconds.reset(tokens[0])
        _until.reset(tokens[1])


_may_start_server = True


@contextmanager
def without_starting_a_server() -> Iterator[None]:
    """In the block, calls fail without a configured server, in all threads: Prefect would start one for this process."""
    global _may_start_server
    _may_start_server = False
    try:
        yield
    finally:
        _may_start_server = True


def _ignore(method: str, path: str, status: int) -> None: ...


# Called after each answer of Prefect with the method, the path and the status; for metrics.
on_answer: Callable[[str, str, int], None] = _ignore


class _PatientTransport(httpx.BaseTransport):
    """Repeats a request while the server is busy or restarting, each for a limited time.

    `times` multiplies the limits, those for a server that is away once it has responded.
    """

    def __init__(self, transport: httpx.BaseTransport, times: int) -> None:
        self._transport = transport
        self._times = times
        self._has_responded = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        most = _most_seconds.get()
        if most is None:
            away_seconds = AWAY_SECONDS * (self._times if self._has_responded else 1)
            return self._send(request, BUSY_SECONDS * self._times, away_seconds)
        most = min(most, max(_LEAST_SECONDS, _until.get() - time.monotonic()))
        request.extensions = {**request.extensions, "timeout": dict.fromkeys(_TIMEOUTS, most)}
        try:
            response = self._send(request, most, most)
        except httpx.TransportError as error:
            # Prefect's client would retry after any of httpx's errors.
            raise _unavailable(error) from error
        if response.status_code in _BUSY:
            response.close()
            raise PrefectUnavailable(f"Prefect's API at {api_url()} is busy; try again later")
        return response

    def _send(self, request: httpx.Request, busy_seconds: float, away_seconds: float) -> httpx.Response:
        busy_until = time.monotonic() + busy_seconds
        away_until = time.monotonic() + away_seconds
        while True:
            try:
                response = self._transport.handle_request(request)
            except httpx.TransportError as error:
                _check_certificate(error)
                if time.monotonic() > away_until:
                    raise
                time.sleep(0.5)
                continue
            self._has_responded = True
            on_answer(request.method, request.url.path, response.status_code)
            if response.status_code in (401, 403):
                response.read()
                if refused := refusal_of(response):
                    raise NotLetIn(refused)
            if response.status_code not in _BUSY or time.monotonic() > busy_until:
                return response
            response.close()
            time.sleep(random.uniform(0.05, 0.3))

    def close(self) -> None:
        self._transport.close()


def refusal_of(response: httpx.Response) -> str | None:
    """What the user has to do about a refusal, also one that Prefect's asynchronous client raises as an error of its own."""
    return refusal(response, api_settings(), api_url())


def _make_patient(http: httpx.Client, times: int) -> None:
    http._transport = _PatientTransport(http._transport, times)
    for pattern, transport in http._mounts.items():
        http._mounts[pattern] = transport and _PatientTransport(transport, times)


# Of this process and, with other ids, of those that it was forked from.
_connections: dict[tuple[int, ApiSettings], tuple[httpx.Client, CsrfToken | None]] = {}
_prefect_clients: dict[tuple[int, ApiSettings], SyncPrefectClient] = {}
_creating = threading.Lock()


def client() -> SyncPrefectClient:
    """Prefect's own client, for what needs Prefect's objects; one for each process and its settings."""
    from prefect.client.orchestration import get_client

    key = (os.getpid(), api_settings())
    with _creating:
        if key not in _prefect_clients:
            created = get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT})
            _make_patient(http_client_of(created), times=1)  # it repeats requests itself
            _prefect_clients[key] = created.__enter__()
    return _prefect_clients[key]


def api_url() -> str:
    """The URL of the API that `call` sends requests to. Raises `PrefectUnavailable` if none is configured."""
    if url := api_settings().url:
        return url
    if "prefect.context" in sys.modules and _may_start_server:  # Prefect starts a server for this process
        return str(client().api_url)
    raise PrefectUnavailable(
        "no Prefect server is configured; start one with `codepipeline up`, or set PREFECT_API_URL to your own"
    )


def request(method: str, path: str, json: Any = None) -> httpx.Response:
    """Send one request; the response, whatever its status. Raises `PrefectUnavailable` if there is none in time."""
    http, csrf_token = _connection()
    try:
        return csrf_token.send(method, path, json) if csrf_token else http.request(method, path, json=json)
    except httpx.HTTPError as error:
        raise _unavailable(error) from error


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
    response = request(method, path, json)
    if response.status_code >= 400 and response.status_code not in expected:
        is_final = response.status_code < 500 and response.status_code not in _BUSY
        kind = PrefectRefused if is_final else PrefectUnavailable
        raise kind(
            f"{method} {path}: Prefect's API responded with {response.status_code}: {response.text[:500]}"
        )
    is_json = response.headers.get("content-type", "").startswith("application/json")
    return response.status_code, response.json() if is_json and response.content else response.text


def _connection() -> tuple[httpx.Client, CsrfToken | None]:
    settings = api_settings()
    key = (os.getpid(), settings)
    if found := _connections.get(key):
        return found
    url = api_url()
    with _creating:
        if key not in _connections:
            http = http_client(replace(settings, url=url))
            _make_patient(http, _EXECUTION_TIMES if "prefect.context" in sys.modules else 1)
            has_csrf = settings.csrf_support and not settings.is_cloud
            _connections[key] = (http, CsrfToken(http) if has_csrf else None)
    return _connections[key]


def _unavailable(error: Exception) -> PrefectUnavailable:
    return PrefectUnavailable(
        f"Prefect's API at {api_url()} did not answer ({type(error).__name__}: {error}); is the server running?"
    )


def _check_certificate(error: httpx.TransportError) -> None:
    """Raise at once what waiting does not mend."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        raise NotLetIn(
            f"the certificate of Prefect's API at {api_url()} is not trusted ({error}); set PREFECT_API_SSL_CERT_FILE to a "
            "file with the certificate of its authority (PEM)"
        ) from error


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


def find_named(path: str, name: str, query: str = "") -> dict[str, Any] | None:
    """What Prefect knows under a name or id, or None. Raises `PrefectUnavailable`.

    Args:
        path: of the API, without the name: `/work_pools`.
        name: any text from a user or another service; see `path_segment`.
        query: of the request, with its question mark.
    """
    segment = path_segment(name)
    if segment is None:
        return None
    status, found = call("GET", f"{path}/{segment}{query}", expected=(404, 422))
    return found if status == 200 else None


def moment(text: str) -> datetime:
    """The time in a text of the API."""
    return datetime.fromisoformat(text)


def flow_run(flow_run_id: str | UUID) -> dict[str, Any] | None:
    """The flow run as the API returns it, or None if it does not exist."""
    return find_named("/flow_runs", str(flow_run_id))
