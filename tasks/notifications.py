"""Tell Slack how an execution stands. Slack may be slow, limited or away: the pipeline never waits for it.

One thread sends. Newer states of the execution's message take the place of older ones that were not sent yet; each reply
is sent once, also across the processes of an execution, because what was posted stands in its record.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from slack_sdk.errors import SlackApiError

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.model.execution import AnyFact, NotificationSent
from prefect_codepipeline.model.slack_message import (
    Message,
    approval_reply,
    execution_message,
    failure_reply,
)
from prefect_codepipeline.model.state import ExecutionState
from prefect_codepipeline.tasks.prefect_api import call
from prefect_codepipeline.tasks.record import utc_now

FLUSH_SECONDS = 8.0
EXECUTION = "execution"
_LONGEST_PAUSE = 60.0
_logger = logging.getLogger(__name__)
# What does not go away by trying again, and what mends it.
_FINAL_ERRORS = {
    "invalid_auth": "its bot token is not valid; set a new one with `codepipeline slack add`",
    "not_authed": "it has no bot token; set one with `codepipeline slack add`",
    "token_revoked": "its bot token was revoked; set a new one with `codepipeline slack add`",
    "token_expired": "its bot token has expired; set a new one with `codepipeline slack add`",
    "account_inactive": "the bot's account is not active any more",
    "missing_scope": "the app lacks the scope chat:write; add it and install the app again",
    "channel_not_found": "there is no such channel for the bot; use the channel's id and invite the bot",
    "not_in_channel": "the bot is not in the channel; write /invite @your-bot there",
    "is_archived": "the channel is archived",
    "invalid_blocks": "Slack does not accept the message; this is a defect, please report it",
}


@dataclass(frozen=True)
class Sent:
    """Where a message stands."""

    channel_id: str
    ts: str


class Notifier:
    """Sends the messages about one execution in a thread of its own.

    Args:
        channel: where to.
        facts: what the record says was posted by earlier processes.
        on_posted: writes down what was posted.
    """

    def __init__(
        self, channel: SlackChannel, facts: list[AnyFact], on_posted: Callable[[NotificationSent], object]
    ) -> None:
        self._channel = channel
        self._on_posted = on_posted
        self._sent = {
            fact.subject: Sent(*fact.message_id.split("/", 1))
            for fact in facts
            if isinstance(fact, NotificationSent) and fact.channel == channel.channel
        }
        self._message: Message | None = None
        self._replies: dict[str, Message] = {}
        self._shown: Message | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._broken = False
        self._warned = False
        self._thread = threading.Thread(target=self._work, name="codepipeline-slack", daemon=True)
        self._thread.start()

    def tell(self, state: ExecutionState, run_url: str | None) -> None:
        """Take note of how the execution stands; returns at once."""
        with self._changed:
            self._message = execution_message(state, run_url)
            for subject, reply in _replies_of(state, run_url).items():
                if subject not in self._sent:
                    self._replies.setdefault(subject, reply)
            self._changed.notify()

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Send what is left, for so long at most."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=seconds)

    def _work(self) -> None:
        pause = 1.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._next() is not None)
                subject = self._next()
                if subject is None or self._broken:
                    return
                message = self._message if subject == EXECUTION else self._replies[subject]
            assert message, "a subject has a message"
            wait = self._try(subject, message, pause)
            if wait is None:
                pause = 1.0
                continue
            pause = min(2 * pause, _LONGEST_PAUSE)
            with self._changed:
                # Sleeps through news: what is newer by then is sent in its place.
                self._changed.wait_for(lambda: self._broken, timeout=wait)

    def _next(self) -> str | None:
        """What is to be sent first; replies need the message they hang on."""
        if self._message and (EXECUTION not in self._sent or self._message != self._shown):
            return EXECUTION
        return next(iter(self._replies), None)

    def _try(self, subject: str, message: Message, pause: float) -> float | None:
        """Send it; seconds to wait before the next try, None when it went well."""
        try:
            self._send(subject, message)
        except SlackApiError as error:
            return self._after_error(error, pause)
        except OSError as error:
            self._warn(
                f"Slack was not reached ({type(error).__name__}); it is tried again while the run goes on"
            )
            return pause
        except Exception as error:  # the message is lost rather than the pipeline
            self._broken = True
            self._warn(f"Slack messages stop: {type(error).__name__}")
            return pause
        return None

    def _after_error(self, error: SlackApiError, pause: float) -> float:
        response = error.response
        code = response.get("error") if hasattr(response, "get") else None
        if hint := _FINAL_ERRORS.get(str(code)):
            self._broken = True
            self._warn(f"Slack channel {self._channel.channel!r} is not told anything more: {hint} ({code})")
            return pause
        retry_after = getattr(response, "headers", {}).get("Retry-After")
        if retry_after and str(retry_after).isdigit():
            return float(retry_after)
        self._warn(f"Slack did not take a message ({code}); it is tried again while the run goes on")
        return pause

    def _send(self, subject: str, message: Message) -> None:
        text, blocks = message
        if subject == EXECUTION and (sent := self._sent.get(EXECUTION)):
            self._channel.update(sent.channel_id, sent.ts, text, blocks)
        else:
            parent = self._sent.get(EXECUTION) if subject != EXECUTION else None
            sent = Sent(*self._channel.post(text, blocks, parent.ts if parent else None))
            fact = NotificationSent(
                at=utc_now(),
                subject=subject,
                channel=self._channel.channel,
                message_id=f"{sent.channel_id}/{sent.ts}",
            )
            self._on_posted(fact)
            self._sent[subject] = sent
        with self._changed:
            if subject == EXECUTION:
                self._shown = message
            self._replies.pop(subject, None)

    def _warn(self, text: str) -> None:
        if not self._warned or self._broken:
            _logger.warning("%s", text)
        self._warned = True


def load_slack_channel(name: str) -> SlackChannel | None:
    """The block of that name, None when there is none."""
    path = f"/block_types/slug/slack-channel/block_documents/name/{name}?include_secrets=true"
    status, document = call("GET", path, expected=(404,))
    return SlackChannel.model_validate(document["data"]) if status == 200 else None


def _replies_of(state: ExecutionState, run_url: str | None) -> dict[str, Message]:
    replies = {
        f"approval:{action.request.token}": approval_reply(action.request, state, run_url)
        for _, action in state.open_approvals
        if action.request
    }
    if state.failure:
        stage, action = state.failure
        replies[f"failure:{stage.name}:{stage.attempt}"] = failure_reply(stage, action, run_url)
    return replies
