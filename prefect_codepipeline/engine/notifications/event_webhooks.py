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
import random
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

from pydantic import SecretStr

from prefect_codepipeline import __version__
from prefect_codepipeline.blocks.event_webhook import EventWebhook, key_of
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.engine.executions.follower import Follower
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.notifications.events import History, place_of
from prefect_codepipeline.engine.notifications.outgoing import Answer, Poster, PrivateAddressError
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.events import StateChange
from prefect_codepipeline.model.record.facts import AnyFact, NotificationSent
from prefect_codepipeline.model.record.notification_rules import NotificationRule
from prefect_codepipeline.prefect_api.block_documents import load_block
from prefect_codepipeline.prefect_api.runs import run_logger

FLUSH_SECONDS = 8.0
_PAUSE_SECONDS = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LONGEST_RETRY_AFTER = 3600.0
_TEMPORARY = {408, 425, 429}
_GONE = 410

Log: TypeAlias = "logging.Logger | logging.LoggerAdapter[Any]"
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
                sender.queue(events)
        close_all(senders, is_final=execution.state.final is not None)

    def _senders(self) -> list[EventSender]:
        execution = self._execution
        try:
            return senders_of(
                execution.settings, execution.declaration, execution.facts, execution.record.write, self._log
            )
        except CodePipelineError as error:
            self._log.warning("no events are sent to webhooks: %s", error)
            return []


class EventSender:
    """Sends the events of one execution to one webhook, oldest first, in a separate thread.

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
        log: Log,
    ) -> None:
        self._name, self._webhook, self._rules, self._place = name, webhook, rules, place
        self._write, self._log = write, log
        self._poster = Poster(webhook.url, webhook.allows_private_addresses)
        self._sent = {
            fact.message_id
            for fact in facts
            if isinstance(fact, NotificationSent) and fact.channel == _channel_of(name)
        }
        self._recorded = set(self._sent)
        self._last = ""
        self._waiting: list[StateChange] = []
        # All times are in `time.monotonic()` seconds.
        self._deadline: float | None = None
        self._next_try = 0.0
        self._has_retry_after = False
        self._pause = _FIRST_PAUSE
        self._stopped = False
        self._warned: set[str] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="codepipeline-event-webhook", daemon=True)
        self._thread.start()

    def queue(self, events: Sequence[StateChange]) -> None:
        """Queue the events that are not sent yet; `events` are all so far, oldest first. Returns at once."""
        with self._changed:
            ids = [str(event.id) for event in events]
            last = max((number for number, each in enumerate(ids) if each in self._sent), default=-1)
            self._waiting = [
                event for event in events[last + 1 :] if any(rule.names(event) for rule in self._rules)
            ]
            self._changed.notify()

    def end_by(self, deadline: float) -> None:
        """Send the queued events until the deadline, in `time.monotonic()` seconds; returns at once."""
        with self._changed:
            self._deadline = deadline
            if not self._has_retry_after:
                self._next_try, self._pause = 0.0, _FIRST_PAUSE
            self._changed.notify()

    def close(self, deadline: float, is_final: bool) -> None:
        """Wait until the deadline for the queued events, and record the last one sent for the next process."""
        self._thread.join(timeout=max(0.0, deadline - time.monotonic()))
        if not self._thread.is_alive():
            self._poster.close()
        with self._changed:
            left, last = len(self._waiting), self._last
        if last and last not in self._recorded:
            self._record(last)
        if left and is_final and not self._stopped:
            self._warn("left", f"{left} events could not be sent in time and are lost")

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

    def _work(self) -> None:
        while (event := self._wait_for_work()) is not None:
            try:
                answer = self._send(event)
            except (TimeoutError, ConnectionError) as error:
                self._retry_later(None)
                self._warn("away", f"{error}; will retry")
            except PrivateAddressError as error:
                self._stop(str(error))
            except Exception as error:  # losing events must not fail the pipeline
                self._stop(f"the request could not be sent: {type(error).__name__}")
            else:
                self._handle(event, answer)

    def _wait_for_work(self) -> StateChange | None:
        """The next event to send, or None if there is nothing more to do."""
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                if self._deadline is not None and (
                    not self._waiting or max(now, self._next_try) >= self._deadline
                ):
                    return None
                if self._waiting and self._next_try <= now:
                    return self._waiting[0]
                self._changed.wait(self._next_try - now if self._waiting else None)
            return None

    def _send(self, event: StateChange) -> Answer:
        body = json.dumps(event.to_event_bridge(*self._place), separators=(",", ":")).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": f"prefect-codepipeline/{__version__}",
            **signed(self._webhook.secret, str(event.id), int(time.time()), body),
        }
        timeout = self._webhook.timeout
        if self._deadline is not None:
            timeout = max(0.1, min(timeout, self._deadline - time.monotonic()))
        return self._poster.post(body, headers, timeout)

    def _handle(self, event: StateChange, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            self._remove(event)
        elif status >= 500 or status in _TEMPORARY:
            self._retry_later(_retry_after(answer))
            self._warn("away", f"the receiver answered {status}; will retry")
        elif status == _GONE:
            self._stop(f"the receiver answered {status}")
        else:
            why = "redirects are not followed" if 300 <= status < 400 else "refused events are skipped"
            self._warn("refused", f"the receiver answered {status}; {why}")
            self._remove(event)

    def _remove(self, event: StateChange) -> None:
        """Remove an event that was sent or skipped from the queue."""
        with self._changed:
            self._last = str(event.id)
            self._sent.add(self._last)
            self._waiting = [each for each in self._waiting if each.id != event.id]
            self._next_try, self._pause, self._has_retry_after = 0.0, _FIRST_PAUSE, False

    def _retry_later(self, seconds: float | None) -> None:
        """Pause for the seconds of Retry-After, else for a random time that grows with each failure."""
        with self._changed:
            pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
            self._has_retry_after = seconds is not None
            self._next_try = time.monotonic() + (
                pause * random.uniform(0.5, 1) if seconds is None else seconds
            )

    def _stop(self, why: str) -> None:
        with self._changed:
            self._stopped = True
            self._waiting = []
        self._warn("stopped", f"{why}; this process sends no more events to it")

    def _warn(self, kind: str, text: str) -> None:
        """Log each kind of problem once."""
        if kind not in self._warned:
            self._log.warning("EventWebhook %r: %s", self._name, text)
        self._warned.add(kind)


def close_all(senders: Sequence[EventSender], is_final: bool, seconds: float = FLUSH_SECONDS) -> None:
    """Let all senders send their queued events in parallel, then close them.

    Args:
        senders: the senders to close.
        is_final: whether the execution has ended, so that no later process sends the rest.
        seconds: the time limit for all senders together.
    """
    deadline = time.monotonic() + seconds
    for sender in senders:
        sender.end_by(deadline)
    for sender in senders:
        sender.close(deadline, is_final)


def senders_of(
    settings: PipelineSettings,
    declaration: PipelineDeclaration,
    facts: Sequence[AnyFact],
    write: Write,
    log: Log | None = None,
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
        PrefectUnavailable: the API does not respond.
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


def _retry_after(answer: Answer) -> float | None:
    """The seconds in the receiver's Retry-After, an hour at most."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or timezone.utc) - utc_now()).total_seconds()
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)


def _channel_of(name: str) -> str:
    return f"event-webhook/{name}"
