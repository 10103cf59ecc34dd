"""The sockets of Prefect's events: with the credentials of requests, and done without where they are refused.

Prefect sends `PREFECT_API_KEY` on sockets only to Prefect Cloud, and `PREFECT_API_AUTH_STRING` in a message after the
connection is there, which a proxy that decides before does not see. Custom headers go everywhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os

from prefect.context import refresh_global_settings_context
from prefect.events import clients
from prefect.events.clients import RETRYABLE_EXCEPTIONS, NullEventsClient, get_events_subscriber
from prefect.events.worker import EventsWorker
from prefect.logging import get_logger
from websockets.exceptions import InvalidMessage, InvalidStatus

from prefect_codepipeline.prefect_api.credentials import HEADER, authorization, has_own_authorization
from prefect_codepipeline.prefect_api.settings import api_settings

_HEADERS = "PREFECT_CLIENT_CUSTOM_HEADERS"
# Tells the processes of a worker's runs that they need not try.
_REFUSED = "PREFECT_CODEPIPELINE_EVENT_SOCKETS_REFUSED"
_CONNECT_SECONDS = 10.0
_logger = get_logger("codepipeline.worker")


def send_credentials() -> None:
    """Let sockets of this process and of its runs have the header `Authorization` of requests."""
    settings = api_settings()
    value = authorization(settings)
    if settings.is_cloud or value is None or has_own_authorization(settings):
        return
    os.environ[_HEADERS] = json.dumps({**dict(settings.custom_headers), HEADER: value})
    refresh_global_settings_context()


async def do_without_if_refused() -> str | None:
    """Try once whether a socket is let in; if not, let this process and its runs do without, and return what to say of it."""
    refused = await _refusal()
    if refused is None:
        return None
    os.environ[_REFUSED] = "1"
    do_without()
    return (
        f"Prefect's event sockets at {api_settings().url} are refused ({refused}), so its UI shows no task runs of actions and no "
        "events of executions: let the proxy pass WebSockets to /api/events, or, if it asks for a header there, set "
        "PREFECT_CLIENT_CUSTOM_HEADERS"
    )


def are_refused() -> bool:
    """Whether this process, or the worker that started it, was refused."""
    return _REFUSED in os.environ


def do_without() -> None:
    """Send no events, and fall back to polling without a warning for each run."""
    EventsWorker.set_client_override(NullEventsClient)
    clients.get_events_client = lambda *_, **__: NullEventsClient()
    for observer in ("FlowRunCancellingObserver", "FlowRunSuspendingObserver"):
        get_logger(observer).setLevel(logging.ERROR)


async def _refusal() -> str | None:
    """Why a subscription is refused; None if it is not, or if the server is only away."""
    try:
        subscriber = get_events_subscriber(reconnection_attempts=0)
        async with asyncio.timeout(_CONNECT_SECONDS), subscriber:
            return None
    except Exception as error:  # Prefect raises a bare one if the server refuses after the handshake
        if _may_pass(error):
            _logger.debug("whether event sockets are refused is not known yet: %r", error)
            return None
        return str(error).partition(". ")[0]


def _may_pass(error: Exception) -> bool:
    """Whether the server, or that behind a proxy, is only away or busy."""
    if isinstance(error, InvalidStatus):
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    return isinstance(error, (*RETRYABLE_EXCEPTIONS, InvalidMessage))
