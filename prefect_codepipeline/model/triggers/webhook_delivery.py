"""What a git host told a webhook, as it is kept until it is dealt with, and what came of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from prefect_codepipeline.model.triggers.git_event import GitEvent

_MOST_TEXT = 300


class TakenDelivery(BaseModel):
    """One request of a git host, whose sender was checked.

    Attributes:
        key: tells it from every other by the host's id of it; the same request, sent again, has the same.
        token: tells its content from every other. The host's id can be changed by who overheard it, the content cannot.
        at: when it came, in the gateway's time.
        endpoint: the connection or pipeline that it was sent to, or a V1 webhook as `pipeline/action`.
        connections: the GitConnection blocks whose secret its sender knows.
        delivery: the host's id of it, for people who look for it on the host's page.
        events: what it tells of, in its order; none where a V1 webhook's sender is no git host.
        webhook: the name of the V1 webhook that it was sent to, whose filters have passed.
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
        """What is dealt with in order: deliveries about a repository, or to a V1 webhook."""
        if self.webhook:
            return f"{self.webhook} of V1"
        return ", ".join(dict.fromkeys(event.repository.casefold() for event in self.events))


class EventResult(BaseModel):
    """What came of an event for one pipeline.

    Attributes:
        event: in words.
        pipeline: None when no pipeline reads the repository.
        execution_id: of the execution that was started.
        refusal: why none was, although one should have been.
        reason: why none should be.
    """

    model_config = ConfigDict(frozen=True)

    event: str
    pipeline: str | None = None
    execution_id: str = ""
    refusal: str = ""
    reason: str = ""

    def __str__(self) -> str:
        if self.pipeline is None:
            return f"{self.event}: no pipeline reads it"
        if self.execution_id:
            return f"{self.event}: {self.pipeline} started, execution {self.execution_id}"
        if self.refusal:
            return f"{self.event}: {self.pipeline} was not started: {self.refusal}"
        return f"{self.event}: {self.pipeline} does not start: {self.reason}"


class FinishedDelivery(BaseModel):
    """A delivery that was dealt with."""

    model_config = ConfigDict(frozen=True)

    key: str
    at: datetime
    finished_at: datetime
    endpoint: str
    delivery: str = ""
    results: Annotated[tuple[EventResult, ...], Field(max_length=1000)]

    @property
    def is_refused(self) -> bool:
        """Whether something that should have started was not; the same delivery, sent again, is tried again."""
        return any(result.refusal for result in self.results)


def delivery_key(endpoint: str, delivery: str, body: bytes) -> str:
    """What tells a request from every other: the host's id when it gives one, else its content."""
    told = delivery.encode("utf-8", "surrogatepass") if delivery else hashlib.sha256(body).digest()
    return hashlib.sha256(endpoint.encode() + b"\n" + told).hexdigest()[:40]


def shortened(event: GitEvent, files: int = 200) -> GitEvent:
    """The event with as much as is needed to decide: texts for people cut, long lists of files left to git."""
    too_many = event.changed_files is not None and len(event.changed_files) > files
    request = event.pull_request
    return replace(
        event,
        message=event.message[:_MOST_TEXT],
        author=event.author[:_MOST_TEXT],
        changed_files=None if too_many and event.base else event.changed_files,
        pull_request=replace(request, title=request.title[:_MOST_TEXT]) if request else None,
    )
