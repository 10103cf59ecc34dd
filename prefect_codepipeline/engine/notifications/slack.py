"""Send the status of an execution to Slack. Slack may be slow, limited or unavailable; the pipeline never waits for it.

One thread for each channel sends. A newer state of the execution's message replaces an older one that was not sent
yet. Each reply and each event is sent once, also across the processes of an execution, because the record of the
execution contains what was posted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.notifications.outbox import Outbox
from prefect_codepipeline.engine.notifications.slack_channels import ways_to_decide
from prefect_codepipeline.engine.notifications.slack_failures import SlackFailure, read_failure
from prefect_codepipeline.engine.notifications.wants import EVERYTHING, Wants
from prefect_codepipeline.model.approvals.standing import sentence_of, standing_of
from prefect_codepipeline.model.record.events import StateChange
from prefect_codepipeline.model.record.facts import AnyFact, NotificationSent
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.stored.gateway import StoredGateway
from prefect_codepipeline.model.views.slack_message import (
    Message,
    approval_reply,
    decided_reply,
    event_message,
    execution_message,
    failure_reply,
)

EXECUTION = "execution"
# The messages about an approval, each with its token: the request, its result, and reminders.
ASKED, DECIDED, REMINDED = "approval:", "decided:", "reminded:"
EVENT = "event:"
# Slack allows about fifty edits a minute; an approval must not wait behind them.
_BETWEEN_EDITS = 1.2
_AWAY = "away"  # the pause of all methods, while Slack does not respond
_POST, _UPDATE = "chat.postMessage", "chat.update"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sent:
    """The place of a message in Slack."""

    channel_id: str
    ts: str


class Notifier(Outbox[tuple[str, Message], Sent]):
    """Sends the messages about one execution to one channel.

    Args:
        channel: the channel to send to.
        facts: the record, which contains what earlier processes posted.
        on_posted: called with a fact for each posted message, to write it to the record.
        gateway: the gateway through which readers of the channel can decide approvals.
        wants: what the channel receives.
    """

    def __init__(
        self,
        channel: SlackChannel,
        facts: list[AnyFact],
        on_posted: Callable[[NotificationSent], object],
        gateway: StoredGateway | None = None,
        wants: Wants = EVERYTHING,
    ) -> None:
        super().__init__("codepipeline-slack", _logger)
        self._channel = channel
        self._wants = wants
        self._gateway = gateway
        self._on_posted = on_posted
        self._sent = {
            fact.subject: Sent(*fact.message_id.split("/", 1))
            for fact in facts
            if isinstance(fact, NotificationSent) and fact.channel == channel.channel
        }
        self._message: Message | None = None
        self._shown: Message | None = None
        self._replies: dict[str, Message] = {}
        # The events of each attempt of the execution, oldest first; the first one sent starts a thread.
        self._attempts: dict[str, list[str]] = {}
        self._abandoned: set[str] = set()
        self._without_blocks: set[str] = set()
        self._can_edit = self._can_reply = True
        self._next_edit = 0.0

    def queue(self, state: ExecutionState, run_url: str | None, events: Sequence[StateChange] = ()) -> None:
        """Queue the messages for a new state of the execution; returns at once.

        Args:
            state: the new state.
            run_url: its page in Prefect's UI.
            events: every event of the execution so far, oldest first.
        """
        wanted = [event for event in events if self._wants.wants(event)]
        replies: dict[str, Message] = {}
        if self._wants.approvals:
            replies |= _approvals_of(state, run_url, self._channel, self._gateway)
        if self._wants.living_message:
            replies |= _failure_of(state, run_url)
        with self._changed:
            if self._wants.living_message:
                self._message = execution_message(state, run_url)
            # Failures and events are still sent later; an approval that was decided meanwhile is not.
            lasting = ("failure:", EVENT)
            kept = {name: reply for name, reply in self._replies.items() if name.startswith(lasting)}
            done = self._sent.keys() | self._abandoned
            for event in wanted:
                if (name := f"{EVENT}{event.id}") not in {*done, *kept}:
                    kept[name] = event_message(event, run_url)
            self._attempts = _by_attempt(wanted)
            # An approval is sent before queued events.
            waiting = {**replies, **kept} | replies
            self._replies = {name: reply for name, reply in waiting.items() if name not in done}
            self._wake()

    def _waiting(self) -> list[tuple[tuple[str, Message], float]]:
        return [(item, self._due(item[0])) for item in self._unsent().items()]

    def _unsent(self) -> dict[str, Message]:
        """The messages that are not sent yet, the most urgent first; replies need the message that they reply to."""
        message = self._message
        if message and EXECUTION not in self._sent and EXECUTION not in self._abandoned:
            return {EXECUTION: message}
        edit = {EXECUTION: message} if message and self._can_edit and message != self._shown else {}
        # A decision edits the reply that asked for it; without that reply, the execution's message reports the decision.
        replies = {
            subject: reply
            for subject, reply in self._replies.items()
            if not subject.startswith(DECIDED) or _asked_by(subject) in self._sent
        }
        return {**replies, **edit}

    def _method(self, subject: str) -> str:
        is_edit = subject.startswith(DECIDED) or (subject == EXECUTION and EXECUTION in self._sent)
        return _UPDATE if is_edit else _POST

    def _due(self, subject: str) -> float:
        method = self._method(subject)
        edit = self._next_edit if method == _UPDATE and self._deadline is None else 0.0
        return max(self._pauses[method].until, self._pauses[_AWAY].until, edit)

    def _send(self, item: tuple[str, Message]) -> Sent:
        subject, message = item
        text, blocks = message[0], [] if subject in self._without_blocks else message[1]
        parent = self._sent.get(EXECUTION)
        edited = self._sent[_asked_by(subject)] if subject.startswith(DECIDED) else parent
        if edited and self._method(subject) == _UPDATE:
            self._channel.update(edited.channel_id, edited.ts, text, blocks)
            return edited
        head = parent or self._head_of(subject)
        thread_ts = head.ts if head and self._can_reply else None
        return Sent(*self._channel.post(text, blocks, thread_ts))

    def _head_of(self, subject: str) -> Sent | None:
        """The message to whose thread an event belongs if the execution has no message: the first event of its attempt.

        An approval is not put into a thread: a request to act must be visible in the channel itself.
        """
        with self._changed:
            attempt = next((names for names in self._attempts.values() if subject in names), [])
            return next((self._sent[name] for name in attempt if name in self._sent), None)

    def _take_answer(self, item: tuple[str, Message], answer: Sent) -> None:
        subject, message = item
        with self._changed:
            is_known = subject == EXECUTION and subject in self._sent
            self._pauses[self._method(subject)].reset()
            self._pauses[_AWAY].reset()
            self._sent[subject] = answer
            self._replies.pop(subject, None)
            if subject == EXECUTION:
                self._shown = message
                self._next_edit = time.monotonic() + _BETWEEN_EDITS
        if not is_known:
            self._write_down(subject, answer)

    def _take_failure(self, item: tuple[str, Message], error: Exception) -> None:
        with self._changed:
            self._after_failure(item[0], read_failure(error))

    def _write_down(self, subject: str, sent: Sent) -> None:
        message_id = f"{sent.channel_id}/{sent.ts}"
        channel = self._channel.channel
        try:
            self._on_posted(
                NotificationSent(at=utc_now(), subject=subject, channel=channel, message_id=message_id)
            )
        except Exception as error:  # this process still knows the message's place
            self._warn("record", f"a later process may post a message to {self._name} again: {error}")

    def _after_failure(self, subject: str, failure: SlackFailure) -> None:
        is_edit = subject == EXECUTION and EXECUTION in self._sent
        if failure.meaning == "limited":
            self._pauses[self._method(subject)].begin(failure.seconds)
        elif failure.meaning == "over":
            self._stop(f"{self._name} gets no more messages: {failure.text}")
        elif failure.meaning == "malformed" and subject not in self._without_blocks:
            self._without_blocks.add(subject)
            self._warn(
                "malformed", f"{failure.text}; it is sent without formatting. Please report this as a bug"
            )
        elif failure.meaning in ("gone", "fixed") and subject.startswith(DECIDED):
            self._abandon(subject, failure)
        elif failure.meaning == "gone" and (is_edit or self._can_reply):
            self._can_reply, self._can_edit = False, self._can_edit and not is_edit
            self._warn("gone", f"{failure.text}; replies are posted in the channel itself")
        elif failure.meaning == "fixed" and is_edit:
            self._can_edit = False
            self._warn("fixed", f"{failure.text}; only new replies are sent")
        elif failure.meaning == "away" or (failure.meaning == "unanswered" and subject == EXECUTION):
            self._pauses[_AWAY].begin()
            self._warn(
                "away", f"{failure.text}; the messages for {self._name} are sent when Slack responds again"
            )
        else:
            self._abandon(subject, failure)

    def _abandon(self, subject: str, failure: SlackFailure) -> None:
        """Leave one message unsent; a reply that Slack may have accepted is not sent again."""
        self._abandoned.add(subject)
        self._replies.pop(subject, None)
        self._can_edit = self._can_edit and subject != EXECUTION
        self._warn("abandoned", f"a message to {self._name} may be missing: {failure.text}")

    def _conclude(self, left: int) -> None:
        if left and not self._warned:  # an earlier warning says why
            self._warn("late", f"{self._name} did not receive the final status in time; see the flow run")

    @property
    def _name(self) -> str:
        return f"Slack channel {self._channel.channel!r}"


def _approvals_of(
    state: ExecutionState, run_url: str | None, channel: SlackChannel, gateway: StoredGateway | None
) -> dict[str, Message]:
    replies = {}
    for _, action in state.actions:
        request = action.request
        if request and action.is_waiting_for_approval and not state.stop:
            ways = ways_to_decide(state, request, channel, gateway)
            replies[f"{ASKED}{request.token}"] = approval_reply(request, state, run_url, ways)
        elif request:
            now = utc_now()
            standing, sentence = standing_of(action, state, now), sentence_of(action, state, now)
            replies[f"{DECIDED}{request.token}"] = decided_reply(request, state, run_url, standing, sentence)
    return replies


def _failure_of(state: ExecutionState, run_url: str | None) -> dict[str, Message]:
    if not state.failure:
        return {}
    stage, action = state.failure
    return {f"failure:{stage.name}:{stage.attempt}": failure_reply(stage, action, state, run_url)}


def _by_attempt(events: Sequence[StateChange]) -> dict[str, list[str]]:
    attempts: dict[str, list[str]] = {}
    for event in events:
        attempts.setdefault(str(event.detail["pipeline-execution-attempt"]), []).append(f"{EVENT}{event.id}")
    return attempts


def _asked_by(subject: str) -> str:
    return ASKED + subject.removeprefix(DECIDED)
