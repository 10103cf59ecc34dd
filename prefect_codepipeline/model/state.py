"""Fold the facts of executions into the states that CodePipeline displays.

All parts that need the state of an execution (the flow, the command line, Slack, Prefect's UI) use this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from prefect_codepipeline.model.conditions import (
    ConditionKind,
    ConditionStatus,
    Consequence,
    RuleOutcome,
    RuleWait,
    condition_of,
    consequence_of,
    result_of,
)
from prefect_codepipeline.model.declaration import (
    ActionDeclaration,
    Condition,
    PipelineDeclaration,
    RuleDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.model.execution import (
    ActionExecutionStatus,
    ActionFinished,
    ActionProgressed,
    ActionStarted,
    AnyFact,
    ApprovalDecided,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalVoted,
    ConditionEnded,
    ExecutionFinished,
    ExecutionPinned,
    OverrideRequested,
    PipelineExecutionStatus,
    ProcessStarted,
    RetryRequested,
    RetryTrigger,
    RuleAnswered,
    RuleAsked,
    RuleWaits,
    SourceRevision,
    StageEntered,
    StageExecutionStatus,
    StageFinished,
    StopRequested,
    StoredArtifact,
)
from prefect_codepipeline.model.variables import Namespaces


@dataclass(frozen=True)
class ActionState:
    """The current attempt of an action; `status` is None until it starts."""

    action: ActionDeclaration
    started: ActionStarted | None = None
    finished: ActionFinished | None = None
    request: ApprovalRequested | None = None
    decision: ApprovalDecided | None = None
    progress: ActionProgressed | None = None
    votes: tuple[ApprovalVoted, ...] = ()
    refusals: tuple[ApprovalRefused, ...] = ()

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
        """The result of the action, its progress, or what it is waiting for."""
        if self.finished:
            details = self.finished.error_details
            return details.message if details else self.finished.summary
        if self.is_waiting_for_approval:
            voters = ", ".join(vote.approver.label for vote in self.votes)
            return f"waiting for approval; approved by {voters} so far" if voters else "waiting for approval"
        return self.progress.summary if self.progress else ""

    @property
    def percent_complete(self) -> int | None:
        """The progress of the action, if it reports one."""
        return self.progress.percent_complete if self.progress and not self.finished else None

    @property
    def external_execution_id(self) -> str | None:
        """The id of the work in the external system, as soon as it is known."""
        known = self.finished and self.finished.external_execution_id
        return known or (self.progress.external_execution_id if self.progress else None)

    @property
    def external_execution_url(self) -> str | None:
        """The page of the work in the external system, as soon as it is known."""
        known = self.finished and self.finished.external_execution_url
        return known or (self.progress.external_execution_url if self.progress else None)


@dataclass(frozen=True)
class RuleState:
    """A rule in the current attempt of its stage; `waits` counts how often it postponed its answer."""

    rule: RuleDeclaration
    asked: RuleAsked | None = None
    waits: int = 0
    wait: RuleWait | None = None
    outcome: RuleOutcome | None = None


@dataclass(frozen=True)
class ConditionState:
    """A condition in the current attempt of its stage; `status` is None until its first rule is evaluated."""

    kind: ConditionKind
    condition: Condition
    rules: tuple[RuleState, ...]
    ended: ConditionEnded | None = None
    override: OverrideRequested | None = None

    @property
    def status(self) -> ConditionStatus | None:
        if self.ended:
            return self.ended.status
        return self.by_its_rules if any(rule.asked for rule in self.rules) else None

    @property
    def outcomes(self) -> list[RuleOutcome]:
        return [rule.outcome for rule in self.rules if rule.outcome]

    @property
    def by_its_rules(self) -> ConditionStatus:
        """The status that follows from the answers of the rules so far."""
        return result_of(self.outcomes, len(self.rules))

    @property
    def consequence(self) -> Consequence:
        """The consequence for the stage."""
        return consequence_of(
            self.kind, self.condition.result, self.ended.status if self.ended else "InProgress"
        )

    @property
    def next_rule(self) -> RuleState | None:
        """The rule to evaluate next, or None if no answer is needed."""
        if self.ended or self.by_its_rules != "InProgress":
            return None
        return next((rule for rule in self.rules if not rule.outcome), None)

    @property
    def summary(self) -> str:
        if self.ended:
            return self.ended.summary
        waiting = self.next_rule
        if waiting and waiting.wait:
            return f"rule {waiting.rule.name!r} waits until {waiting.wait.at:%Y-%m-%d %H:%M} UTC: {waiting.wait.summary}"
        return ""


@dataclass(frozen=True)
class StageState:
    """The current attempt of a stage; `status` is None until the execution enters it."""

    stage: StageDeclaration
    attempt: int
    actions: tuple[ActionState, ...]
    entered: StageEntered | None = None
    finished: StageFinished | None = None
    retries: tuple[RetryRequested, ...] = ()
    is_stopping: bool = False
    conditions: tuple[ConditionState, ...] = ()

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def status(self) -> StageExecutionStatus | None:
        """Failed as soon as one action fails, although other actions of its group may still be running."""
        if self.finished:
            return self.finished.status
        if not self.entered:
            return None
        if any(action.status == "Failed" for action in self.actions):
            return "Failed"
        return "Stopping" if self.is_stopping else "InProgress"

    @property
    def automatic_retries(self) -> int:
        return sum(retry.trigger == "AutomatedStageRetry" for retry in self.retries)

    @property
    def manual_retries(self) -> int:
        return len(self.retries) - self.automatic_retries

    @property
    def latest_retry_trigger(self) -> RetryTrigger | None:
        """The trigger of the latest retry, as in AWS's `retryStageMetadata`."""
        return self.retries[-1].trigger if self.retries else None

    def condition(self, kind: ConditionKind) -> ConditionState | None:
        """The condition of that kind, or None if the stage declares none."""
        return next((condition for condition in self.conditions if condition.kind == kind), None)

    def action(self, name: str) -> ActionState:
        return next(action for action in self.actions if action.name == name)


@dataclass(frozen=True)
class ExecutionState:
    """The state of one pipeline execution."""

    execution_id: str
    pinned: ExecutionPinned
    stages: tuple[StageState, ...]
    epoch: int
    processes: int
    last_run_count: int
    final: ExecutionFinished | None
    stops: tuple[StopRequested, ...]
    started_at: datetime
    updated_at: datetime

    @property
    def status(self) -> PipelineExecutionStatus:
        if self.final:
            return self.final.status
        return "Stopping" if any(stop.how != "cancel" for stop in self.stops) else "InProgress"

    @property
    def stop(self) -> StopRequested | None:
        """The strongest stop request, which prevents that further actions start; None if there is none."""
        strongest = ("abandon", "stop", "cancel")
        return min(self.stops, key=lambda stop: strongest.index(stop.how), default=None)

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
        """The revision that each source action pinned, by action name."""
        pinned_here = {
            action.name: action.finished.source_revision
            for _, action in self.actions
            if action.finished and action.finished.source_revision
        }
        return {**self.pinned.inherited.source_revisions, **pinned_here}

    @property
    def artifacts(self) -> dict[str, StoredArtifact]:
        """Every artifact that exists so far, by name."""
        own = {
            artifact.name: artifact
            for _, action in self.actions
            if action.status == "Succeeded" and action.finished
            for artifact in action.finished.output_artifacts
        }
        return {**{artifact.name: artifact for artifact in self.pinned.inherited.artifacts}, **own}

    @property
    def namespaces(self) -> Namespaces:
        """The values that are available for `#{namespace.key}` so far."""
        produced = {
            action.action.namespace: action.finished.output_variables
            for _, action in self.actions
            if action.action.namespace and action.status == "Succeeded" and action.finished
        }
        return {
            # In a pipeline without variables, an action may have this namespace and replaces the entry.
            "variables": self.pinned.variables,
            **self.pinned.inherited.namespaces,
            **produced,
            "codepipeline": {"PipelineExecutionId": self.execution_id},
        }

    @property
    def open_approvals(self) -> list[tuple[StageState, ActionState]]:
        return [(stage, action) for stage, action in self.actions if action.is_waiting_for_approval]

    @property
    def open_waits(self) -> list[RuleWait]:
        """The waits of rules in open conditions."""
        waiting = (c.next_rule for stage in self.stages for c in stage.conditions if c.status == "InProgress")
        return [rule.wait for rule in waiting if rule and rule.wait]

    @property
    def failure(self) -> tuple[StageState, ActionState] | None:
        """The first failed or abandoned action in the current attempts."""
        failed = ((s, a) for s, a in self.actions if a.status in ("Failed", "Abandoned"))
        return next(failed, None)


def fold(
    execution_id: str, declaration: PipelineDeclaration, facts: Sequence[AnyFact]
) -> ExecutionState | None:
    """The state that follows from the facts of one execution; None if it has not started."""
    pinned = next((fact for fact in facts if isinstance(fact, ExecutionPinned)), None)
    if pinned is None:
        return None
    index = _Index(facts)
    retries = [fact for fact in facts if isinstance(fact, RetryRequested)]
    stops = tuple(f for f in facts if isinstance(f, StopRequested) and f.epoch == len(retries))
    declared = [stage for stage in declaration.stages if pinned.rollback_stage in (None, stage.name)]
    processes = [fact for fact in facts if isinstance(fact, ProcessStarted)]
    final = next((f for f in facts if isinstance(f, ExecutionFinished) and f.epoch == len(retries)), None)
    return ExecutionState(
        execution_id=execution_id,
        pinned=pinned,
        stages=tuple(_fold_stage(stage, index, retries, bool(stops)) for stage in declared),
        epoch=len(retries),
        processes=len(processes),
        last_run_count=max((process.run_count for process in processes), default=0),
        final=final,
        stops=stops,
        started_at=pinned.at,
        updated_at=max(fact.at for fact in facts),
    )


class _Index:
    """The facts of one execution, indexed by their subject."""

    def __init__(self, facts: Sequence[AnyFact]) -> None:
        self.entered = {(f.stage, f.attempt): f for f in facts if isinstance(f, StageEntered)}
        self.left = {(f.stage, f.attempt): f for f in facts if isinstance(f, StageFinished)}
        self.started = {(f.stage, f.action, f.attempt): f for f in facts if isinstance(f, ActionStarted)}
        progress = sorted((f for f in facts if isinstance(f, ActionProgressed)), key=lambda fact: fact.number)
        self.progress = {(f.stage, f.action, f.attempt): f for f in progress}
        self.finished = {(f.stage, f.action, f.attempt): f for f in facts if isinstance(f, ActionFinished)}
        self.requests = {(f.stage, f.action, f.attempt): f for f in facts if isinstance(f, ApprovalRequested)}
        self.asked = {(f.condition, f.stage, f.rule, f.attempt): f for f in facts if isinstance(f, RuleAsked)}
        self.waits: dict[tuple[str, str, str, int], list[RuleWaits]] = {}
        for wait in facts:
            if isinstance(wait, RuleWaits):
                key = (wait.condition, wait.stage, wait.wait.rule, wait.attempt)
                self.waits.setdefault(key, []).append(wait)
        self.answered = {
            (f.condition, f.stage, f.outcome.rule, f.attempt): f for f in facts if isinstance(f, RuleAnswered)
        }
        self.ended = {(f.condition, f.stage, f.attempt): f for f in facts if isinstance(f, ConditionEnded)}
        self.overrides = {
            (f.condition, f.stage, f.attempt): f for f in facts if isinstance(f, OverrideRequested)
        }
        self.decisions = {f.token: f for f in facts if isinstance(f, ApprovalDecided)}
        self.votes = [f for f in facts if isinstance(f, ApprovalVoted)]
        self.refusals = [f for f in facts if isinstance(f, ApprovalRefused)]


def _fold_stage(
    stage: StageDeclaration, index: _Index, retries: Sequence[RetryRequested], is_stopping: bool
) -> StageState:
    own = [retry for retry in retries if retry.stage == stage.name]
    attempt = 1 + len(own)
    # A retry of all actions ignores the results of earlier attempts; a retry of failed actions keeps the successful ones.
    fresh = max(
        (number for number, retry in enumerate(own, 2) if retry.retry_mode == "ALL_ACTIONS"), default=1
    )
    return StageState(
        stage=stage,
        attempt=attempt,
        actions=tuple(_fold_action(stage.name, action, index, attempt, fresh) for action in stage.actions),
        entered=index.entered.get((stage.name, attempt)),
        finished=index.left.get((stage.name, attempt)),
        retries=tuple(own),
        is_stopping=is_stopping,
        conditions=tuple(_fold_conditions(stage, index, attempt)),
    )


def _fold_conditions(stage: StageDeclaration, index: _Index, attempt: int) -> Iterable[ConditionState]:
    kinds: tuple[ConditionKind, ...] = ("beforeEntry", "onSuccess", "onFailure")
    for kind in kinds:
        if condition := condition_of(stage, kind):
            yield ConditionState(
                kind,
                condition,
                tuple(_fold_rule(kind, stage, rule, index, attempt) for rule in condition.rules or ()),
                index.ended.get((kind, stage.name, attempt)),
                index.overrides.get((kind, stage.name, attempt)),
            )


def _fold_rule(
    kind: ConditionKind, stage: StageDeclaration, rule: RuleDeclaration, index: _Index, attempt: int
) -> RuleState:
    key = (kind, stage.name, rule.name, attempt)
    waits = index.waits.get(key, [])
    answered = index.answered.get(key)
    return RuleState(
        rule,
        index.asked.get(key),
        len(waits),
        waits[-1].wait if waits else None,
        answered.outcome if answered else None,
    )


def _fold_action(stage: str, action: ActionDeclaration, index: _Index, last: int, first: int) -> ActionState:
    for attempt in range(last, first - 1, -1):
        key = (stage, action.name, attempt)
        finished = index.finished.get(key)
        runs_again = finished and finished.status != "Succeeded" and attempt < last
        if key in index.started and not runs_again:
            request = index.requests.get(key)
            decision = index.decisions.get(request.token) if request else None
            progress = index.progress.get(key)
            token = request.token if request else None
            return ActionState(
                action,
                index.started[key],
                finished,
                request,
                decision,
                progress,
                tuple(vote for vote in index.votes if vote.token == token),
                tuple(refusal for refusal in index.refusals if refusal.token == token),
            )
    return ActionState(action)
