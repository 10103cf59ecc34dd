"""`POST /webhooks/<connection or pipeline>`: pushes and pull requests from git hosts; and V1 webhooks.

The sender is answered once the delivery is stored in Prefect. The delivery is processed afterwards.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.triggers.deliveries import (
    Endpoint,
    find_endpoint,
    read_delivery,
    read_webhook,
)
from prefect_codepipeline.engine.triggers.pipeline_webhooks import find_webhook
from prefect_codepipeline.engine.triggers.webhook_inbox import take, waiting_as
from prefect_codepipeline.engine.triggers.webhook_states import note_error
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable, WebhookRefused
from prefect_codepipeline.gateway.rate import source_of
from prefect_codepipeline.gateway.webhooks.deliverer import Deliverer
from prefect_codepipeline.gateway.webhooks.turns import NoTurn, TurnLost, Turns
from prefect_codepipeline.model.payloads import PayloadError
from prefect_codepipeline.model.triggers.webhook_delivery import TakenDelivery
from prefect_codepipeline.prefect_api.client import within

LARGEST_PAYLOAD = 25_000_000  # GitHub's own limit
USUAL_PAYLOAD = 500_000
# GitHub waits ten seconds for an answer, other hosts at least as long. A request to Prefect may be sent twice.
PREFECT_SECONDS = 4.0
BODY_SECONDS = 10.0
ENDPOINT_SECONDS = 5.0
_MOST_ENDPOINTS = 1000
_MOST_LARGE, _MOST_LARGE_OF_SOURCE = 8, 4
_MOST_USUAL, _MOST_USUAL_OF_SOURCE = 400, 100
_NO_WEBHOOK = "This webhook does not exist."
_NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")
_logger = logging.getLogger("codepipeline.gateway")


@dataclass(frozen=True)
class Sent:
    """A request and its source address."""

    headers: dict[str, str]
    body: bytes
    source: str


class Webhooks:
    """The endpoint. It caches for a few seconds which names accept webhooks, and their secrets.

    Args:
        deliverer: processes the accepted deliveries.
    """

    def __init__(self, deliverer: Deliverer) -> None:
        self._deliverer = deliverer
        self._endpoints: dict[str, tuple[float, Endpoint | None]] = {}
        self._lock = threading.Lock()
        # A signature can be checked only with the complete body in memory.
        self._large = Turns(_MOST_LARGE, _MOST_LARGE_OF_SOURCE)
        self._usual = Turns(_MOST_USUAL, _MOST_USUAL_OF_SOURCE)

    @property
    def routes(self) -> list[Route]:
        """The routes of the endpoint."""
        return [
            Route("/webhooks/{name}", self.take, methods=["POST"]),
            Route("/webhooks/{name}/{token}", self.take, methods=["POST"]),
        ]

    async def take(self, request: Request) -> Response:
        """Accept one delivery."""
        name = request.path_params["name"]
        try:
            return await self._take(request, **request.path_params)
        except WebhookRefused as error:
            _logger.warning("a request to /webhooks/%s was refused: %s", name, error)
            return _error(401, f"Refused: {error}.")
        except PayloadError as error:
            return _error(400, f"The body cannot be read: {error}.")
        except PrefectUnavailable:
            _logger.error("a request to /webhooks/%s was not accepted: Prefect's API does not answer", name)
            return _error(
                503, "Prefect does not answer; send the request again in a minute.", {"retry-after": "60"}
            )
        except CodePipelineError as error:  # a V1 webhook whose pipeline does not exist
            _logger.warning("a request to /webhooks/%s starts nothing: %s", name, error)
            return _error(409, f"The webhook cannot be used: {error}.")

    async def _take(self, request: Request, name: str, token: str | None = None) -> Response:
        length = request.headers.get("content-length", str(LARGEST_PAYLOAD))
        if not length.isdecimal() or int(length) > LARGEST_PAYLOAD:
            return _error(413, "The body is too large.")
        # Before the body is read: who does not know the address cannot have a body kept in memory.
        target = await run_in_threadpool(self._target, name, token)
        if target is None:
            text = (
                "No connection or pipeline of that name accepts webhooks." if token is None else _NO_WEBHOOK
            )
            return _error(404, text)
        source = request.client.host if request.client else ""
        turns = self._large if int(length) > USUAL_PAYLOAD else self._usual
        try:
            async with turns.turn(source_of(source), BODY_SECONDS) as turn:
                with anyio.fail_after(BODY_SECONDS):
                    body = await request.body()
                turn.keep()  # until the body is no longer in memory
                sent = Sent(dict(request.headers), body, source)
                return await run_in_threadpool(self._answer, target, sent)
        except TimeoutError:
            return _error(408, "The body took too long.")
        except TurnLost:
            return _error(429, "The body arrives too slowly, and others wait.", {"retry-after": "10"})
        except NoTurn:
            return _error(503, "Too many large bodies are on their way.", {"retry-after": "10"})

    def _target(self, name: str, token: str | None) -> Endpoint | PipelineWebhook | None:
        """What accepts the requests of that address."""
        with within(PREFECT_SECONDS):
            return self._endpoint(name) if token is None else _webhook(name, token)

    def _answer(self, target: Endpoint | PipelineWebhook, sent: Sent) -> Response:
        with within(PREFECT_SECONDS):
            if isinstance(target, Endpoint):
                delivery = read_delivery(target, sent.headers, sent.body, utc_now())
                found = delivery if isinstance(delivery, TakenDelivery) else delivery.ignored
            else:
                found = _read_webhook(target, sent)
            return self._store(found) if isinstance(found, TakenDelivery) else _ignored(found)

    def _store(self, delivery: TakenDelivery) -> Response:
        is_new = take(delivery)
        # Also if it is not new: it may be an unfinished delivery of a gateway that has ended. The first one counts:
        # the same request at another endpoint would start other pipelines.
        if stored := delivery if is_new else waiting_as(delivery):
            self._deliverer.add(stored)
        return JSONResponse({"delivery": delivery.key, "events": len(delivery.events), "isNew": is_new}, 202)

    def _endpoint(self, name: str) -> Endpoint | None:
        if not _NAME.fullmatch(name):
            return None
        now = time.monotonic()
        with self._lock:
            known = self._endpoints.get(name)
            if known and known[0] > now:
                return known[1]
        found = find_endpoint(name)
        with self._lock:
            if len(self._endpoints) >= _MOST_ENDPOINTS:
                self._endpoints.clear()
            self._endpoints[name] = (now + ENDPOINT_SECONDS, found)
        return found


def _read_webhook(webhook: PipelineWebhook, sent: Sent) -> TakenDelivery | str:
    """Read a request to a V1 webhook; why one is refused is kept for ListWebhooks."""
    try:
        return read_webhook(webhook, sent.source, sent.headers, sent.body, utc_now())
    except PrefectUnavailable:
        raise
    except (CodePipelineError, PayloadError) as error:
        code = (
            "401"
            if isinstance(error, WebhookRefused)
            else "400"
            if isinstance(error, PayloadError)
            else "409"
        )
        note_error(webhook.url_token, code, str(error))
        raise


def _webhook(name: str, token: str) -> PipelineWebhook | None:
    """The V1 webhook of that name, if the token is its own."""
    webhook = find_webhook(name) if _NAME.fullmatch(name) else None
    own = webhook.url_token.get_secret_value() if webhook else secrets.token_urlsafe(24)
    is_equal = hmac.compare_digest(own.encode(), token.encode("utf-8", "surrogatepass"))
    return webhook if is_equal else None


def _ignored(reason: str) -> Response:
    return JSONResponse({"ignored": reason})


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    body: dict[str, Any] = {"error": text}
    return JSONResponse(body, status, headers)
