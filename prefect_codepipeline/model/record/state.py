"""The states of executions, stages, actions and conditions, as CodePipeline displays them; `folding` computes them.

All parts that need the state of an execution (the flow, the command line, Slack, Prefect's UI) use this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from prefect_codepipeline.model.definition.conditions import (
    WHEN,
    ConditionKind,
    ConditionStatus,
    Consequence,
    RuleOutcome,
    consequence_of,
    result_of,
)
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    Condition,
    StageDeclaration,
)
from prefect_codepipeline.model.definition.variables import Namespaces
from prefect_codepipeline.model.record.artifacts import SourceRevision, StoredArtifact
from prefect_codepipeline.model.record.condition_facts import (
    ConditionEnded,
    OverrideRequested,
    RuleState,
    override_key,
)
from prefect_codepipeline.model.record.facts import (
    ActionExecutionStatus,
    ActionFinished,
    ActionProgressed,
    ActionStarted,
    ApprovalDecided,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalVoted,
    ExecutionFinished,
    ExecutionPinned,
    PipelineExecutionStatus,
    RetryRequested,
    RetryTrigger,
    StageEntered,
    StageExecutionStatus,
    StageFinished,
    StopRequested,
)
from prefect_codepipeline.model.record.job_facts import (
    JobEnded,
    JobProgressed,
    JobState,
    job_prefix,
    result_key,
)
from prefect_codepipeline.model.record.pool_run_facts import POOL_RUNS, PoolRunState
from prefect_codepipeline.model.record.waiting_facts import ActionKept, ActionWaits, Wait


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
    kept: ActionKept | None = None
    waits: ActionWaits | None = None
    jobs: tuple[JobState, ...] = ()
    pool_run: PoolRunState | None = None

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
    def wait(self) -> Wait | None:
        """What the action waits for, if it has nothing to do for now and needs no process."""
        if self.finished:
            return None
        what = f"action {self.name!r} waits" + (f": {self.summary}" if self.summary else "")
        if self.request:
            prefix = f"approval-{self.request.token}-"
            what = f"waiting for approval of action {self.name!r} of stage {self.request.stage!r}"
            return Wait(what, self.request.at, self.request.expires_at, f"{prefix}decision", prefix)
        if self.waits and self.waits.until:
            fact, since, deadline = self.waits.fact, self.waits.since or self.waits.at, self.waits.deadline
            # Of a job or a pool run it is also read who has taken it.
            of_job = (job_prefix(job.id) for job in self.jobs if result_key(job.id) == fact)
            until, all_of_it = self.waits.until, next(of_job, POOL_RUNS if self.pool_run else fact)
            return Wait(what, since, until, fact, all_of_it, ends_with_a_stop=False, deadline=deadline)
        return None

    @property
    def waits_for_a_worker(self) -> bool:
        """Whether it has a job that no worker has taken in the time in which one usually does."""
        if self.status != "InProgress":
            return False
        if self.pool_run:
            return self.pool_run.is_unserved
        is_queued = bool(self.jobs) and not self.jobs[-1].taken and not self.jobs[-1].ended
        return is_queued and self.looks > 1

    @property
    def looks(self) -> int:
        """How often the action has begun to wait: it is looked at again once for each time."""
        return self.waits.number if self.waits else int(self.request is not None)

    @property
    def summary(self) -> str:
        """The result of the action, its progress, or what it is waiting for."""
        if self.finished:
            details = self.finished.error_details
            return details.message if details else self.finished.summary
        if self.is_waiting_for_approval:
            voters = ", ".join(vote.approver.label for vote in self.votes)
            return f"waiting for approval; approved by {voters} so far" if voters else "waiting for approval"
        if self._told and self._told.summary:
            return self._told.summary
        if self.jobs and self.jobs[-1].taken:
            return "a worker has its job"
        if self.pool_run and self.pool_run.taken:
            return self.pool_run.doing(self.progress.summary if self.progress else "")
        if self.waits and self.waits.summary:
            return self.waits.summary
        if self.pool_run and self.pool_run.unserved:  # the wait is the next fact
            return self.pool_run.unserved.why
        return self.progress.summary if self.progress else ""

    @property
    def percent_complete(self) -> int | None:
        """The progress of the action, if it reports one."""
        if self.finished:
            return None
        said = (self._told, self.progress)
        return next(
            (each.percent_complete for each in said if each and each.percent_complete is not None), None
        )

    @property
    def _told(self) -> JobEnded | JobProgressed | None:
        """What the workers of its jobs have said about the work last."""
        return next((job.told for job in reversed(self.jobs) if job.told), None)

    @property
    def external_execution_id(self) -> str | None:
        """The id of the work in the external system, as soon as it is known."""
        said = (self.finished, self._told, self.kept, self.progress)
        return next(
            (each.external_execution_id for each in said if each and each.external_execution_id), None
        )

    @property
    def external_execution_url(self) -> str | None:
        """The page of the work in the external system, as soon as it is known."""
        said = (self.finished, self.kept, self.progress)
        return next(
            (each.external_execution_url for each in said if each and each.external_execution_url), None
        )


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

    def wait_in(self, stage: StageState) -> Wait | None:
        """What the next rule waits for, in that stage; an override of the condition ends the wait too."""
        rule = self.next_rule
        if rule is None or rule.wait is None or rule.waits_since is None:
            return None
        key = override_key(self.kind, stage.name, stage.attempt)
        what = f"stage {stage.name!r}, {WHEN[self.kind]}: {self.summary}"
        return Wait(what, rule.waits_since, rule.wait.at, key, key)

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
    def waiting_actions(self) -> list[ActionState]:
        """The actions that have nothing to do for now, in stages that are in progress."""
        return [action for stage, action in self.actions if action.wait and not stage.finished]

    @property
    def waits(self) -> list[Wait]:
        """Everything that the execution waits for: its actions, and the rules of open conditions."""
        of_actions = (action.wait for action in self.waiting_actions)
        of_rules = (
            condition.wait_in(stage)
            for stage in self.stages
            for condition in stage.conditions
            if condition.status == "InProgress"
        )
        return [wait for wait in (*of_actions, *of_rules) if wait]

    @property
    def failure(self) -> tuple[StageState, ActionState] | None:
        """The first failed or abandoned action in the current attempts."""
        failed = ((s, a) for s, a in self.actions if a.status in ("Failed", "Abandoned"))
        return next(failed, None)
