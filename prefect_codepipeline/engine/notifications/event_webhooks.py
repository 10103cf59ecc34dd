"""Tell URLs the events of an execution: signed, in order, at least once. The pipeline never waits for it.

One thread for each webhook sends, and begins after the last event that the record says was told. A process writes that down
when it leaves, so what one did before it was killed is told again by the next, with the same ids.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias
from urllib.parse import quote

from pydantic import SecretStr, ValidationError

from prefect_codepipeline import __version__
from prefect_codepipeline.blocks.event_webhook import EventWebhook, key_of
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.engine.executions.follower import Follower
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.notifications.events import History, place_of
from prefect_codepipeline.engine.notifications.outgoing import Answer, Poster, PrivateAddressError
from prefect_codepipeline.errors import CodePipelineError, MissingBlock
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.events import StateChange
from prefect_codepipeline.model.record.facts import AnyFact, NotificationSent
from prefect_codepipeline.model.record.notification_rules import NotificationRule
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.runs import run_logger

FLUSH_SECONDS = 8.0
_PAUSE_SECONDS = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LONGEST_RETRY_AFTER = 3600.0
_MAY_PASS = {408, 425, 429}
_GONE = 410

Log: TypeAlias = "logging.Logger | logging.LoggerAdapter[Any]"
Write = Callable[[NotificationSent], object]


class EventPublisher(Follower):
    """Tells the webhooks that a pipeline's rules name what happens in one execution."""

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
                sender.tell(events)
        close_all(senders, is_over=execution.state.final is not None)

    def _senders(self) -> list[EventSender]:
        execution = self._execution
        try:
            return senders_of(
                execution.settings, execution.declaration, execution.facts, execution.record.write, self._log
            )
        except CodePipelineError as error:
            self._log.warning("no URL is told the events: %s", error)
            return []


class EventSender:
    """Sends one webhook the events of one execution, oldest first, in a thread of its own.

    Args:
        name: of the webhook's block, which is how logs call it: its URL may be a secret.
        webhook: where to.
        rules: which events.
        place: the account and the region that the events name.
        facts: what the record says was told by earlier processes.
        write: writes down what was told.
        log: where trouble is said.
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
        self._told = {
            fact.message_id
            for fact in facts
            if isinstance(fact, NotificationSent) and fact.channel == _channel_of(name)
        }
        self._noted = set(self._told)
        self._last = ""
        self._waiting: list[StateChange] = []
        # All times are in `time.monotonic()` seconds.
        self._deadline: float | None = None
        self._next_try = 0.0
        self._asked_to_wait = False
        self._pause = _FIRST_PAUSE
        self._over = False
        self._warned: set[str] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="codepipeline-event-webhook", daemon=True)
        self._thread.start()

    def tell(self, events: Sequence[StateChange]) -> None:
        """Take note of every event so far, oldest first; returns at once."""
        with self._changed:
            ids = [str(event.id) for event in events]
            told = max((number for number, each in enumerate(ids) if each in self._told), default=-1)
            self._waiting = [
                event for event in events[told + 1 :] if any(rule.names(event) for rule in self._rules)
            ]
            self._changed.notify()

    def end_by(self, deadline: float) -> None:
        """Send what is left until then, in `time.monotonic()` seconds; returns at once."""
        with self._changed:
            self._deadline = deadline
            if not self._asked_to_wait:
                self._next_try, self._pause = 0.0, _FIRST_PAUSE
            self._changed.notify()

    def leave(self, deadline: float, is_over: bool) -> None:
        """Wait for that, and write down how far it came, for the next process."""
        self._thread.join(timeout=max(0.0, deadline - time.monotonic()))
        if not self._thread.is_alive():
            self._poster.close()
        with self._changed:
            left, last = len(self._waiting), self._last
        if last and last not in self._noted:
            self._note(last)
        if left and is_over and not self._over:
            self._warn("left", f"{left} events could not be told in time")

    def _note(self, event_id: str) -> None:
        channel = _channel_of(self._name)
        try:
            self._write(
                NotificationSent(
                    at=utc_now(), subject=f"event:{event_id}", channel=channel, message_id=event_id
                )
            )
        except Exception as error:  # the next process tells again what this one did
            self._warn("record", f"events may be told twice: {error}")

    def _work(self) -> None:
        while (event := self._wait_for_work()) is not None:
            try:
                answer = self._send(event)
            except (TimeoutError, ConnectionError) as error:
                self._rest(None)
                self._warn("away", f"{error}; it is tried again")
            except PrivateAddressError as error:
                self._give_up(str(error))
            except Exception as error:  # events are lost rather than the pipeline
                self._give_up(f"the request cannot be made: {type(error).__name__}")
            else:
                self._take(event, answer)

    def _wait_for_work(self) -> StateChange | None:
        """The event that is to be sent now; None when there is nothing more to do."""
        with self._changed:
            while not self._over:
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

    def _take(self, event: StateChange, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            self._done(event)
        elif status >= 500 or status in _MAY_PASS:
            self._rest(_retry_after(answer))
            self._warn("away", f"it answers {status}; it is tried again")
        elif status == _GONE:
            self._give_up(f"it answers {status}")
        else:
            why = "redirects are not followed" if 300 <= status < 400 else "such events are left out"
            self._warn("refused", f"it answers {status}; {why}")
            self._done(event)

    def _done(self, event: StateChange) -> None:
        with self._changed:
            self._last = str(event.id)
            self._told.add(self._last)
            self._waiting = [each for each in self._waiting if each.id != event.id]
            self._next_try, self._pause, self._asked_to_wait = 0.0, _FIRST_PAUSE, False

    def _rest(self, seconds: float | None) -> None:
        """Leave it alone: as long as it says, else longer each time, and not all at the same moment."""
        with self._changed:
            pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
            self._asked_to_wait = seconds is not None
            self._next_try = time.monotonic() + (
                pause * random.uniform(0.5, 1) if seconds is None else seconds
            )

    def _give_up(self, why: str) -> None:
        with self._changed:
            self._over = True
            self._waiting = []
        self._warn("over", f"{why}; it is told nothing more by this process")

    def _warn(self, kind: str, text: str) -> None:
        """Say each kind of trouble once."""
        if kind not in self._warned:
            self._log.warning("EventWebhook %r: %s", self._name, text)
        self._warned.add(kind)


def close_all(senders: Sequence[EventSender], is_over: bool, seconds: float = FLUSH_SECONDS) -> None:
    """Have all of them send what is left at the same time, for so long at most.

    Args:
        senders: who is to leave.
        is_over: whether no later process will tell what is left.
        seconds: for all of them together.
    """
    deadline = time.monotonic() + seconds
    for sender in senders:
        sender.end_by(deadline)
    for sender in senders:
        sender.leave(deadline, is_over)


def senders_of(
    settings: PipelineSettings,
    declaration: PipelineDeclaration,
    facts: Sequence[AnyFact],
    write: Write,
    log: Log | None = None,
) -> list[EventSender]:
    """A sender for each webhook that the settings' rules name; one that is missing or damaged is a warning."""
    log = log or logging.getLogger(__name__)
    place = place_of(declaration)
    senders = []
    for name in dict.fromkeys(rule.event_webhook for rule in settings.notifications if rule.event_webhook):
        try:
            webhook = load_event_webhook(name)
        except CodePipelineError as error:
            log.warning("EventWebhook %r is told nothing: %s", name, error)
            continue
        rules = [rule for rule in settings.notifications if rule.event_webhook == name]
        senders.append(EventSender(name, webhook, rules, place, facts, write, log))
    return senders


def load_event_webhook(name: str) -> EventWebhook:
    """The block of that name.

    Raises:
        MissingBlock: there is none, or it cannot be used; says which fields are wrong.
        PrefectUnavailable: the API does not answer.
    """
    path = f"/block_types/slug/event-webhook/block_documents/name/{quote(name, safe='')}?include_secrets=true"
    status, document = call("GET", path, expected=(404, 422))
    hint = f"make it with `codepipeline event-webhook add {name} --url URL`"
    if status != 200:
        raise MissingBlock(f"there is no EventWebhook block {name!r}; {hint}")
    try:
        return EventWebhook.model_validate(document["data"])
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise MissingBlock(f"EventWebhook block {name!r} cannot be used: {wrong}; {hint}") from None


def signed(secret: SecretStr, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that show a receiver who sent this, and when.

    Args:
        secret: of the webhook.
        event_id: the same each time that the event is sent.
        timestamp: of this attempt, in seconds since 1970.
        body: what is sent, byte for byte.
    """
    content = f"{event_id}.{timestamp}.".encode() + body
    digest = base64.b64encode(hmac.new(key_of(secret), content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{digest}",
    }


def _retry_after(answer: Answer) -> float | None:
    """The seconds that the receiver asks for, an hour at most."""
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
