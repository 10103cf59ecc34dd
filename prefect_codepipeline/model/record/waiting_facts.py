"""The facts of an action that outlives the process that started it: what it keeps, and what it waits for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
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
    """The action has nothing to do until a time, or until the fact with the key `fact` is written, or the first of both.

    `since` is when it first waited, and `deadline` the end of its time limit; records of earlier versions have neither.
    """

    kind: Literal["action-waits"] = "action-waits"
    stage: str
    action: str
    attempt: int
    action_execution_id: str
    number: int
    until: datetime | None = None
    fact: str | None = None
    summary: str = ""
    since: datetime | None = None
    deadline: datetime | None = None

    @cached_property
    def key(self) -> str:
        return f"action-{slug(self.stage, self.action)}-{self.attempt}-waits-{self.number}"

    def has_been_answered(self, facts: Sequence[Fact]) -> bool:
        """Whether the fact that it waits for came after this one, so that the action has not been called with it.

        Args:
            facts: of the execution, in the order in which they were learned.
        """
        for fact in reversed(facts):
            if fact.key == self.fact:
                return True
            if fact.key == self.key:
                break
        return False


@dataclass(frozen=True)
class Wait:
    """What an action or a rule waits for: a time, the fact with a key, or the first of both.

    A stop ends some waits at once, because no work is in progress that could be waited for; an abandon ends every wait.
    `fact_prefix` begins the keys of all facts that say more about the wait. After `until` the action may wait again, but
    not beyond `deadline`, if that is known.
    """

    what: str
    since: datetime
    until: datetime
    fact: str | None = None
    fact_prefix: str | None = None
    ends_with_a_stop: bool = True
    deadline: datetime | None = None

    def has_ended(self, now: datetime, keys: Collection[str], stopped: str | None) -> bool:
        """Whether the wait has ended, at a time, with the facts that have these keys, after a stop request of that kind."""
        ends_now = stopped == "abandon" or (stopped is not None and self.ends_with_a_stop)
        return ends_now or now >= self.until or (self.fact is not None and self.fact in keys)
