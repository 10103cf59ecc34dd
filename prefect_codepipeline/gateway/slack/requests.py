"""`POST /slack/interactions`: Slack interactions over HTTP, signed with the app's signing secret.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import parse_qs

from slack_sdk.signature import SignatureVerifier
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.notifications.slack_channels import all_slack_channels
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.gateway.slack.interactions import handle
from prefect_codepipeline.gateway.threads import SLACK, UPDATES, in_thread
from prefect_codepipeline.prefect_api.client import within

LARGEST_INTERACTION = 256_000
# Slack displays an error after three seconds, but the decision is still recorded.
PREFECT_SECONDS = 10.0
_logger = logging.getLogger("codepipeline.gateway")


async def interact(request: Request) -> Response:
    """Accept one Slack interaction."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > LARGEST_INTERACTION:
        return PlainTextResponse("The request is too large.\n", 413)
    body = await request.body()
    headers = {
        name: request.headers.get(name, "") for name in ("x-slack-request-timestamp", "x-slack-signature")
    }
    return await in_thread(request, SLACK, _respond, request, body, headers)


ROUTES = [Route("/slack/interactions", interact, methods=["POST"])]


def _respond(request: Request, body: bytes, headers: dict[str, str]) -> Response:
    try:
        with within(PREFECT_SECONDS):
            return _interact(request, body, headers)
    except PrefectUnavailable:
        return PlainTextResponse("Prefect does not answer.\n", 503)


def _interact(request: Request, body: bytes, headers: dict[str, str]) -> Response:
    channels = [channel for channel in all_slack_channels() if _is_signed_by(channel, body, headers)]
    if not channels:
        _logger.warning("refused a request whose signature is not Slack's or is older than five minutes")
        return PlainTextResponse("The signature is not valid.\n", 401)
    payload = _payload_of(body)
    if payload is None:
        return PlainTextResponse("The payload is missing.\n", 400)
    reply = handle(payload, channels)
    afterwards = BackgroundTask(in_thread, request, UPDATES, reply.afterwards) if reply.afterwards else None
    if reply.payload is None:
        return PlainTextResponse("", background=afterwards)
    return JSONResponse(reply.payload, background=afterwards)


def _is_signed_by(channel: SlackChannel, body: bytes, headers: dict[str, str]) -> bool:
    if channel.signing_secret is None:
        return False
    try:
        verifier = SignatureVerifier(channel.signing_secret.get_secret_value())
        return verifier.is_valid_request(body, headers)
    except (
        ValueError,
        TypeError,
    ):  # a timestamp that is not a number, or a signature or body that is not text
        return False


def _payload_of(body: bytes) -> Any:
    try:
        return json.loads(parse_qs(body.decode(), max_num_fields=10)["payload"][0])
    except (ValueError, KeyError, RecursionError):
        return None
