"""The gate on a real server: one at a time, in turn, and nobody waits behind the dead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.states import Completed, Running

from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.gate_state import Visit
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.model.record.facts import ProcessEnded, ProcessStarted
from prefect_codepipeline.prefect_api.client import client

_order = count()


@flow
def nothing() -> None:
    """Only its runs are wanted."""


@pytest.fixture
def pipeline_name(prefect_server: str) -> str:
    return f"Gate.{uuid4().hex[:8]}"


def visit(
    pipeline_name: str, mode: Any = "QUEUED", stage: str = "Prod", previous: str | None = None
) -> Visit:
    run = str(client().create_flow_run(nothing, state=Running()).id)
    return Visit(pipeline_name, stage, previous, mode, run, 1, f"{next(_order):09}")


def enters(one: Visit) -> bool:
    return gate.try_enter(one)[0]


def test_queued_executions_enter_in_the_order_of_arrival(pipeline_name: str) -> None:
    first, second, third = (visit(pipeline_name) for _ in range(3))
    assert enters(first)
    assert enters(first), "who is inside may ask again"
    assert not enters(second)
    assert not enters(third)
    gate.leave(first)
    assert not enters(third)
    assert enters(second)
    assert [ticket.execution for ticket in read_gates(pipeline_name).tickets("Prod")] == [third.execution]


def test_of_many_who_come_at_once_one_enters(pipeline_name: str) -> None:
    visits = [visit(pipeline_name) for _ in range(8)]

    with ThreadPoolExecutor(8) as pool:
        entered = list(pool.map(enters, visits))

    assert sum(entered) <= 1
    holder = read_gates(pipeline_name).holder("Prod")
    waiting = [ticket.execution for ticket in read_gates(pipeline_name).tickets("Prod")]
    if holder is None:  # each saw another one first: the head enters when it looks again
        head = next(one for one in visits if one.execution == waiting[0])
        assert enters(head)
        holder = head.execution
    assert sorted({*waiting, holder}) == sorted(one.execution for one in visits)


def test_a_newer_execution_supersedes_who_waits(pipeline_name: str) -> None:
    inside, older, newer = (visit(pipeline_name, "SUPERSEDED") for _ in range(3))
    assert enters(inside)

    assert gate.try_enter(newer) == (False, None)
    assert gate.try_enter(older) == (False, newer.execution), "though it arrived later"
    gate.leave(inside)
    assert gate.try_enter(newer) == (True, None)


def test_a_rollback_goes_first_and_supersedes_nobody(pipeline_name: str) -> None:
    inside, waiting = visit(pipeline_name, "SUPERSEDED"), visit(pipeline_name, "SUPERSEDED")
    rollback = replace(visit(pipeline_name, "SUPERSEDED"), is_rollback=True)
    enters(inside)
    enters(waiting)
    assert gate.try_enter(rollback) == (False, None)
    assert gate.try_enter(waiting) == (False, None)

    gate.leave(inside)

    assert not enters(waiting)
    assert enters(rollback)


@pytest.mark.parametrize(("kind", "stage"), [("Inbound", "Prod"), ("Outbound", "Beta")])
def test_a_disabled_transition_lets_nobody_in(pipeline_name: str, kind: Any, stage: str) -> None:
    one = visit(pipeline_name, previous="Beta")
    gate.set_transition(pipeline_name, stage, kind, enabled=False, reason="freeze", by="ana", at=utc_now())
    assert not enters(one)
    assert read_gates(pipeline_name).transition(stage, kind).reason == "freeze"

    gate.set_transition(pipeline_name, stage, kind, enabled=True, reason="", by="ana", at=utc_now())

    assert enters(one)


@pytest.mark.parametrize("is_free", [True, False])
def test_who_goes_on_to_the_next_stage_is_there_before_anybody_is_let_in_behind_it(
    pipeline_name: str, is_free: bool
) -> None:
    ahead, first, second = (visit(pipeline_name, mode="QUEUED") for _ in range(3))
    enters(first)
    assert not enters(second)
    if not is_free:
        enters(replace(ahead, stage="Live"))

    gate.leave(first, following=replace(first, stage="Live", previous_stage="Prod"))

    assert enters(second)
    gate.leave(second, following=replace(second, stage="Live", previous_stage="Prod"))
    gates = read_gates(pipeline_name)
    waiting = [second] if is_free else [first, second]
    assert gates.holder("Live") == (first if is_free else ahead).execution
    assert [ticket.execution for ticket in gates.tickets("Live")] == [each.execution for each in waiting]


def test_only_the_holder_gives_the_lock_back(pipeline_name: str) -> None:
    first, second = visit(pipeline_name), visit(pipeline_name)
    enters(first)
    gate.leave(second)
    assert read_gates(pipeline_name).holder("Prod") == first.execution
    gate.leave_all(pipeline_name, first.execution)
    assert read_gates(pipeline_name).holder("Prod") is None
    assert read_gates(pipeline_name).latest("Prod") == first.execution


def test_who_was_the_last_in_a_stage_is_known_once_one_did_not_succeed_there(pipeline_name: str) -> None:
    succeeds, fails, later = visit(pipeline_name), visit(pipeline_name), visit(pipeline_name)
    enters(succeeds)
    gate.leave(succeeds)
    assert read_gates(pipeline_name).latest("Prod") is None
    enters(fails)
    gate.leave(fails, may_be_retried=True)
    assert read_gates(pipeline_name).latest("Prod") == fails.execution

    enters(later)
    gate.leave(later)

    assert read_gates(pipeline_name).latest("Prod") == later.execution, "it can no longer be retried"


def test_who_took_the_lock_before_it_saw_that_another_waits_gives_it_back(pipeline_name: str) -> None:
    inside, waits, late = (visit(pipeline_name, mode="QUEUED") for _ in range(3))
    enters(inside)
    assert not enters(waits)
    gate.leave(inside)

    assert not enters(late)
    assert read_gates(pipeline_name).holder("Prod") is None
    assert enters(waits)


def test_names_that_look_alike_have_gates_of_their_own(pipeline_name: str) -> None:
    assert enters(visit(pipeline_name, stage="Prod.1"))
    assert enters(visit(pipeline_name, stage="Prod-1"))
    assert enters(visit(pipeline_name.replace(".", "-"), stage="Prod.1"))


@pytest.mark.parametrize("has_left", [True, False])
def test_what_an_execution_that_is_over_left_is_freed_once_its_process_is_gone(
    pipeline_name: str, has_left: bool
) -> None:
    dead, second = visit(pipeline_name), visit(pipeline_name)
    enters(dead)
    record = RecordOf(dead.execution)
    record.write(ProcessStarted(at=utc_now(), process=1, run_count=1, host="h", pid=1))
    assert gate.tidy(pipeline_name) == [], "it runs"
    if has_left:
        record.write(ProcessEnded(at=utc_now(), process=1))
    client().set_flow_run_state(UUID(dead.execution), Completed(), force=True)

    freed = gate.tidy(pipeline_name)

    assert len(freed) == 1, "no lease is renewed either"
    assert dead.execution in freed[0]
    assert enters(second)


def test_a_retry_is_a_new_visit_at_the_end_of_the_line(pipeline_name: str) -> None:
    first, second = visit(pipeline_name), visit(pipeline_name)
    enters(first)
    enters(second)
    again = replace(first, number=2)
    gate.leave(first)

    assert not enters(again)
    assert enters(second)
    assert [ticket.visit for ticket in read_gates(pipeline_name).tickets("Prod")] == [2]


class Killed(BaseException):
    """In place of kill -9."""


def dies_before_it_looks(one: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies when it has taken the lock and not yet looked at the gates."""

    def die(_: str) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(gate, "read_gates", die)
        with pytest.raises(Killed):
            gate.try_enter(one)


def test_a_lock_that_was_taken_unseen_leads_through_no_disabled_transition(
    pipeline_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = visit(pipeline_name)
    gate.set_transition(
        pipeline_name, "Prod", "Inbound", enabled=False, reason="freeze", by="ana", at=utc_now()
    )

    dies_before_it_looks(one, monkeypatch)

    assert not enters(one)
    assert read_gates(pipeline_name).holder("Prod") is None


def test_a_lock_that_was_taken_unseen_overtakes_no_execution(
    pipeline_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, waits, one, behind = (visit(pipeline_name, mode="QUEUED") for _ in range(4))
    enters(inside)
    assert not enters(waits)
    gate.leave(inside)

    dies_before_it_looks(one, monkeypatch)

    assert not enters(one)
    assert enters(waits)
    gate.leave(waits)
    dies_before_it_looks(one, monkeypatch)
    assert not enters(behind)
    assert enters(one), "it was there before the other"


def test_what_was_read_before_does_not_bring_back_who_was_the_last_in_a_stage(
    pipeline_name: str,
) -> None:
    dead, later = visit(pipeline_name), visit(pipeline_name)
    enters(dead)
    RecordOf(dead.execution).write(ProcessStarted(at=utc_now(), process=1, run_count=1, host="h", pid=1))
    RecordOf(dead.execution).write(ProcessEnded(at=utc_now(), process=1))
    client().set_flow_run_state(UUID(dead.execution), Completed(), force=True)
    read_before = read_gates(pipeline_name)
    assert gate.tidy(pipeline_name)
    enters(later)

    gate.tidy(pipeline_name, read_before)

    assert read_gates(pipeline_name).latest("Prod") == later.execution


def test_who_enters_after_a_death_is_noted_too(pipeline_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fails, later = visit(pipeline_name), visit(pipeline_name)
    enters(fails)
    gate.leave(fails, may_be_retried=True)

    dies_before_it_looks(later, monkeypatch)

    assert enters(later)
    assert read_gates(pipeline_name).latest("Prod") == later.execution


def test_a_transition_that_is_enabled_while_the_lock_is_given_back_wakes_the_first(
    pipeline_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, late = (visit(pipeline_name, mode="QUEUED") for _ in range(2))
    change = partial(gate.set_transition, pipeline_name, "Prod", "Inbound", by="ana", at=utc_now())
    change(enabled=False, reason="freeze")
    assert not enters(waits)
    resumed: list[str] = []
    monkeypatch.setattr(gate, "resume", lambda execution: resumed.append(execution) or True)
    delete = gate.delete_variable

    def enabled_meanwhile(variable: dict[str, Any]) -> bool:
        change(enabled=True, reason="")
        gate.wake_waiting(pipeline_name)
        return delete(variable)

    monkeypatch.setattr(gate, "delete_variable", enabled_meanwhile)

    assert not enters(late)
    assert waits.execution in resumed
