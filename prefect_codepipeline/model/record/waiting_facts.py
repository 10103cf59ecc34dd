"""The facts of an action that outlives the process that started it: what it keeps, and what it waits for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import Field

from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.fact import Fact


class ActionKept(Fact):
    """What a later process needs to find the work of an action again; the fact with the highest `number` has all of it."""

    kind: Literal["action-kept"] = "action-kept"
    stage: str
    action: str
    attempt: int
    action_execution_id: str
    number: int
    external_execution_id: str | None = None
    external_execution_url: str | None = None
    state: dict[str, str] = Field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        return f"action-{slug(self.stage, self.action)}-{self.attempt}-kept-{self.number}"


class ActionWaits(Fact):
    """The action has nothing to do until a time, or until the fact with the key `fact` is written, or the first of both."""

    kind: Literal["action-waits"] = "action-waits"
    stage: str
    action: str
    attempt: int
    action_execution_id: str
    number: int
    until: datetime | None = None
    fact: str | None = None
    summary: str = ""

    @cached_property
    def key(self) -> str:
        return f"action-{slug(self.stage, self.action)}-{self.attempt}-waits-{self.number}"

    def is_due(self, now: datetime, keys: Collection[str]) -> bool:
        """Whether the wait has ended, at a time and with the facts that have these keys."""
        return bool((self.until and now >= self.until) or (self.fact and self.fact in keys))
