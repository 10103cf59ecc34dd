"""Fold the facts of executions into the states that CodePipeline displays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias, TypeVar

from prefect_codepipeline.model.definition.conditions import ConditionKind, condition_of
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    PipelineDeclaration,
    RuleDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.model.record.condition_facts import (
    ConditionEnded,
    OverrideRequested,
    RuleAnswered,
    RuleAsked,
    RuleState,
    RuleWaits,
)
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionProgressed,
    ActionStarted,
    AnyFact,
    ApprovalDecided,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalVoted,
    ExecutionFinished,
    ExecutionPinned,
    FactOfStage,
    NotificationSent,
    ProcessEnded,
    ProcessLost,
    ProcessReplaced,
    ProcessStarted,
    RetryRequested,
    StageEntered,
    StageFinished,
    StopRequested,
)
from prefect_codepipeline.model.record.job_facts import (
    JobCreated,
    JobEnded,
    JobHandedOut,
    JobProgressed,
    JobState,
    JobTaken,
)
from prefect_codepipeline.model.record.pool_run_facts import (
    PoolRunAsked,
    PoolRunEnded,
    PoolRunLost,
    PoolRunState,
    PoolRunTaken,
    PoolRunUnserved,
)
from prefect_codepipeline.model.record.state import (
    ActionState,
    ConditionState,
    ExecutionState,
    StageState,
)
from prefect_codepipeline.model.record.waiting_facts import ActionKept, ActionWaits

_OfStage: TypeAlias = tuple[str, int]
_OfAction: TypeAlias = tuple[str, str, int]
_OfRule: TypeAlias = tuple[str, str, str, int]
_OfCondition: TypeAlias = tuple[str, str, int]
_Numbered = TypeVar("_Numbered", ActionProgressed, ActionKept, ActionWaits)


def fold(
    execution_id: str, declaration: PipelineDeclaration, facts: Iterable[AnyFact]
) -> ExecutionState | None:
    """The state that follows from the facts of one execution; None if it has not started."""
    return Folding(execution_id, declaration, facts).state


def stage_attempts(state: ExecutionState, facts: Iterable[AnyFact]) -> dict[str, list[StageState]]:
    """Every attempt of each stage, the current one last, by the stage's name."""
    index = _Index()
    for fact in facts:
        index.add(fact)
    return {
        current.name: [
            *(
                _fold_stage(current.stage, index, current.retries[:n], False)
                for n in range(len(current.retries))
            ),
            current,
        ]
        for current in state.stages
    }


class Folding:
    """The facts of one execution so far, and their state. A fact costs as much as its stage, however many came before.

    Args:
        execution_id: the id of the execution.
        declaration: the definition that it runs.
        facts: the facts to begin with.
    """

    def __init__(
        self, execution_id: str, declaration: PipelineDeclaration, facts: Iterable[AnyFact] = ()
    ) -> None:
        self._execution_id = execution_id
        self._declaration = declaration
        self._index = _Index()
        self._facts: dict[str, AnyFact] = {}
        self._stages: dict[str, StageState] = {}  # without those that a new fact has changed
        for fact in facts:
            self.add(fact)

    def add(self, fact: AnyFact) -> bool:
        """Take in a fact; False if there is one with its key already."""
        if fact.key in self._facts:
            return False
        self._facts[fact.key] = fact
        stage = self._index.add(fact)
        if isinstance(fact, (RetryRequested, StopRequested)):  # they change the epoch, and so every stage
            self._stages.clear()
        elif stage:
            self._stages.pop(stage, None)
        return True

    @property
    def facts(self) -> list[AnyFact]:
        """The facts in the order in which they were added."""
        return list(self._facts.values())

    @property
    def state(self) -> ExecutionState | None:
        """The state that follows from the facts; None if the execution has not started."""
        index = self._index
        if index.pinned is None:
            return None
        epoch = len(index.retries)
        stops = tuple(stop for stop in index.stops if stop.epoch == epoch)
        return ExecutionState(
            execution_id=self._execution_id,
            pinned=index.pinned,
            stages=tuple(self._fold_stages(index.pinned.rollback_stage, bool(stops))),
            epoch=epoch,
            processes=len(index.processes),
            last_run_count=max((process.run_count for process in index.processes), default=0),
            final=index.finals.get(epoch),
            stops=stops,
            started_at=index.pinned.at,
            updated_at=index.updated_at or index.pinned.at,
        )

    def _fold_stages(self, only: str | None, is_stopping: bool) -> Iterable[StageState]:
        for stage in self._declaration.stages:
            if only in (None, stage.name):
                if stage.name not in self._stages:
                    self._stages[stage.name] = _fold_stage(
                        stage, self._index, self._index.retries, is_stopping
                    )
                yield self._stages[stage.name]


class _Index:
    """The facts of one execution, indexed by their subject."""

    def __init__(self) -> None:
        self.pinned: ExecutionPinned | None = None
        self.processes: list[ProcessStarted] = []
        self.retries: list[RetryRequested] = []
        self.stops: list[StopRequested] = []
        self.finals: dict[int, ExecutionFinished] = {}
        self.entered: dict[_OfStage, StageEntered] = {}
        self.left: dict[_OfStage, StageFinished] = {}
        self.started: dict[_OfAction, ActionStarted] = {}
        self.progress: dict[_OfAction, ActionProgressed] = {}
        self.kept: dict[_OfAction, ActionKept] = {}
        self.action_waits: dict[_OfAction, ActionWaits] = {}
        self.finished: dict[_OfAction, ActionFinished] = {}
        self.jobs: dict[_OfAction, dict[str, JobState]] = {}
        self.pool_runs: dict[_OfAction, PoolRunState] = {}
        self.requests: dict[_OfAction, ApprovalRequested] = {}
        self.asked: dict[_OfRule, RuleAsked] = {}
        self.waits: dict[_OfRule, list[RuleWaits]] = {}
        self.answered: dict[_OfRule, RuleAnswered] = {}
        self.ended: dict[_OfCondition, ConditionEnded] = {}
        self.overrides: dict[_OfCondition, OverrideRequested] = {}
        self.decisions: dict[str, ApprovalDecided] = {}
        self.votes: dict[str, list[ApprovalVoted]] = {}
        self.refusals: dict[str, list[ApprovalRefused]] = {}
        self.updated_at: datetime | None = None
        self._stages: dict[str, str] = {}  # by the token of an approval

    def add(self, fact: AnyFact) -> str | None:
        """Add a fact; the name of the stage that it is about, if it is about one."""
        self.updated_at = max(self.updated_at or fact.at, fact.at)
        match fact:
            case ExecutionPinned():
                self.pinned = self.pinned or fact
            case ProcessStarted():
                self.processes.append(fact)
            case RetryRequested():
                self.retries.append(fact)
            case StopRequested():
                self.stops.append(fact)
            case ExecutionFinished():
                self.finals.setdefault(fact.epoch, fact)
            case ApprovalDecided():
                self.decisions[fact.token] = fact
                return self._stages.get(fact.token)
            case ApprovalVoted():
                self.votes.setdefault(fact.token, []).append(fact)
                return self._stages.get(fact.token)
            case ApprovalRefused():
                self.refusals.setdefault(fact.token, []).append(fact)
                return self._stages.get(fact.token)
            case ProcessEnded() | ProcessLost() | ProcessReplaced() | NotificationSent():
                pass
            case _:
                self._add_of_stage(fact)
                return fact.stage
        return None

    def _add_of_stage(self, fact: FactOfStage) -> None:
        match fact:
            case StageEntered():
                self.entered[fact.stage, fact.attempt] = fact
            case StageFinished():
                self.left[fact.stage, fact.attempt] = fact
            case ActionStarted():
                self.started[fact.stage, fact.action, fact.attempt] = fact
            case ActionProgressed():
                _keep_latest(self.progress, fact)
            case ActionKept():
                _keep_latest(self.kept, fact)
            case ActionWaits():
                _keep_latest(self.action_waits, fact)
            case ActionFinished():
                self.finished[fact.stage, fact.action, fact.attempt] = fact
            case JobCreated():
                jobs = self.jobs.setdefault((fact.stage, fact.action, fact.attempt), {})
                jobs[fact.job] = JobState(fact)
            case JobHandedOut() | JobTaken() | JobProgressed() | JobEnded():
                jobs = self.jobs.get((fact.stage, fact.action, fact.attempt), {})
                if fact.job in jobs:
                    jobs[fact.job] = jobs[fact.job].after(fact)
            case PoolRunAsked():
                self.pool_runs[fact.stage, fact.action, fact.attempt] = PoolRunState(fact)
            case PoolRunUnserved() | PoolRunTaken() | PoolRunLost() | PoolRunEnded():
                of_action = (fact.stage, fact.action, fact.attempt)
                if known := self.pool_runs.get(of_action):
                    self.pool_runs[of_action] = known.after(fact)
            case ApprovalRequested():
                self.requests[fact.stage, fact.action, fact.attempt] = fact
                self._stages[fact.token] = fact.stage
            case RuleAsked():
                self.asked[fact.condition, fact.stage, fact.rule, fact.attempt] = fact
            case RuleWaits():
                key = (fact.condition, fact.stage, fact.wait.rule, fact.attempt)
                self.waits.setdefault(key, []).append(fact)
            case RuleAnswered():
                self.answered[fact.condition, fact.stage, fact.outcome.rule, fact.attempt] = fact
            case ConditionEnded():
                self.ended[fact.condition, fact.stage, fact.attempt] = fact
            case OverrideRequested():
                self.overrides[fact.condition, fact.stage, fact.attempt] = fact


def _keep_latest(known: dict[_OfAction, _Numbered], fact: _Numbered) -> None:
    latest = known.setdefault((fact.stage, fact.action, fact.attempt), fact)
    if fact.number > latest.number:
        known[fact.stage, fact.action, fact.attempt] = fact


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
        waits[0].at if waits else None,
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
            token = request.token if request else ""
            return ActionState(
                action,
                index.started[key],
                finished,
                request,
                decision,
                progress,
                tuple(index.votes.get(token, ())),
                tuple(index.refusals.get(token, ())),
                index.kept.get(key),
                index.action_waits.get(key),
                tuple(index.jobs.get(key, {}).values()),
                index.pool_runs.get(key),
            )
    return ActionState(action)
