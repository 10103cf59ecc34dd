"""The state changes that AWS sends to EventBridge, from the facts of an execution.

https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from uuid import UUID, uuid5

from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    AnyFact,
    ExecutionFinished,
    ExecutionPinned,
    RetryRequested,
    StageEntered,
    StageFinished,
    StopRequested,
)
from prefect_codepipeline.model.records import Record

Level = Literal["pipeline", "stage", "action"]
EventState = Literal[
    "STARTED",
    "SUCCEEDED",
    "RESUMED",
    "FAILED",
    "STOPPING",
    "STOPPED",
    "CANCELED",
    "SUPERSEDED",
    "ABANDONED",
]
# The bucket and the key of an artifact, or None if it is not in S3.
Locate = Callable[[StoredArtifact], tuple[str, str] | None]

_EVENTS = UUID("b8ee3cf2-4c5e-5d0c-9d0b-6f6b0a2f6d11")
# Other statuses produce no event: AWS documents no event for a skipped stage.
_STATES: dict[str, EventState] = {
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Stopped": "STOPPED",
    "Cancelled": "CANCELED",
    "Superseded": "SUPERSEDED",
    "Abandoned": "ABANDONED",
}


class StateChange(Record):
    """One event. The same facts give the same `id`, so that it is harmless to send an event twice.

    Each event of an execution has a different `time`, so that sorting by time keeps their order. `cause` is the key of the fact behind the event; `detail` has AWS's format.
    """

    id: UUID
    time: datetime
    level: Level
    state: EventState
    cause: str
    detail: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the Prefect event, such as `codepipeline.stage-execution.started`."""
        return f"codepipeline.{self.level}-execution.{self.state.lower()}"

    @property
    def detail_type(self) -> str:
        """The `detail-type` of AWS, such as `CodePipeline Stage Execution State Change`."""
        return f"CodePipeline {self.level.title()} Execution State Change"

    def to_event_bridge(self, account: str, region: str) -> dict[str, Any]:
        """The whole event as EventBridge delivers it."""
        return {
            "version": "0",
            "id": str(self.id),
            "detail-type": self.detail_type,
            "source": "aws.codepipeline",
            "account": account,
            "time": self.time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": region,
            "resources": [f"arn:aws:codepipeline:{region}:{account}:{self.detail['pipeline']}"],
            "detail": self.detail,
        }


def events_of(
    execution_id: str,
    declaration: PipelineDeclaration,
    facts: Iterable[AnyFact],
    region: str = "",
    locate: Locate = lambda artifact: None,
) -> list[StateChange]:
    """Every state change of an execution, in the order in which its facts were written."""
    builder = EventBuilder(execution_id, declaration, region, locate)
    return [event for fact in facts for event in builder.add(fact)]


class EventBuilder:
    """Converts the facts of one execution, one after another, to state changes.

    Args:
        execution_id: the id of the pipeline execution.
        declaration: the definition that it runs; events never contain its configurations.
        region: the region of actions that name none.
        locate: finds the location of an artifact in S3.
    """

    def __init__(
        self,
        execution_id: str,
        declaration: PipelineDeclaration,
        region: str = "",
        locate: Locate = lambda artifact: None,
    ) -> None:
        self.execution_id = execution_id
        self._declaration = declaration
        self._region = region
        self._locate = locate
        self._pinned: ExecutionPinned | None = None
        self._entered: dict[str, StageEntered] = {}
        self._in_progress: set[str] = set()
        self._started: dict[str, ActionStarted] = {}
        self._artifacts: dict[str, StoredArtifact] = {}
        self._retries: list[RetryRequested] = []
        self._ended = False
        self._stopping = False
        self._last: datetime | None = None

    def add(self, fact: AnyFact) -> list[StateChange]:
        """The state changes that this fact causes after the earlier facts; most facts cause none."""
        return list(self._changes(fact))

    def _changes(self, fact: AnyFact) -> Iterator[StateChange]:
        if isinstance(fact, ExecutionPinned):
            self._pinned = fact
            self._artifacts.update((artifact.name, artifact) for artifact in fact.inherited.artifacts)
            yield self._of_pipeline(fact, "STARTED")
        elif isinstance(fact, RetryRequested):
            yield from self._retry(fact)
        elif isinstance(fact, StopRequested):
            yield from self._stop(fact)
        elif isinstance(fact, ExecutionFinished):
            self._ended = True
            yield self._of_pipeline(fact, _STATES[fact.status])
        elif isinstance(fact, StageEntered):
            is_again = fact.stage in self._entered
            self._entered[fact.stage] = fact
            self._in_progress.add(fact.stage)
            yield self._of_stage(fact, fact.stage, "RESUMED" if is_again else "STARTED")
        elif isinstance(fact, StageFinished):
            self._in_progress.discard(fact.stage)
            if fact.status in _STATES:
                yield self._of_stage(fact, fact.stage, _STATES[fact.status])
        elif isinstance(fact, ActionStarted):
            self._started[fact.action_execution_id] = fact
            yield self._of_action(fact, "STARTED")
        elif isinstance(fact, ActionFinished):
            self._artifacts.update((artifact.name, artifact) for artifact in fact.output_artifacts)
            yield self._of_action(fact, _STATES[fact.status])

    def _retry(self, fact: RetryRequested) -> Iterator[StateChange]:
        self._retries.append(fact)
        self._stopping = False
        # An automatic retry happens before the execution ends, so there is no end to resume from.
        if self._ended:
            self._ended = False
            yield self._of_pipeline(fact, "RESUMED")

    def _stop(self, fact: StopRequested) -> Iterator[StateChange]:
        # An abandon may follow a stop and is then not a new event. A cancel by an update has no event.
        if self._stopping or fact.how == "cancel":
            return
        self._stopping = True
        yield self._of_pipeline(fact, "STOPPING", {"stop-execution-comments": fact.reason})
        for stage in self._entered:
            if stage in self._in_progress:
                yield self._of_stage(fact, stage, "STOPPING")

    def _of_pipeline(
        self, fact: AnyFact, state: EventState, more: dict[str, Any] | None = None
    ) -> StateChange:
        assert self._pinned, "an execution is pinned before anything else happens"
        trigger = {"trigger-type": self._pinned.trigger_type, "trigger-detail": self._pinned.trigger_detail}
        detail = {"execution-trigger": trigger, **(more or {})}
        return self._change(fact, "pipeline", state, self._pinned.at, detail)

    def _of_stage(self, fact: AnyFact, stage: str, state: EventState) -> StateChange:
        detail: dict[str, Any] = {"stage": stage}
        if self._retries:
            detail["stage-last-retry-attempt-time"] = _time(self._retries[-1].at)
        entered = self._entered.get(stage)
        return self._change(fact, "stage", state, entered.at if entered else fact.at, detail)

    def _of_action(self, fact: ActionStarted | ActionFinished, state: EventState) -> StateChange:
        action = self._action(fact.stage, fact.action)
        kind = action.action_type_id
        detail: dict[str, Any] = {
            "stage": fact.stage,
            "action": fact.action,
            "action-execution-id": fact.action_execution_id,
            "region": action.region or self._region,
            "type": {
                "owner": kind.owner,
                "category": kind.category,
                "provider": kind.provider,
                "version": kind.version,
            },
            "input-artifacts": [self._artifact(artifact.name) for artifact in action.input_artifacts],
        }
        if isinstance(fact, ActionFinished):
            detail["output-artifacts"] = [self._artifact(artifact.name) for artifact in fact.output_artifacts]
            detail["execution-result"] = _result(fact)
        started = self._started.get(fact.action_execution_id)
        return self._change(fact, "action", state, started.at if started else fact.at, detail)

    def _change(
        self, fact: AnyFact, level: Level, state: EventState, start: datetime, detail: dict[str, Any]
    ) -> StateChange:
        assert self._pinned, "an execution is pinned before anything else happens"
        common = {
            "pipeline": self._pinned.pipeline_name,
            "execution-id": self.execution_id,
            "start-time": _time(start),
            "state": state,
            # AWS writes both as floating-point numbers.
            "version": float(self._pinned.pipeline_version),
            "pipeline-execution-attempt": 1.0 + len(self._retries),
        }
        name = f"{self.execution_id}/{fact.key}/{level}/{detail.get('stage', '')}/{state}"
        # The processes that write facts may have different clocks, so the time may have to be moved forward.
        time = max(fact.at, self._last + timedelta(microseconds=1)) if self._last else fact.at
        self._last = time
        return StateChange(
            id=uuid5(_EVENTS, name),
            time=time,
            level=level,
            state=state,
            cause=fact.key,
            detail={**common, **detail},
        )

    def _action(self, stage: str, name: str) -> ActionDeclaration:
        actions = self._declaration.stage(stage).actions
        return next(action for action in actions if action.name == name)

    def _artifact(self, name: str) -> dict[str, Any]:
        stored = self._artifacts.get(name)
        place = self._locate(stored) if stored else None
        return (
            {"name": name, "s3location": {"bucket": place[0], "key": place[1]}} if place else {"name": name}
        )


def _result(finished: ActionFinished) -> dict[str, str]:
    details = finished.error_details
    result = {
        "external-execution-url": finished.external_execution_url,
        "external-execution-summary": details.message if details else finished.summary or None,
        "external-execution-id": finished.external_execution_id,
        "error-code": details.code if details else None,
    }
    return {key: value for key, value in result.items() if value is not None}


def _time(at: datetime) -> str:
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
