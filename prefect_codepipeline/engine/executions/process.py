"""The execution that this process runs: its definition, its facts, and whether this process still owns it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property
from typing import TypeVar

from prefect.exceptions import Abort

from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
from prefect_codepipeline.actions.work import CancellationToken
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.executions.gate import Visit
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.record.facts import AnyFact, ProcessEnded, ProcessStarted, StopRequested
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.stored.settings import StoredSettings

FactT = TypeVar("FactT", bound=Fact)


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
        self._facts = facts
        self._state: ExecutionState | None = None
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        return self.record.execution_id

    @property
    def state(self) -> ExecutionState:
        """The fold of the facts that this process knows."""
        with self._lock:
            if self._state is None:
                self._state = fold(self.id, self.declaration, self._facts)
            assert self._state, "an execution is pinned before its process is created"
            return self._state

    @property
    def facts(self) -> list[AnyFact]:
        """The facts that this process knows."""
        with self._lock:
            return list(self._facts)

    @cached_property
    def settings(self) -> StoredSettings:
        return settings_of(self.declaration.name, self.state.pinned.settings_id)

    @cached_property
    def store(self) -> ArtifactStore:
        return load_artifact_store(self.settings.artifact_store)

    def write(self, fact: FactT) -> FactT:
        """Write a fact; if its key exists already, take the existing fact instead."""
        written = self.record.write_or_read(fact)
        with self._lock:
            self._facts.append(written)  # type: ignore[arg-type]  # every Fact subclass is in AnyFact
            self._state = None
        for listener in self.listeners:
            listener(self)
        return written

    def refresh(self) -> ExecutionState:
        """Read all facts again, since other processes write facts too, such as approval decisions."""
        facts = self.record.read()
        with self._lock:
            self._facts, self._state = facts, None
        return self.state

    def look_for_stop(self) -> StopRequested | None:
        """The stop request, if there is one: no more actions may start; `abandon` also cancels running actions."""
        known = {fact.key for fact in self.facts}
        found = self.record.read(f"stop-{self.state.epoch}-")
        if new := [fact for fact in found if fact.key not in known]:
            with self._lock:
                self._facts += new
                self._state = None
            for listener in self.listeners:
                listener(self)
        stop = self.state.stop
        if stop and stop.how == "abandon":
            self.cancellation.cancel()
        if self.overridable and (self.cancellation.cancelled or self.record.get(self.overridable[0])):
            self.overridable[1].cancel()
        return stop

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

    def check_is_ours(self) -> None:
        """Abort, without changing the flow run's state, if another process has taken over the execution."""
        if self.record.get(f"process-{self.process + 1}") is not None:
            self.cancellation.cancel()
            raise Abort(f"process {self.process + 1} has taken over this execution")

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
    """Take over the execution: write the next free `process-<n>` fact, even if other processes try the same."""
    number = 1 + max((fact.process for fact in known if isinstance(fact, ProcessStarted)), default=0)
    while True:
        fact = ProcessStarted(at=utc_now(), process=number, run_count=run_count, host=host, pid=pid)
        if record.write(fact):
            return fact
        number += 1
