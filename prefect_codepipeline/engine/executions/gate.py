"""The gates in front of the stages of a pipeline: one lock each, a ticket for each waiting execution, the transitions.

Everything is a Prefect variable: a name is created once, an id that was deleted is never used again, and one request
reads all gates of a pipeline. Who may enter is decided by `model/definition/execution_modes.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from prefect_codepipeline.engine.executions.gate_state import Gates, TransitionType, Visit
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.model.definition.execution_modes import Gate
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

_TAG = "codepipeline-gate"
_TIDY_SECONDS = 5.0


def read_gates(pipeline_name: str) -> Gates:
    """All gates of a pipeline, by one request."""
    return Gates(variables_with_tags(*_tags(pipeline_name)))


def read_all_gates() -> dict[str, Gates]:
    """The gates of all pipelines that have any, by name."""
    return gates_among(variables_with_tags(_TAG))


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
    if lock := gates.own_lock(visit):
        if _was_let_in(gates, visit, lock):
            _note_entry(gates, visit)
            _drop_tickets(gates, visit)
            return True, None
        gates = _give_back(gates, visit)
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
    if lock := gates.own_lock(visit):
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
    free = gates.gate_if_free(visit)
    if free == Gate(visit.mode) or free.may_enter(visit.execution):
        _note_entry(gates, visit)
        _drop_tickets(gates, visit)
        return gates
    _give_back(gates, visit)
    return None


def _was_let_in(gates: Gates, visit: Visit, lock: Variable) -> bool:
    """Whether the lock that the execution holds lets it in. Its process may have died, or not seen the answer, before
    it looked at the gates (`_enter_at_once`); a lock of an earlier attempt was kept for this one.
    """
    if lock["value"]["visit"] < visit.number:
        return True
    free = gates.gate_if_free(visit)
    came_before = gates.waiting_since(visit.stage, lock["created"])
    return free.is_open and (not came_before or free.may_enter(visit.execution))


def _give_back(gates: Gates, visit: Visit) -> Gates:
    """Delete the lock of the execution, and resume the one that waits first: it may have found the stage locked."""
    if lock := gates.own_lock(visit):
        delete_variable(lock)
    gates = read_gates(visit.pipeline)
    _resume_head(gates, visit.stage)
    return gates


def _resume_head(gates: Gates, stage: str) -> None:
    """Resume the execution that waits first, if the transitions let it pass."""
    gate = gates.awaited(stage)
    if gate and gate.is_open and gate.head:
        resume(gate.head.execution)


def _note_entry(gates: Gates, visit: Visit) -> None:
    """Overwrite the note that another execution was the last in the stage: that one can no longer be retried."""
    if gates.latest(visit.stage) not in (None, visit.execution):
        _put(visit.pipeline, visit.stage, "latest", {"execution": visit.execution})


def _release(variable: Variable, may_be_retried: bool) -> bool:
    """Delete a lock or a ticket; False if it was deleted before."""
    value = variable["value"]
    if may_be_retried and value["kind"] == "lock":
        # A note that is there is of this execution, or of a later one.
        _create(value["pipeline"], value["stage"], "latest", {"execution": value["execution"]}, "latest")
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
