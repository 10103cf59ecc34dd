"""The records of executions: what has ended is read once, what is in flight is read on, fact by fact."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar, cast

from prefect_codepipeline.engine.executions.definitions import read_definition_blocks
from prefect_codepipeline.engine.executions.lookup import DEFINITION_LABEL, KnownExecution
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.executions.run_lists import Run
from prefect_codepipeline.errors import NewerRecord
from prefect_codepipeline.gateway.aws.mirror.fresh import Fresh
from prefect_codepipeline.gateway.aws.mirror.history import ENDED
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import AnyFact, ExecutionPinned
from prefect_codepipeline.model.record.folding import Folding
from prefect_codepipeline.prefect_api.together import together

# A record of a usual execution takes some 50 kB of memory.
MOST_KEPT = 2000
# Databases take some 30,000 values with a question; a longer record is read as a whole.
_MOST_KEYS = 10_000
_logger = logging.getLogger(__name__)
T = TypeVar("T")


class Definitions:
    """Declarations by the ids of their blocks, with masked secrets. They never change, but go with their pipeline."""

    def __init__(self) -> None:
        self._known: dict[str, PipelineDeclaration] = {}
        self._reading = threading.Lock()

    def find(self, definition_id: str) -> PipelineDeclaration | None:
        """The declaration, or None if its pipeline was deleted."""
        with self._reading:
            if definition_id not in self._known:
                found = read_definition_blocks({definition_id})
                self._known |= {each: definition.masked() for each, definition in found.items()}
            return self._known.get(definition_id)

    def forget(self, pipeline_name: str) -> None:
        """Have the versions of a pipeline read anew: it was deleted."""
        with self._reading:
            self._known = {key: each for key, each in self._known.items() if each.name != pipeline_name}


class WatchedExecution:
    """One execution and all facts of it that were read so far.

    Attributes:
        declaration: the definition that it runs; None if it has not begun and nothing says which it will be.
        is_orphan: whether it was deleted, or its pipeline was.
    """

    def __init__(self, run: Run, definitions: Definitions) -> None:
        self.declaration: PipelineDeclaration | None = None
        self.is_orphan = False
        self._run = run
        self._definitions = definitions
        self._folding: Folding | None = None
        self._unfolded: list[AnyFact] = []
        self._complete_in: str | None = (
            None  # the state of the run, if it had ended before its facts were read
        )
        self._known: KnownExecution | None = None
        self._views: dict[Hashable, Any] = {}
        self._facts = Fresh(self._read)

    def see(self, run: Run) -> None:
        """Take in the run as a newer look has it."""
        if run["state"]["id"] != self._run["state"]["id"] or run["state_type"] not in ENDED:
            self._run = run

    @property
    def is_complete(self) -> bool:
        """Whether the execution had ended before its facts were read: they do not change until it is retried."""
        return bool(self._complete_in == self._run["state"]["id"])

    def expire(self) -> None:
        """Have the facts read anew."""
        self._facts.expire()

    def refresh(self) -> None:
        """Read what may have been written since it was last read."""
        if not self.is_complete:
            self._facts.get()

    @property
    def known(self) -> KnownExecution:
        """The execution as it was last read."""
        assert self._known, "an execution is read before it is shown"
        return self._known

    @property
    def run(self) -> Run:
        """The flow run as it was when the execution was last read."""
        return self.known.run

    def view(self, name: Hashable, make: Callable[[], T]) -> T:
        """What a function makes of the execution, made once under that name until something changes."""
        views = self._views
        if name not in views:
            views[name] = make()
        return cast(T, views[name])

    def _read(self) -> None:
        run = self._run
        facts = self._facts_so_far
        keys = [fact.key for fact in facts]
        try:
            new = RecordOf(str(run["id"])).read(but=keys if len(keys) <= _MOST_KEYS else ())
        except NewerRecord as error:
            self._leave_to_newer(run, str(error))
            return
        pinned = next((fact for fact in (*facts, *new) if isinstance(fact, ExecutionPinned)), None)
        definition_id = pinned.definition_id if pinned else (run.get("labels") or {}).get(DEFINITION_LABEL)
        self.declaration = self._definitions.find(str(definition_id)) if definition_id else None
        # What has completed without a fact was deleted in Prefect since it was listed.
        is_deleted = pinned is None and run["state_type"] == "COMPLETED"
        self.is_orphan = is_deleted or (bool(definition_id) and self.declaration is None)
        self._add(new)
        self._take(run)
        self._complete_in = run["state"]["id"] if run["state_type"] in ENDED else None

    def _leave_to_newer(self, run: Run, why: str) -> None:
        """Show of an execution that a newer release has written into no more than its flow run has."""
        if self._known is None or not self._known.newer:
            _logger.warning("%s", why)
        self._known = KnownExecution(run, [], None, newer=why)
        self._views = {}

    @property
    def _facts_so_far(self) -> list[AnyFact]:
        return self._folding.facts if self._folding else self._unfolded

    def _add(self, new: Sequence[AnyFact]) -> None:
        if self._folding is None and self.declaration:
            self._folding = Folding(str(self._run["id"]), self.declaration, self._unfolded)
        if self._folding:
            for fact in new:
                self._folding.add(fact)
        else:
            self._unfolded = [*self._unfolded, *new]

    def _take(self, run: Run) -> None:
        before, facts = self._known, self._facts_so_far
        if before and len(before.facts) == len(facts) and before.run["state"]["id"] == run["state"]["id"]:
            return
        state = self._folding.state if self._folding else None
        mode = self.declaration.execution_mode if state and self.declaration else None
        self._known = KnownExecution(run, facts, state, mode)
        self._views = {}


class Executions:
    """The records that were read, as many as there is room for; those that were not used for longest go first."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.definitions = Definitions()
        self._most = most
        self._watched: OrderedDict[str, WatchedExecution] = OrderedDict()
        self._lock = threading.Lock()

    def watch(self, runs: Sequence[Run]) -> list[WatchedExecution]:
        """The executions of these runs with their facts, without those whose pipeline was deleted."""
        watched = [self._of(run) for run in runs]
        together([each.refresh for each in watched if not each.is_complete])
        return [each for each in watched if not each.is_orphan]

    def see(self, runs: Mapping[str, Run]) -> None:
        """Take in runs as a newer look has them."""
        for run_id, run in runs.items():
            if watched := self._watched.get(run_id):
                watched.see(run)

    def expire(self, run_ids: Sequence[str]) -> None:
        """Have the facts of these read anew."""
        for run_id in run_ids:
            if watched := self._watched.get(run_id):
                watched.expire()

    def forget(self, run_ids: Sequence[str]) -> None:
        """Drop these: their pipeline was deleted."""
        with self._lock:
            for run_id in run_ids:
                self._watched.pop(run_id, None)

    def _of(self, run: Run) -> WatchedExecution:
        run_id = str(run["id"])
        with self._lock:
            watched = self._watched.get(run_id)
            if watched is None:
                watched = self._watched[run_id] = WatchedExecution(run, self.definitions)
            self._watched.move_to_end(run_id)
            while len(self._watched) > self._most:
                self._watched.popitem(last=False)
            return watched
