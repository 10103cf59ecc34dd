"""Fold the facts of executions into the states that CodePipeline shows.

Everything that shows or asks how an execution stands (the flow, the command line, Slack, Prefect's UI) asks here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from prefect_codepipeline.model.declaration import ActionDeclaration, PipelineDeclaration, StageDeclaration
from prefect_codepipeline.model.execution import (
    ActionExecutionStatus,
    ActionFinished,
    ActionStarted,
    AnyFact,
    ApprovalDecided,
    ApprovalRequested,
    ExecutionFinished,
    ExecutionPinned,
    PipelineExecutionStatus,
    ProcessStarted,
    RetryRequested,
    SourceRevision,
    StageEntered,
    StageExecutionStatus,
    StageFinished,
    StoredArtifact,
)
from prefect_codepipeline.model.variables import Namespaces


@dataclass(frozen=True)
class ActionState:
    """The current attempt of an action; `status` is None while it has not started."""

    action: ActionDeclaration
    started: ActionStarted | None = None
    finished: ActionFinished | None = None
    request: ApprovalRequested | None = None
    decision: ApprovalDecided | None = None

    @property
    def name(self) -> str:
        return self.action.name

    @property
    def status(self) -> ActionExecutionStatus | None:
        if self.finished:
            return self.finished.status
        return "InProgress" if self.started else None

    @property
    def attempt(self) -> int:
        return self.started.attempt if self.started else 0

    @property
    def is_waiting_for_approval(self) -> bool:
        return bool(self.request and not self.decision and not self.finished)

    @property
    def summary(self) -> str:
        """One line that says how it went, or what it waits for."""
        if self.finished:
            details = self.finished.error_details
            return details.message if details else self.finished.summary
        return "waiting for approval" if self.is_waiting_for_approval else ""


@dataclass(frozen=True)
class StageState:
    """The current attempt of a stage; `status` is None while the execution has not entered it."""

    stage: StageDeclaration
    attempt: int
    actions: tuple[ActionState, ...]
    entered: StageEntered | None = None
    finished: StageFinished | None = None

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def status(self) -> StageExecutionStatus | None:
        if self.finished:
            return self.finished.status
        return "InProgress" if self.entered else None

    def action(self, name: str) -> ActionState:
        return next(action for action in self.actions if action.name == name)


@dataclass(frozen=True)
class ExecutionState:
    """How one pipeline execution stands."""

    execution_id: str
    pinned: ExecutionPinned
    stages: tuple[StageState, ...]
    epoch: int
    processes: int
    last_run_count: int
    final: ExecutionFinished | None
    started_at: datetime
    updated_at: datetime

    @property
    def status(self) -> PipelineExecutionStatus:
        return self.final.status if self.final else "InProgress"

    @property
    def summary(self) -> str:
        return self.final.summary if self.final else ""

    def stage(self, name: str) -> StageState:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def actions(self) -> Iterable[tuple[StageState, ActionState]]:
        return ((stage, action) for stage in self.stages for action in stage.actions)

    @property
    def source_revisions(self) -> dict[str, SourceRevision]:
        """What each source action pinned, by action name."""
        return {
            action.name: action.finished.source_revision
            for _, action in self.actions
            if action.finished and action.finished.source_revision
        }

    @property
    def artifacts(self) -> dict[str, StoredArtifact]:
        """Every artifact that exists by now, by name."""
        return {
            artifact.name: artifact
            for _, action in self.actions
            if action.status == "Succeeded" and action.finished
            for artifact in action.finished.output_artifacts
        }

    @property
    def namespaces(self) -> Namespaces:
        """The values that `#{namespace.key}` can take by now."""
        produced = {
            action.action.namespace: action.finished.output_variables
            for _, action in self.actions
            if action.action.namespace and action.status == "Succeeded" and action.finished
        }
        return {
            # A pipeline without variables may have an action with this namespace.
            "variables": self.pinned.variables,
            **produced,
            "codepipeline": {"PipelineExecutionId": self.execution_id},
        }

    @property
    def open_approvals(self) -> list[tuple[StageState, ActionState]]:
        return [(stage, action) for stage, action in self.actions if action.is_waiting_for_approval]

    @property
    def failure(self) -> tuple[StageState, ActionState] | None:
        """The first action of the current attempts that failed."""
        failed = ((s, a) for s, a in self.actions if a.status in ("Failed", "Abandoned"))
        return next(failed, None)


def fold(
    execution_id: str, declaration: PipelineDeclaration, facts: Sequence[AnyFact]
) -> ExecutionState | None:
    """The state that the facts of one execution amount to; None when it has not started."""
    pinned = next((fact for fact in facts if isinstance(fact, ExecutionPinned)), None)
    if pinned is None:
        return None
    index = _Index(facts)
    retries = [fact for fact in facts if isinstance(fact, RetryRequested)]
    processes = [fact for fact in facts if isinstance(fact, ProcessStarted)]
    final = next((f for f in facts if isinstance(f, ExecutionFinished) and f.epoch == len(retries)), None)
    return ExecutionState(
        execution_id=execution_id,
        pinned=pinned,
        stages=tuple(_fold_stage(stage, index, retries) for stage in declaration.stages),
        epoch=len(retries),
        processes=len(processes),
        last_run_count=max((process.run_count for process in processes), default=0),
        final=final,
        started_at=pinned.at,
        updated_at=max(fact.at for fact in facts),
    )


class _Index:
    """The facts of one execution by what they are about."""

    def __init__(self, facts: Sequence[AnyFact]) -> None:
        self.entered = {(f.stage, f.attempt): f for f in facts if isinstance(f, StageEntered)}
        self.left = {(f.stage, f.attempt): f for f in facts if isinstance(f, StageFinished)}
        self.started = {(f.stage, f.action, f.attempt): f for f in facts if isinstance(f, ActionStarted)}
        self.finished = {(f.stage, f.action, f.attempt): f for f in facts if isinstance(f, ActionFinished)}
        self.requests = {(f.stage, f.action, f.attempt): f for f in facts if isinstance(f, ApprovalRequested)}
        self.decisions = {f.token: f for f in facts if isinstance(f, ApprovalDecided)}


def _fold_stage(stage: StageDeclaration, index: _Index, retries: Sequence[RetryRequested]) -> StageState:
    own = [retry for retry in retries if retry.stage == stage.name]
    attempt = 1 + len(own)
    # A retry of all actions makes what earlier attempts did history; one of failed actions builds on it.
    fresh = max(
        (number for number, retry in enumerate(own, 2) if retry.retry_mode == "ALL_ACTIONS"), default=1
    )
    return StageState(
        stage=stage,
        attempt=attempt,
        actions=tuple(_fold_action(stage.name, action, index, attempt, fresh) for action in stage.actions),
        entered=index.entered.get((stage.name, attempt)),
        finished=index.left.get((stage.name, attempt)),
    )


def _fold_action(stage: str, action: ActionDeclaration, index: _Index, last: int, first: int) -> ActionState:
    for attempt in range(last, first - 1, -1):
        key = (stage, action.name, attempt)
        finished = index.finished.get(key)
        runs_again = finished and finished.status != "Succeeded" and attempt < last
        if key in index.started and not runs_again:
            request = index.requests.get(key)
            decision = index.decisions.get(request.token) if request else None
            return ActionState(action, index.started[key], finished, request, decision)
    return ActionState(action)
