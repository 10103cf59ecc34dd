"""The execution that this process runs: its definition, its facts, and whether this process still owns it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import TypeVar

from prefect.exceptions import Abort

from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
from prefect_codepipeline.actions.work import CancellationToken
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.executions.gate_state import Visit
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.errors import NewerRecord, PrefectUnavailable
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.record.facts import (
    AnyFact,
    ProcessEnded,
    ProcessReplaced,
    ProcessStarted,
    StopRequested,
)
from prefect_codepipeline.model.record.folding import Folding
from prefect_codepipeline.model.record.state import ExecutionState, StageState
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.client import flow_run

FactT = TypeVar("FactT", bound=Fact)
# The keys of the facts by which others end what this process does: `StopRequested` and `ProcessReplaced`.
STOPS = "stop-"


class TakenOver(Abort):
    """Another process runs the execution now. Ends this one, and leaves the flow run's state as it is."""


class LeftToNewer(TakenOver):
    """A newer release has written into the record of this execution. Ends this process; one of that release continues."""


class OutcomeUnknown(BaseException):
    """What happened cannot be learned from the facts. Ends the process as a crash, and reconcile resumes the execution."""


class Execution:
    """One pipeline execution in the process that runs it.

    Args:
        record: stores the facts of the execution.
        declaration: the definition, secrets included.
        facts: the facts in the record so far.
        process: the number of this process; if the record has a higher one, this process must stop.
        can_suspend: False if nothing could resume the flow run (no deployment).
        started: when the execution first started by the server's clock, as a text that sorts by time.
    """

    def __init__(
        self,
        record: RecordOf,
        declaration: PipelineDeclaration,
        facts: list[AnyFact],
        process: int,
        can_suspend: bool,
        started: str = "",
    ) -> None:
        self.record = record
        self.declaration = declaration
        self.process = process
        self.can_suspend = can_suspend
        self.started = started
        self.cancellation = CancellationToken()
        self.listeners: list[Callable[[Execution], None]] = []
        # The key of the override fact that ends the running rule, and the token that cancels the rule's work.
        self.overridable: tuple[str, CancellationToken] | None = None
        self.passed: Visit | None = None  # the gate that it passed when it left the stage before
        self._folding = Folding(record.execution_id, declaration, facts)
        self._state: ExecutionState | None = None
        self._lock = threading.Lock()
        self._display = threading.Lock()
        self._is_suspending = False

    @property
    def id(self) -> str:
        return self.record.execution_id

    @property
    def state(self) -> ExecutionState:
        """The fold of the facts that this process knows."""
        with self._lock:
            self._state = self._state or self._folding.state
            assert self._state, "an execution is pinned before its process is created"
            return self._state

    @property
    def facts(self) -> list[AnyFact]:
        """The facts that this process knows."""
        with self._lock:
            return self._folding.facts

    @cached_property
    def settings(self) -> StoredSettings:
        return settings_of(self.declaration.name, self.state.pinned.settings_id)

    @cached_property
    def store(self) -> ArtifactStore:
        return load_artifact_store(self.settings.artifact_store)

    def write(self, fact: FactT) -> FactT:
        """Write a fact; if its key exists already, take the existing fact instead."""
        with self._leaving_to_newer():
            written = self.record.write_or_read(fact)
        self._learn([written])  # type: ignore[list-item]  # every Fact subclass is in AnyFact
        return written

    def refresh(self) -> ExecutionState:
        """Read all facts again, since other processes write facts too, such as approval decisions."""
        self._learn(self._read())
        return self.state

    def look_for(self, prefix: str) -> None:
        """Read the facts again whose keys begin with this, for those that other processes write."""
        known = [fact.key for fact in self.facts if fact.key.startswith(prefix)]
        self._learn(self._read(prefix, but=known))

    def look_for_stop(self) -> StopRequested | None:
        """The stop request, if there is one: no more actions may start; `abandon` also cancels running actions.

        The same request tells whether the execution is still this process's.

        Raises:
            TakenOver: another process has taken over the execution.
        """
        found = self._read(STOPS)
        if any(isinstance(fact, ProcessReplaced) and fact.process >= self.process for fact in found):
            self.cancellation.leave()
            raise TakenOver("another process has taken over this execution")
        self._learn(found)
        stop = self.state.stop
        if stop and stop.how == "abandon":
            self.cancellation.cancel()
        with self._leaving_to_newer():
            if self.overridable and (self.cancellation.cancelled or self.record.get(self.overridable[0])):
                self.overridable[1].cancel()
        return stop

    def display(self, change: Callable[[], None]) -> None:
        """Change how the flow run is displayed, unless this process suspends it: it would be Running without a process."""
        with self._display:
            if not self._is_suspending:
                change()

    def begin_suspension(self) -> None:
        """From now on no other thread of this process changes the state of the flow run."""
        with self._display:
            self._is_suspending = True

    def interrupt(self) -> None:
        """End the running actions, since this process must end: as abandoned only if the execution was ended by a user."""
        try:
            run = flow_run(self.id)
            is_ended = bool(run and run["state_type"] in ("CANCELLING", "CANCELLED")) or bool(
                self.state.stop and self.state.stop.how == "abandon"
            )
        except PrefectUnavailable:
            is_ended = False
        if is_ended or not self.can_suspend:
            self.cancellation.cancel()
        else:
            self.cancellation.leave()

    def _read(self, prefix: str = "", but: Collection[str] = ()) -> list[AnyFact]:
        with self._leaving_to_newer():
            return self.record.read(prefix, but=but)

    @contextmanager
    def _leaving_to_newer(self) -> Iterator[None]:
        """End the actions of this process, for the next one to continue, if a newer release has written into the record."""
        try:
            yield
        except NewerRecord as error:
            self.cancellation.leave()
            raise LeftToNewer(str(error)) from error

    def _learn(self, facts: list[AnyFact]) -> None:
        with self._lock:
            new = [fact for fact in facts if self._folding.add(fact)]
            if new:
                self._state = None
        if new:
            for listener in self.listeners:
                listener(self)

    def visit(self, stage_name: str) -> Visit:
        """The visit of this execution at the gate of a stage, for the current attempt of the stage."""
        names = [stage.name for stage in self.declaration.stages]
        position = names.index(stage_name)
        pinned = self.state.pinned
        is_rollback = pinned.execution_type == "ROLLBACK"
        return Visit(
            pipeline=self.declaration.name,
            stage=stage_name,
            previous_stage=names[position - 1] if position and not is_rollback else None,
            mode=self.declaration.execution_mode,
            execution=self.id,
            number=self.state.stage(stage_name).attempt,
            started=self.started,
            is_rollback=is_rollback,
        )

    def has_passed(self, stage: StageState) -> bool:
        """Whether no gate is in front of the stage, or this process has passed it already."""
        passed = self.passed and (self.passed.stage, self.passed.number)
        return self.declaration.execution_mode == "PARALLEL" or passed == (stage.name, stage.attempt)

    def end_process(self) -> None:
        """Record that this process has ended."""
        self.record.write(ProcessEnded(at=utc_now(), process=self.process))


_current: ContextVar[Execution] = ContextVar("prefect_codepipeline_execution")


def current_execution() -> Execution:
    """The execution whose pipeline flow runs in this context; also available in the threads of its tasks."""
    return _current.get()


def set_current_execution(execution: Execution) -> None:
    """Make an execution the current one of this context."""
    _current.set(execution)


def claim_process(
    record: RecordOf, known: list[AnyFact], run_count: int, host: str, pid: int
) -> ProcessStarted:
    """Take over the execution: write the next free `process-<n>` fact, even if other processes try the same.

    The process before is asked to stop first, and does so within a second.
    """
    number = 1 + max((fact.process for fact in known if isinstance(fact, ProcessStarted)), default=0)
    while True:
        if number > 1:
            record.write(ProcessReplaced(at=utc_now(), process=number - 1))
        fact = ProcessStarted(at=utc_now(), process=number, run_count=run_count, host=host, pid=pid)
        if record.write(fact):
            return fact
        number += 1
