"""Classify an error from Slack: what it means for the message, and what a user can do about it.

https://docs.slack.dev/reference/methods/chat.postMessage#errors
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal

from slack_sdk.errors import SlackApiError

from prefect_codepipeline.engine.executions.pause import read_retry_after

Meaning = Literal["limited", "away", "unanswered", "malformed", "gone", "fixed", "over"]

_PASSES = {
    "accesslimited",
    "fatal_error",
    "internal_error",
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
}
_MALFORMED = {
    "invalid_attachments",
    "invalid_blocks",
    "invalid_blocks_format",
    "msg_blocks_too_long",
    "msg_too_long",
    "no_text",
}
_GONE = {"message_not_found", "thread_not_found"}
_FIXED = {"cant_update_message", "edit_window_closed", "message_not_owned_by_app"}
_NEW_TOKEN = "set a valid one with `codepipeline slack add`"
_REMEDIES = {
    "account_inactive": "the bot's account was deactivated; install the app again",
    "channel_not_found": "the bot cannot find the channel; use the channel's id, and invite the bot: /invite @bot in the channel",
    "invalid_auth": f"its bot token is not valid; {_NEW_TOKEN}",
    "is_archived": "the channel is archived; unarchive it, or use another channel",
    "missing_scope": "the app lacks the scope chat:write; add it and install the app again",
    "not_authed": f"it has no bot token; {_NEW_TOKEN}",
    "not_in_channel": "the bot is not a member; invite the bot: /invite @bot in the channel",
    "token_expired": f"its bot token has expired; {_NEW_TOKEN}",
    "token_revoked": f"its bot token was revoked; {_NEW_TOKEN}",
}


@dataclass(frozen=True)
class SlackFailure:
    """The failure of a request to Slack.

    `meaning`: `limited` (send again after `seconds`, if Slack says how many), `away` (send again later), `unanswered`
    (Slack may have accepted the message), `malformed` (Slack refuses this message), `gone` (the message that it belongs
    to was deleted), `fixed` (the message cannot be edited), `over` (Slack will refuse every message). `text` describes
    the failure for users, without secrets.
    """

    meaning: Meaning
    text: str
    seconds: float | None = None


def read_failure(error: Exception) -> SlackFailure:
    """The meaning of an exception from a `SlackChannel`."""
    if isinstance(error, SlackApiError):
        return _read_answer(error)
    if isinstance(error, TimeoutError):
        return SlackFailure("unanswered", "Slack did not answer in time")
    if isinstance(error, (OSError, HTTPException)):
        return SlackFailure(
            "away", f"Slack could not be reached: {getattr(error, 'reason', None) or error!r}"
        )
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
        return SlackFailure("away", "Slack's answer could not be read")
    # The texts of other errors may quote the request, which contains the token.
    return SlackFailure("over", f"{type(error).__name__}; check the block's api_url, and the proxy settings")


def _read_answer(error: SlackApiError) -> SlackFailure:
    response = error.response
    code, status = str(response.get("error")), int(getattr(response, "status_code", 200))
    if status == 429 or code in ("ratelimited", "rate_limited"):
        return SlackFailure("limited", "Slack limits the rate of requests", _retry_after(response))
    if code in _MALFORMED:
        return SlackFailure("malformed", f"Slack did not accept the message ({code})")
    if code in _GONE:
        return SlackFailure("gone", "the execution's message was deleted in Slack")
    if code in _FIXED:
        return SlackFailure("fixed", f"the execution's message cannot be edited ({code})")
    if status >= 500 or code in _PASSES:
        return SlackFailure("away", f"Slack has a problem (HTTP {status})" if status >= 500 else code)
    if not re.fullmatch(r"[a-z_]+", code):  # an HTML page, from a proxy for example
        return SlackFailure("away", f"the response is not from Slack's API (HTTP {status})")
    return SlackFailure("over", f"{_REMEDIES.get(code, 'Slack refuses the request')} ({code})")


def _retry_after(response: object) -> float | None:
    headers = {name.lower(): value for name, value in getattr(response, "headers", {}).items()}
    return read_retry_after(str(headers.get("retry-after", "")))
