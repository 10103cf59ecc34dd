"""Fold the facts of executions into the states that CodePipeline displays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
    ProcessStarted,
    RetryRequested,
    StageEntered,
    StageFinished,
    StopRequested,
)
from prefect_codepipeline.model.record.state import (
    ActionState,
    ConditionState,
    ExecutionState,
    RuleState,
    StageState,
)


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
