"""Socket Mode: receive Slack interactions through an outgoing connection, without a public address.

https://docs.slack.dev/apis/events-api/using-socket-mode
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.notifications.slack_channels import all_slack_channels
from prefect_codepipeline.engine.notifications.slack_failures import read_failure
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.gateway.slack.interactions import handle

POLL_SECONDS = 30.0
_logger = logging.getLogger("codepipeline.gateway")
# The SDK's log lines may quote the connection URL, which contains a credential.
_muted = logging.getLogger("prefect_codepipeline.socket_mode")
_muted.setLevel(logging.CRITICAL + 1)


class SocketModes:
    """Keeps one connection open for each app token of the SlackChannel blocks. Follows changes of the blocks."""

    def __init__(self, poll_seconds: float = POLL_SECONDS) -> None:
        self._clients: dict[tuple[str, str], SocketModeClient] = {}
        self._seconds = poll_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="codepipeline-socket-mode", daemon=True)

    def start(self) -> None:
        """Connect, in a separate thread."""
        self._thread.start()

    def stop(self) -> None:
        """Close every connection."""
        self._stopped.set()
        self._thread.join(timeout=5)
        for client in self._clients.values():
            client.close()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                self._update_connections()
            except CodePipelineError as error:
                _logger.warning("Socket Mode: %s", error)
            self._stopped.wait(self._seconds)

    def _update_connections(self) -> None:
        channels = {_app_of(channel): channel for channel in all_slack_channels() if channel.app_token}
        for app in self._clients.keys() - channels.keys():
            self._clients.pop(app).close()
        for app in channels.keys() - self._clients.keys():
            if self._stopped.is_set():
                return
            try:
                self._clients[app] = _connect(channels[app])
                _logger.info("Socket Mode: connected to Slack")
            except Exception as error:  # other apps may still be reachable
                text = read_failure(error).text
                _logger.warning("Socket Mode: channel %s: %s", channels[app].channel, text)


def _app_of(channel: SlackChannel) -> tuple[str, str]:
    assert channel.app_token, "the caller has checked it"
    return channel.app_token.get_secret_value(), channel.api_url


def _connect(channel: SlackChannel) -> SocketModeClient:
    assert channel.app_token, "the caller has checked it"
    web = channel.socket_client()
    client = SocketModeClient(channel.app_token.get_secret_value(), logger=_muted, web_client=web)
    client.socket_mode_request_listeners.append(_listener(_app_of(channel)))
    try:
        client.connect()
    except Exception:
        client.close()
        raise
    return client


def _listener(app: tuple[str, str]) -> Callable[[BaseSocketModeClient, SocketModeRequest], None]:
    def listen(client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        # Slack expects the response to a dialog in the acknowledgement. All other requests are acknowledged at once.
        is_answer = request.type == "interactive" and request.payload.get("type") == "view_submission"
        if not is_answer:
            client.send_socket_mode_response(SocketModeResponse(request.envelope_id))
        if request.type != "interactive":
            return
        try:
            reply = handle(request.payload, _channels(app))
        except Exception as error:
            _logger.error("a Slack interaction was not answered: %s", type(error).__name__)
            return
        if is_answer:
            client.send_socket_mode_response(SocketModeResponse(request.envelope_id, reply.payload))
        if reply.afterwards:
            reply.afterwards()

    return listen


def _channels(app: tuple[str, str]) -> list[SlackChannel]:
    return [each for each in all_slack_channels() if each.app_token and _app_of(each) == app]
