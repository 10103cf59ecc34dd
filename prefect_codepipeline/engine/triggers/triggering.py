"""Start executions for an event of a git repository: one for each pipeline whose triggers match."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.operations.starting import start_pipeline_execution
from prefect_codepipeline.engine.triggers.polled import as_polled
from prefect_codepipeline.errors import (
    ConcurrentPipelineExecutionsLimitExceededException,
    PipelineNotFoundException,
    ValidationException,
)
from prefect_codepipeline.model.stored.definition import StoredDefinition
from prefect_codepipeline.model.triggers.git_event import GitEvent
from prefect_codepipeline.model.triggers.matching import Decision, Way, decide
from prefect_codepipeline.model.triggers.webhook_delivery import EventResult, HeldStart

# Errors that a second attempt cannot change.
REFUSALS = (
    ConcurrentPipelineExecutionsLimitExceededException,
    PipelineNotFoundException,
    ValidationException,
)
MOST_TEXT = 500
_FULL_ID = 40


@dataclass(frozen=True)
class Triggered:
    """The result of an event for one pipeline: the execution's id, or why it was not started although a trigger matched.

    Both are empty if no filter matched; `decision` says why not.
    """

    pipeline: str
    event: GitEvent
    decision: Decision
    execution_id: str = ""
    refusal: str = ""

    def __str__(self) -> str:
        if self.execution_id:
            return f"pipeline {self.pipeline!r}: execution {self.execution_id}, for the {self.event}"
        what = f"was not started: {self.refusal}" if self.refusal else "does not start"
        return f"pipeline {self.pipeline!r} {what}, for the {self.event}"


def trigger(
    definition: StoredDefinition,
    event: GitEvent,
    way: Way,
    token: str,
    complete: Callable[[GitEvent], GitEvent],
    actions: Collection[str] | None = None,
) -> Triggered:
    """Start an execution of the pipeline if one of its triggers matches the event.

    Args:
        definition: the newest version of a deployed pipeline.
        event: of a repository.
        way: how the event was received.
        token: of the event; the same token starts only one execution of a pipeline, even if the event is repeated.
        complete: reads missing data of the event from git; called only if the decision needs it.
        actions: the source actions that read the event's repository; by default found by the repository's name.

    Raises:
        ActionFailed: from `complete`.
        MissingBlock: the pipeline's settings, which say what a pull request of a fork does, are invalid.
        PrefectUnavailable: Prefect does not respond; calling again with the same token is safe.
    """
    declaration = as_polled(definition.masked()) if way == "poll" else definition.masked()
    forks = settings_of(declaration.name).pull_requests_of_forks if event.fork else "never"
    decision = decide(declaration, event, way, actions, forks)
    # The sender of the plain form may give the id of an annotated tag instead of its commit.
    is_of_a_tag = event.tag is not None and event.host == "plain"
    is_inexact = decision.trigger_type is not None and (len(event.commit) < _FULL_ID or is_of_a_tag)
    if is_inexact or (not decision.starts and decision.needs_changed_files):
        event = complete(event)
        decision = decide(declaration, event, way, actions, forks)
    if not decision.starts:
        return Triggered(declaration.name, event, decision)
    try:
        execution_id = start_pipeline_execution(
            declaration.name,
            {},
            decision.source_revisions,
            decision.trigger_detail,
            token,
            decision.trigger_type,
        )
    except REFUSALS as error:
        return Triggered(declaration.name, event, decision, refusal=str(error))
    return Triggered(declaration.name, event, decision, execution_id)


def event_result(done: Triggered, token: str) -> EventResult:
    """The result for `codepipeline trigger list`. `token` is that of the event."""
    decision = done.decision
    return EventResult(
        event=str(done.event),
        pipeline=done.pipeline,
        execution_id=done.execution_id,
        refusal=done.refusal[:MOST_TEXT],
        reason="" if decision.starts else _why_not(decision)[:MOST_TEXT],
        held=_held(done, token) if decision.held and decision.may_be_allowed else None,
    )


def _held(done: Triggered, token: str) -> HeldStart:
    assert done.decision.trigger_type is not None
    return HeldStart(
        source_revisions=done.decision.source_revisions,
        trigger_type=done.decision.trigger_type,
        trigger_detail=done.decision.trigger_detail,
        token=token,
        author=done.event.author,
        url=done.event.url,
    )


def _why_not(decision: Decision) -> str:
    reasons = dict.fromkeys(each.reason for each in decision.considered)
    return decision.held or "; ".join(reasons) or "no filter matches"
