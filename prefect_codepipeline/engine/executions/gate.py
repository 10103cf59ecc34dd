"""The gates in front of the stages of a pipeline: one lock each, a ticket for each waiting execution, the transitions.

Everything is a Prefect variable: a name is created once, an id that was deleted is never used again, and one request
reads all gates of a pipeline. Who may enter is decided by `model/definition/execution_modes.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.model.definition.declaration import ExecutionMode
from prefect_codepipeline.model.definition.execution_modes import Gate, Ticket
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.client import flow_run
from prefect_codepipeline.prefect_api.leases import is_stale, server_time
from prefect_codepipeline.prefect_api.suspension import resume
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    create_variable,
    delete_variable,
    put_variable,
    variables_with_tags,
)

TransitionType = Literal["Inbound", "Outbound"]
_TAG = "codepipeline-gate"
_TIDY_SECONDS = 5.0


@dataclass(frozen=True)
class Visit:
    """One execution in front of one stage.

    `previous_stage` is the stage whose outbound transition must be enabled too; `number` is the attempt of the stage.
    """

    pipeline: str
    stage: str
    previous_stage: str | None
    mode: ExecutionMode
    execution: str
    number: int
    started: str
    is_rollback: bool = False


@dataclass(frozen=True)
class Transition:
    """The state of a transition, as `GetPipelineState` returns it."""

    enabled: bool
    changed_by: str
    changed_at: datetime
    reason: str = ""


@dataclass(frozen=True)
class Gates:
    """The gates of a pipeline at one moment."""

    variables: list[Variable] = field(default_factory=list)

    def gate(self, visit: Visit) -> Gate:
        """The gate as the execution of a visit sees it."""
        return Gate(
            visit.mode,
            self.holder(visit.stage),
            self.lets_pass(visit.stage, visit.previous_stage),
            tuple(self.tickets(visit.stage)),
        )

    def awaited(self, stage: str) -> Gate | None:
        """The gate as the waiting executions see it, or None if no execution waits at the stage."""
        waiting = self._of("ticket", stage)
        if not waiting:
            return None
        value = waiting[-1]["value"]
        return Gate(
            value["mode"],
            self.holder(stage),
            self.lets_pass(stage, value["previous_stage"]),
            tuple(self.tickets(stage)),
        )

    def holder(self, stage: str) -> str | None:
        """The id of the execution that holds the stage's lock."""
        lock = self.lock(stage)
        return str(lock["value"]["execution"]) if lock else None

    def lock(self, stage: str) -> Variable | None:
        return next(iter(self._of("lock", stage)), None)

    def tickets(self, stage: str) -> list[Ticket]:
        """The executions that wait at the stage, in the order of arrival."""
        arrived = sorted(
            self._of("ticket", stage), key=lambda variable: (variable["created"], variable["id"])
        )
        latest: dict[str, Ticket] = {}
        for variable in arrived:
            value = variable["value"]
            latest.pop(value["execution"], None)
            latest[value["execution"]] = Ticket(
                value["execution"], value["visit"], value["started"], value["is_rollback"]
            )
        return list(latest.values())

    def transition(self, stage: str, kind: TransitionType) -> Transition | None:
        """The transition as it was last set, or None if it was never set; it is enabled then."""
        found = next(iter(self._of(kind.lower(), stage)), None)
        if found is None:
            return None
        value = found["value"]
        at = datetime.fromisoformat(value["at"])
        return Transition(value["enabled"], value["by"], at, value["reason"])

    def latest(self, stage: str) -> str | None:
        """The id of the execution that entered the stage last; None if none has failed there yet, so that none is noted."""
        found = next(iter(self._of("latest", stage)), None)
        return str(found["value"]["execution"]) if found else None

    def of_execution(self, execution_id: str) -> list[Variable]:
        """The locks and tickets of one execution."""
        return [
            variable
            for variable in self.variables
            if variable["value"]["kind"] in ("lock", "ticket")
            and variable["value"].get("execution") == execution_id
        ]

    @property
    def stages(self) -> list[str]:
        return sorted({variable["value"]["stage"] for variable in self.variables})

    def lets_pass(self, stage: str, previous_stage: str | None) -> bool:
        inbound = self.transition(stage, "Inbound")
        outbound = self.transition(previous_stage, "Outbound") if previous_stage else None
        return (inbound is None or inbound.enabled) and (outbound is None or outbound.enabled)

    def _of(self, kind: str, stage: str) -> list[Variable]:
        wanted = (kind, stage)
        return [v for v in self.variables if (v["value"]["kind"], v["value"]["stage"]) == wanted]


def read_gates(pipeline_name: str) -> Gates:
    """All gates of a pipeline, by one request."""
    return Gates(variables_with_tags(*_tags(pipeline_name)))


def gates_among(variables: list[Variable]) -> dict[str, Gates]:
    """The gates among Prefect variables, by the names of their pipelines."""
    found: dict[str, Gates] = {}
    for variable in variables:
        if _TAG not in variable["tags"]:
            continue
        found.setdefault(variable["value"]["pipeline"], Gates()).variables.append(variable)
    return found


def try_enter(visit: Visit) -> tuple[bool, str | None]:
    """Arrive at the gate: whether the execution entered, and the id of the newer execution that supersedes it."""
    return (True, None) if _enter_at_once(visit) else _take_turn(visit)


def _take_turn(visit: Visit) -> tuple[bool, str | None]:
    """Enter if it is this execution's turn; it waits with a ticket otherwise."""
    gates = read_gates(visit.pipeline)
    if gates.holder(visit.stage) == visit.execution:
        _drop_tickets(gates, visit)
        return True, None
    gate = gates.gate(visit)
    if not any((t.execution, t.visit) == (visit.execution, visit.number) for t in gate.tickets):
        gates = _take_ticket(visit)
        gate = gates.gate(visit)
    if newer := gate.superseded_by(visit.execution):
        return False, newer
    if gate.may_enter(visit.execution) and _lock(visit):
        _note_entry(gates, visit)
        _drop_tickets(gates, visit)
        return True, None
    return False, None


def wait_in_process(
    visit: Visit, seconds: float | None, look: Callable[[], bool]
) -> tuple[bool, str | None] | None:
    """Try repeatedly to enter, for `seconds` (None: without limit). None if it neither entered nor was superseded.

    `look` is called after each attempt; if it returns True, the wait ends.
    """
    until = None if seconds is None else time.monotonic() + seconds
    tidied = time.monotonic()
    while until is None or time.monotonic() < until:
        entered, newer = _take_turn(visit)
        if entered or newer:
            return entered, newer
        if look():
            return None
        if time.monotonic() - tidied > _TIDY_SECONDS:
            tidied = time.monotonic()
            tidy(visit.pipeline)
        time.sleep(0.4)
    return None


def leave(visit: Visit, following: Visit | None = None, *, may_be_retried: bool = False) -> bool:
    """Release the lock and resume the next execution. A lock that another execution holds is not touched.

    An execution that continues to another stage takes its place there first. Otherwise the execution behind it could
    overtake it on the way.

    Args:
        visit: the execution and the stage that it leaves.
        following: its visit of the stage that it continues with.
        may_be_retried: the stage did not succeed, so it is noted which execution was the last in it.

    Returns:
        Whether the execution has entered the following stage already.
    """
    gates = _enter_at_once(following) if following else None
    entered = gates is not None
    if following and gates is None:
        entered, _ = _take_turn(following)
    gates = gates or read_gates(visit.pipeline)
    lock = gates.lock(visit.stage)
    if lock and lock["value"]["execution"] == visit.execution:
        _release(lock, may_be_retried)
    # An execution that arrives from now on reads the gate itself and finds it free; it needs no resume.
    _resume_head(gates, visit.stage)
    return entered


def leave_all(pipeline_name: str, execution_id: str) -> None:
    """Release every lock and ticket of an execution that has ended, and resume the executions that are next there."""
    held = read_gates(pipeline_name).of_execution(execution_id)
    for variable in held:
        _release(variable, may_be_retried=True)
    if held:
        wake_waiting(pipeline_name)


def wake_waiting(pipeline_name: str, gates: Gates | None = None) -> list[str]:
    """Resume executions that can now enter, and those superseded while waiting; the ids of those that were suspended."""
    gates = gates or read_gates(pipeline_name)
    woken = []
    for stage in gates.stages:
        gate = gates.awaited(stage)
        if gate is None:
            continue
        first = [gate.head.execution] if gate.head and gate.may_enter(gate.head.execution) else []
        woken += [execution for execution in [*gate.superseded, *first] if resume(execution)]
    return woken


def tidy(pipeline_name: str, gates: Gates | None = None, alive: frozenset[str] = frozenset()) -> list[str]:
    """Release the locks and tickets of executions that have ended without releasing them; one sentence for each.

    `alive` are executions that are known to be running.
    """
    gates = gates or read_gates(pipeline_name)
    done = []
    ended: dict[str, bool] = dict.fromkeys(alive, False)
    for variable in gates.variables:
        value = variable["value"]
        if value["kind"] not in ("lock", "ticket"):
            continue
        execution = value["execution"]
        if execution not in ended:
            ended[execution] = _has_ended(execution)
        if ended[execution] and _release(variable, may_be_retried=True):
            done.append(
                f"pipeline {pipeline_name!r}: released the {value['kind']} at stage {value['stage']!r} "
                f"of execution {execution}, which has ended"
            )
    return done


def set_transition(
    pipeline_name: str, stage: str, kind: TransitionType, *, enabled: bool, reason: str, by: str, at: datetime
) -> None:
    """Disable or enable a transition. `wake_waiting` then resumes the executions that may enter."""
    value = {"enabled": enabled, "reason": reason, "by": by, "at": at.isoformat()}
    _put(pipeline_name, stage, kind.lower(), value)


def _enter_at_once(visit: Visit) -> Gates | None:
    """Enter if the stage is free, its transitions are enabled and no execution waits. The gates from inside, or None.

    The lock is taken before the gates are read: one request less than the other way round, and an execution that takes a
    ticket in the meantime is seen. It goes first.
    """
    if not _lock(visit):
        return None
    gates = read_gates(visit.pipeline)
    free = replace(gates.gate(visit), holder=None)
    if free == Gate(visit.mode) or free.may_enter(visit.execution):
        _note_entry(gates, visit)
        _drop_tickets(gates, visit)
        return gates
    lock = gates.lock(visit.stage)
    if lock and lock["value"]["execution"] == visit.execution:
        delete_variable(lock)
        _resume_head(gates, visit.stage)  # it may have found the stage locked, and waits
    return None


def _resume_head(gates: Gates, stage: str) -> None:
    """Resume the execution that waits first, if the transitions let it pass."""
    gate = gates.awaited(stage)
    if gate and gate.is_open and gate.head:
        resume(gate.head.execution)


def _note_entry(gates: Gates, visit: Visit) -> None:
    """Overwrite the note that another execution was the last in the stage: that one can no longer be retried."""
    if gates.latest(visit.stage) not in (None, visit.execution):
        _note_latest(visit.pipeline, visit.stage, visit.execution)


def _note_latest(pipeline_name: str, stage: str, execution_id: str) -> None:
    _put(pipeline_name, stage, "latest", {"execution": execution_id})


def _release(variable: Variable, may_be_retried: bool) -> bool:
    """Delete a lock or a ticket; False if it was deleted before."""
    value = variable["value"]
    if may_be_retried and value["kind"] == "lock":
        _note_latest(value["pipeline"], value["stage"], value["execution"])
    return delete_variable(variable)


def _take_ticket(visit: Visit) -> Gates:
    """Take a ticket, once, and resume the executions that this one supersedes, so that they notice it."""
    value = {
        "execution": visit.execution,
        "visit": visit.number,
        "started": visit.started,
        "is_rollback": visit.is_rollback,
        "mode": visit.mode,
        "previous_stage": visit.previous_stage,
    }
    _create(visit.pipeline, visit.stage, "ticket", value, f"ticket-{visit.execution}-{visit.number}")
    gates = read_gates(visit.pipeline)
    for execution in gates.gate(visit).superseded:
        if execution != visit.execution:
            resume(execution)
    return gates


def _lock(visit: Visit) -> bool:
    value = {"execution": visit.execution, "visit": visit.number}
    return _create(visit.pipeline, visit.stage, "lock", value, "lock")


def _drop_tickets(gates: Gates, visit: Visit) -> None:
    for variable in gates.of_execution(visit.execution):
        if variable["value"]["kind"] == "ticket" and variable["value"]["stage"] == visit.stage:
            delete_variable(variable)


def _has_ended(execution_id: str) -> bool:
    """Whether the run has ended, and no process of it is left that could still do something."""
    run = flow_run(execution_id)
    if run is None:
        return True
    if run["state_type"] not in ("COMPLETED", "FAILED", "CANCELLED"):
        return False
    facts = {fact.key for fact in RecordOf(execution_id).read()}
    processes = [key for key in facts if key.startswith("process-") and key.count("-") == 1]
    return f"process-{len(processes)}-ended" in facts or is_stale(execution_id, server_time())


def _create(pipeline_name: str, stage: str, kind: str, value: dict[str, Any], suffix: str) -> bool:
    whole = {"pipeline": pipeline_name, "stage": stage, "kind": kind, **value}
    return create_variable(_name(pipeline_name, stage, suffix), whole, _tags(pipeline_name)) is not None


def _put(pipeline_name: str, stage: str, kind: str, value: dict[str, Any]) -> None:
    whole = {"pipeline": pipeline_name, "stage": stage, "kind": kind, **value}
    put_variable(_name(pipeline_name, stage, kind), whole, _tags(pipeline_name))


def _name(pipeline_name: str, stage: str, suffix: str) -> str:
    return f"codepipeline-gate-{slug(pipeline_name, stage)}-{suffix}"


def _tags(pipeline_name: str) -> list[str]:
    return ["codepipeline", _TAG, f"pipeline:{pipeline_name}"]
