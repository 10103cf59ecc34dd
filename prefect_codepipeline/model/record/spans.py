"""An execution as spans of a trace: its stages, and their actions. The ids of the spans follow from AWS's ids.

So a build can be given its place in the trace while it runs, although its span is made when the execution has ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from prefect_codepipeline.model.record.account import since_last_end
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    AnyFact,
    StageEntered,
    StageFinished,
)
from prefect_codepipeline.model.record.state import ExecutionState


@dataclass(frozen=True)
class Span:
    """One span; `error` is empty if it succeeded, and `parent` None for the execution."""

    name: str
    id: int
    parent: int | None
    begin: datetime
    end: datetime
    error: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


def trace_id(execution_id: str) -> int:
    """The id of the trace of an execution: the same 128 bits."""
    return UUID(execution_id).int


def span_id(*names: str) -> int:
    """The id of the span of what has these names; never 0, which is no id."""
    return int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:8], "big") or 1


def traceparent(execution_id: str, action_execution_id: str) -> str:
    """The place of an action in its trace, as https://www.w3.org/TR/trace-context has it."""
    return f"00-{trace_id(execution_id):032x}-{span_id(action_execution_id):016x}-01"


def spans_of(state: ExecutionState, facts: Sequence[AnyFact]) -> Iterator[Span]:
    """The spans of an execution that has ended: of what has happened since its end before, if it was retried."""
    if state.final is None:
        return
    new = facts[since_last_end(facts) :]
    pinned, own = state.pinned, {"codepipeline.execution_id": state.execution_id}
    own["codepipeline.pipeline"] = pinned.pipeline_name
    root = span_id(state.execution_id, str(state.final.epoch))
    begin = min((fact.at for fact in new), default=pinned.at)
    error = "" if state.final.status == "Succeeded" else state.final.summary
    attributes = {
        **own,
        "codepipeline.status": state.final.status,
        "codepipeline.trigger": pinned.trigger_type,
    }
    yield Span(f"pipeline {pinned.pipeline_name}", root, None, begin, state.final.at, error, attributes)
    yield from _stages(new, root, own)
    yield from _actions(new, own)


def _stage_span(stage: str, attempt: int, execution_id: str) -> int:
    return span_id(execution_id, stage, str(attempt))


def _stages(facts: Sequence[AnyFact], root: int, own: dict[str, str]) -> Iterator[Span]:
    entered = {(fact.stage, fact.attempt): fact.at for fact in facts if isinstance(fact, StageEntered)}
    for fact in facts:
        if isinstance(fact, StageFinished):
            begin = entered.get((fact.stage, fact.attempt), fact.at)
            error = "" if fact.status in ("Succeeded", "Skipped") else fact.summary or fact.status
            attributes = {**own, "codepipeline.stage": fact.stage, "codepipeline.status": fact.status}
            span = _stage_span(fact.stage, fact.attempt, own["codepipeline.execution_id"])
            yield Span(f"stage {fact.stage}", span, root, begin, fact.at, error, attributes)


def _actions(facts: Sequence[AnyFact], own: dict[str, str]) -> Iterator[Span]:
    started = {fact.action_execution_id: fact.at for fact in facts if isinstance(fact, ActionStarted)}
    for fact in facts:
        if isinstance(fact, ActionFinished):
            details = fact.error_details
            attributes = {
                **own,
                "codepipeline.stage": fact.stage,
                "codepipeline.action": fact.action,
                "codepipeline.action_execution_id": fact.action_execution_id,
                "codepipeline.status": fact.status,
                **({"codepipeline.error_code": details.code} if details else {}),
            }
            yield Span(
                f"action {fact.action}",
                span_id(fact.action_execution_id),
                _stage_span(fact.stage, fact.attempt, own["codepipeline.execution_id"]),
                started.get(fact.action_execution_id, fact.at),
                fact.at,
                (details.message if details else fact.status) if fact.status != "Succeeded" else "",
                attributes,
            )
