"""A request of a git host to a webhook, as it is stored until it is processed, and its results."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from prefect_codepipeline.model.record.facts import TriggerType
from prefect_codepipeline.model.triggers.git_event import GitEvent

MOST_RESULTS = 1000
_MOST_TEXT = 300


class TakenDelivery(BaseModel):
    """One request of a git host whose sender was verified.

    Attributes:
        key: identifies the request by the host's delivery id; a repeated request has the same key.
        token: identifies the content. An attacker who replays a request can change its delivery id, but not its content.
        at: the time of arrival, by the clock of the gateway.
        endpoint: the connection or pipeline that received the request, or a V1 webhook as `pipeline/action`.
        connections: the GitConnection blocks whose secret the sender used.
        delivery: the host's delivery id, with which users find the request on the host's page.
        events: the events of the request, in their order; empty if the sender of a V1 webhook is not a git host.
        webhook: the name of the V1 webhook that received the request and whose filters match.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    token: str
    at: datetime
    endpoint: str
    connections: tuple[str, ...]
    delivery: str = ""
    events: tuple[GitEvent, ...]
    webhook: str = ""

    @property
    def line(self) -> str:
        """The queue of the delivery: deliveries of one repository, or of one V1 webhook, are processed in order."""
        if self.webhook:
            return f"{self.webhook} of V1"
        return ", ".join(dict.fromkeys(event.repository.casefold() for event in self.events))


class FirstDelivery(BaseModel):
    """The first delivery with a content."""

    model_config = ConfigDict(frozen=True)

    key: str
    at: datetime
    endpoint: str


class HeldStart(BaseModel):
    """A start that waits for a person, because its code is of a fork; all that is needed to start it.

    The commit is fixed: what the author pushes later is another event, which waits on its own.
    """

    model_config = ConfigDict(frozen=True)

    source_revisions: dict[str, str]
    trigger_type: TriggerType
    trigger_detail: str
    token: str
    author: str = ""
    url: str | None = None


class EventResult(BaseModel):
    """The result of an event for one pipeline.

    Attributes:
        event: the event as text.
        pipeline: None if no pipeline reads the repository, or the whole delivery starts nothing.
        execution_id: the id of the execution that was started.
        refusal: why no execution was started although the event matched.
        reason: why the event does not start an execution.
        held: what to start once a person allows it.
        allowed_by: who allowed it.
    """

    model_config = ConfigDict(frozen=True)

    event: str
    pipeline: str | None = None
    execution_id: str = ""
    refusal: str = ""
    reason: str = ""
    held: HeldStart | None = None
    allowed_by: str = ""

    @property
    def is_held(self) -> bool:
        return self.held is not None and not self.execution_id

    def __str__(self) -> str:
        if not self.pipeline and (reason := self.refusal or self.reason):
            return f"{self.event}: nothing was started: {reason}"
        if self.pipeline is None:
            return f"{self.event}: no pipeline reads this repository"
        if self.execution_id:
            allowed = f", allowed by {self.allowed_by}" if self.allowed_by else ""
            return f"{self.event}: {self.pipeline} started, execution {self.execution_id}{allowed}"
        if self.is_held:
            return f"{self.event}: {self.pipeline} waits: {self.reason}"
        if self.refusal:
            return f"{self.event}: {self.pipeline} was not started: {self.refusal}"
        return f"{self.event}: {self.pipeline} does not start: {self.reason}"


class FinishedDelivery(BaseModel):
    """A delivery that was processed, or a push that polling found; its `endpoint` is then `polling`."""

    model_config = ConfigDict(frozen=True)

    key: str
    at: datetime
    finished_at: datetime
    endpoint: str
    delivery: str = ""
    results: Annotated[tuple[EventResult, ...], Field(max_length=MOST_RESULTS)]

    @property
    def is_refused(self) -> bool:
        """Whether a start was refused. If the host repeats the delivery, it is then tried again."""
        return any(result.refusal for result in self.results)


def delivery_key(secret: str, delivery: str, body: bytes) -> str:
    """The key that identifies a request: from the host's delivery id if there is one, otherwise from the content.

    The address of the request is not part of it: the signature does not cover the address, so a request that is
    repeated to another endpoint with the same secret is the same request.

    Args:
        secret: with which the sender proved who it is, or a name that only this sender's requests have.
        delivery: the host's delivery id, or an empty text.
        body: of the request.
    """
    identity = delivery.encode("utf-8", "surrogatepass") if delivery else hashlib.sha256(body).digest()
    return hmac.new(secret.encode("utf-8", "surrogatepass"), identity, hashlib.sha256).hexdigest()[:40]


def shortened(event: GitEvent, files: int = 200) -> GitEvent:
    """The event with only the data that the decision needs: texts are shortened, long lists of files are dropped.

    Dropped files are read from git later.
    """
    too_many = event.changed_files is not None and len(event.changed_files) > files
    request = event.pull_request
    return replace(
        event,
        message=event.message[:_MOST_TEXT],
        author=event.author[:_MOST_TEXT],
        changed_files=None if too_many and event.base else event.changed_files,
        pull_request=replace(request, title=request.title[:_MOST_TEXT]) if request else None,
    )
