"""What can be counted of an execution once it has ended: its actions by result, and how long it waited for what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    AnyFact,
    ApprovalDecided,
    ApprovalRequested,
    ExecutionFinished,
    ExecutionPinned,
    RetryRequested,
    StageEntered,
    StageFinished,
)
from prefect_codepipeline.model.record.pool_run_facts import PoolRunAsked, PoolRunTaken
from prefect_codepipeline.model.record.state import ExecutionState

WaitedFor = Literal["worker", "gate", "approval", "machine"]
# The error codes of AWS. Others come from providers and workers of users, who may invent any number.
ERROR_CODES = {
    "ConfigurationError",
    "InternalError",
    "JobFailed",
    "PermissionError",
    "RevisionOutOfSync",
    "RevisionUnavailable",
    "SystemUnavailable",
    "Timeout",
}
OTHER_CODE = "other"


@dataclass(frozen=True)
class ActionEnd:
    """The end of one action; the code is empty if it succeeded or was abandoned."""

    provider: str
    status: str
    code: str


@dataclass(frozen=True)
class Waited:
    """One wait of the execution."""

    what: WaitedFor
    seconds: float


def since_last_end(facts: Sequence[AnyFact]) -> int:
    """The position of the first fact that was written after the end before the last: an execution ends again after a retry."""
    ends = [n for n, fact in enumerate(facts) if isinstance(fact, ExecutionFinished)]
    return ends[-2] + 1 if len(ends) > 1 else 0


def action_ends(state: ExecutionState, facts: Sequence[AnyFact]) -> Iterator[ActionEnd]:
    """The actions that have ended since the end before."""
    providers = {(stage.name, each.name): each.action.action_type_id for stage, each in state.actions}
    for fact in facts[since_last_end(facts) :]:
        kind = providers.get((fact.stage, fact.action)) if isinstance(fact, ActionFinished) else None
        if kind and isinstance(fact, ActionFinished):
            code = fact.error_details.code if fact.error_details else ""
            known = code if code in ERROR_CODES or not code else OTHER_CODE
            yield ActionEnd(f"{kind.category}/{kind.provider}", fact.status, known)


def waits(facts: Sequence[AnyFact]) -> Iterator[Waited]:
    """The waits that have ended since the end before: at gates, for approvals, of actions for a machine of their pool."""
    first = since_last_end(facts)
    may_enter: datetime | None = None
    requested: dict[str, datetime] = {}
    asked: dict[str, datetime] = {}
    for n, fact in enumerate(facts):
        if isinstance(fact, StageEntered) and may_enter and n >= first:
            yield _waited("gate", may_enter, fact.at)
        elif isinstance(fact, ExecutionPinned | StageFinished | RetryRequested):
            may_enter = fact.at
        elif isinstance(fact, ApprovalRequested):
            requested[fact.token] = fact.at
        elif isinstance(fact, ApprovalDecided) and fact.token in requested and n >= first:
            yield _waited("approval", requested[fact.token], fact.at)
        elif isinstance(fact, PoolRunAsked):
            asked[fact.action_execution_id] = fact.at
        elif isinstance(fact, PoolRunTaken) and fact.action_execution_id in asked:
            # Once: another process may take it after the death of this one.
            since = asked.pop(fact.action_execution_id)
            if n >= first:
                yield _waited("machine", since, fact.at)


def _waited(what: WaitedFor, since: datetime, until: datetime) -> Waited:
    # Processes whose clocks differ wrote the two.
    return Waited(what, max(0.0, (until - since).total_seconds()))
