"""Send the events of an execution to webhooks: signed, in order, at least once. The pipeline never waits for it.

Each webhook has a thread, which starts after the last event that is recorded as sent. A process records that event
when it ends. So the events that a killed process has sent are sent again by the next process, with the same ids.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import shlex
import time
from collections.abc import Callable, Hashable, Sequence

from pydantic import SecretStr

from prefect_codepipeline import __version__
from prefect_codepipeline.actions.outgoing import Answer, Poster, PrivateAddressError
from prefect_codepipeline.blocks.event_webhook import EventWebhook, key_of
from prefect_codepipeline.engine.executions.follower import Follower
from prefect_codepipeline.engine.executions.pause import read_retry_after
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.notifications.events import History, place_of
from prefect_codepipeline.engine.notifications.outbox import Outbox, close_all
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.events import StateChange
from prefect_codepipeline.model.record.facts import AnyFact, NotificationSent
from prefect_codepipeline.model.record.notification_rules import NotificationRule
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import load_block
from prefect_codepipeline.prefect_api.runs import AnyLogger, run_logger

_PAUSE_SECONDS = 0.2
_TEMPORARY = {408, 425, 429}
_GONE = 410

Write = Callable[[NotificationSent], object]


class EventPublisher(Follower):
    """Publishes the events of one execution to the webhooks in the pipeline's notification rules."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution, "codepipeline-event-webhooks", _PAUSE_SECONDS)
        self._log = run_logger(logging.getLogger(__name__))

    def _follow(self) -> None:
        execution = self._execution
        history = History(execution.id, execution.declaration)
        senders = self._senders()
        for _ in self._changes():
            events = history.of(execution.facts) if senders else []
            for sender in senders:
                sender.queue(events, is_final=execution.state.final is not None)
        close_all(senders)

    def _senders(self) -> list[EventSender]:
        execution = self._execution
        try:
            return senders_of(
                execution.settings, execution.declaration, execution.facts, execution.record.write, self._log
            )
        except CodePipelineError as error:
            self._log.warning("no events are sent to webhooks: %s", error)
            return []


class EventSender(Outbox[StateChange, Answer]):
    """Sends the events of one execution to one webhook, oldest first.

    Args:
        name: the name of the webhook's block. Logs use it instead of the URL, which may be a secret.
        webhook: the webhook.
        rules: the rules that select the events.
        place: the account and the region in the events.
        facts: the facts of the execution, which say what earlier processes have sent.
        write: records the last event that was sent.
        log: receives the warnings.
    """

    def __init__(
        self,
        name: str,
        webhook: EventWebhook,
        rules: Sequence[NotificationRule],
        place: tuple[str, str],
        facts: Sequence[AnyFact],
        write: Write,
        log: AnyLogger,
    ) -> None:
        super().__init__("codepipeline-event-webhook", log)
        self._name, self._webhook, self._rules, self._place = name, webhook, rules, place
        self._write = write
        self._poster = Poster(webhook.url, webhook.allows_private_addresses)
        self._sent = {
            fact.message_id
            for fact in facts
            if isinstance(fact, NotificationSent) and fact.channel == _channel_of(name)
        }
        self._recorded = set(self._sent)
        self._last = ""
        self._queue: list[StateChange] = []
        self._is_final = False

    def queue(self, events: Sequence[StateChange], is_final: bool = False) -> None:
        """Queue the events that are not sent yet. Returns at once.

        Args:
            events: all events so far, oldest first.
            is_final: whether the execution has ended, so that no later process sends what this one cannot send.
        """
        with self._changed:
            ids = [str(event.id) for event in events]
            last = max((number for number, each in enumerate(ids) if each in self._sent), default=-1)
            self._queue = [
                event for event in events[last + 1 :] if any(rule.names(event) for rule in self._rules)
            ]
            self._is_final = is_final
            self._wake()

    def _conclude(self, left: int) -> None:
        """Record the last event sent, for the next process."""
        with self._changed:
            last = self._last
        if last and last not in self._recorded:
            self._record(last)
        if left and self._is_final:
            self._warn("left", f"{left} events could not be sent in time and are lost")

    def _disconnect(self) -> None:
        self._poster.close()

    def _record(self, event_id: str) -> None:
        channel = _channel_of(self._name)
        try:
            self._write(
                NotificationSent(
                    at=utc_now(), subject=f"event:{event_id}", channel=channel, message_id=event_id
                )
            )
        except Exception as error:  # the next process sends the events of this one again
            self._warn(
                "record", f"the last event could not be recorded, so events may be sent twice: {error}"
            )

    def _waiting(self) -> list[tuple[StateChange, float]]:
        due = self._pauses[self._name].until
        return [(event, due) for event in self._queue]

    def _send(self, item: StateChange) -> Answer:
        body = json.dumps(item.to_event_bridge(*self._place), separators=(",", ":")).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": f"prefect-codepipeline/{__version__}",
            **signed(self._webhook.secret, str(item.id), int(time.time()), body),
        }
        return self._poster.post(body, headers, self._timeout(self._webhook.timeout))

    def _take_answer(self, item: StateChange, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            self._remove(item)
        elif status >= 500 or status in _TEMPORARY:
            self._retry_later(
                f"the receiver answered {status}", read_retry_after(answer.headers.get("retry-after", ""))
            )
        elif status == _GONE:
            self._abandon(f"the receiver answered {status}")
        else:
            why = "redirects are not followed" if 300 <= status < 400 else "refused events are skipped"
            self._warn("refused", f"the receiver answered {status}; {why}")
            self._remove(item)

    def _take_failure(self, item: StateChange, error: Exception) -> None:
        if isinstance(error, (TimeoutError, ConnectionError)):
            self._retry_later(str(error), None)
        elif isinstance(error, PrivateAddressError):
            self._abandon(str(error))
        else:  # the text of another error may quote the request
            self._abandon(f"the request could not be sent: {type(error).__name__}")

    def _remove(self, event: StateChange) -> None:
        """Remove an event that was sent or skipped from the queue."""
        with self._changed:
            self._last = str(event.id)
            self._sent.add(self._last)
            self._queue = [each for each in self._queue if each.id != event.id]
            self._pauses[self._name].reset()

    def _retry_later(self, why: str, seconds: float | None) -> None:
        with self._changed:
            self._pauses[self._name].begin(seconds)
        self._warn("away", f"{why}; will retry")

    def _abandon(self, why: str) -> None:
        self._stop(f"{why}; this process sends no more events to it")

    def _warn(self, kind: Hashable, text: str) -> None:
        super()._warn(kind, f"EventWebhook {self._name!r}: {text}")


def senders_of(
    settings: StoredSettings,
    declaration: PipelineDeclaration,
    facts: Sequence[AnyFact],
    write: Write,
    log: AnyLogger | None = None,
) -> list[EventSender]:
    """A sender for each webhook in the notification rules; a missing or invalid webhook is only a warning."""
    log = log or logging.getLogger(__name__)
    place = place_of(declaration)
    senders = []
    for name in dict.fromkeys(rule.event_webhook for rule in settings.notifications if rule.event_webhook):
        try:
            webhook = load_event_webhook(name)
        except CodePipelineError as error:
            log.warning("EventWebhook %r gets no events: %s", name, error)
            continue
        rules = [rule for rule in settings.notifications if rule.event_webhook == name]
        senders.append(EventSender(name, webhook, rules, place, facts, write, log))
    return senders


def load_event_webhook(name: str) -> EventWebhook:
    """The block of that name.

    Raises:
        MissingBlock: the block does not exist, or is invalid; the message names the fields.
        PrefectUnavailable: the API does not answer.
    """
    command = f"codepipeline event-webhook add {shlex.quote(name)} --url URL"
    return load_block(EventWebhook, name, command=command)


def signed(secret: SecretStr, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers with which a receiver verifies the sender and the time.

    Args:
        secret: the secret of the webhook.
        event_id: the id of the event, the same in each attempt.
        timestamp: the time of this attempt, in seconds since 1970.
        body: the exact bytes of the request's body.
    """
    content = f"{event_id}.{timestamp}.".encode() + body
    digest = base64.b64encode(hmac.new(key_of(secret), content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{digest}",
    }


def _channel_of(name: str) -> str:
    return f"event-webhook/{name}"
