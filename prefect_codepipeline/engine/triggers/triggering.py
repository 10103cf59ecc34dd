"""An event of a git repository, and the executions it starts: one for each pipeline that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from prefect_codepipeline.blocks.pipeline_definition import PipelineDefinition
from prefect_codepipeline.engine.operations.starting import start_pipeline_execution
from prefect_codepipeline.errors import (
    ConcurrentPipelineExecutionsLimitExceededException,
    PipelineNotFoundException,
    ValidationException,
)
from prefect_codepipeline.model.triggers.git_event import GitEvent
from prefect_codepipeline.model.triggers.matching import Decision, Way, decide

# What keeps an execution from being started, however often it is tried.
REFUSALS = (
    ConcurrentPipelineExecutionsLimitExceededException,
    PipelineNotFoundException,
    ValidationException,
)
_FULL_ID = 40


@dataclass(frozen=True)
class Triggered:
    """What came of an event for one pipeline: the execution's id, or why there is none although it should be.

    Both are empty when no filter matched; `decision` says why not.
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
    definition: PipelineDefinition,
    event: GitEvent,
    way: Way,
    token: str,
    complete: Callable[[GitEvent], GitEvent],
    actions: Collection[str] | None = None,
) -> Triggered:
    """Start an execution of the pipeline when the event asks for one.

    Args:
        definition: the newest version of a deployed pipeline.
        event: of a repository.
        way: how it came to us.
        token: of the event; the same one starts one execution of a pipeline, however often it comes.
        complete: reads from git what the event lacks, when something hangs on it.
        actions: the source actions that read the event's repository; told by its name when None.

    Raises:
        ActionFailed: from `complete`.
        PrefectUnavailable: nothing is lost; the same token may be tried again.
    """
    declaration = definition.masked()
    decision = decide(declaration, event, way, actions)
    is_short = decision.starts and len(event.commit) < _FULL_ID
    if is_short or (not decision.starts and decision.needs_changed_files):
        event = complete(event)
        decision = decide(declaration, event, way, actions)
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
