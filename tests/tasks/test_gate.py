"""The gate: one execution at a time, in the order of arrival, and nobody waits behind the dead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.states import Completed, Running

from prefect_codepipeline.model.execution import ProcessEnded, ProcessStarted
from prefect_codepipeline.tasks import gate
from prefect_codepipeline.tasks.prefect_api import client
from prefect_codepipeline.tasks.record import RecordOf, utc_now


@flow
def nothing() -> None:
    """Only its runs are wanted."""


@pytest.fixture
def pipeline_name(prefect_server: str) -> str:
    return f"gate-{uuid4().hex[:8]}"


def new_run() -> str:
    return str(client().create_flow_run(nothing, state=Running()).id)


def arrive(pipeline_name: str) -> str:
    run = new_run()
    gate.take_ticket(pipeline_name, run)
    return run


def test_only_the_first_in_line_enters(pipeline_name: str) -> None:
    first, second = arrive(pipeline_name), arrive(pipeline_name)

    assert not gate.try_enter(pipeline_name, second)
    assert gate.try_enter(pipeline_name, first)
    assert not gate.try_enter(pipeline_name, second)
    assert gate.waiting(pipeline_name) == [second]


def test_who_holds_the_lock_is_inside_however_often_it_asks(pipeline_name: str) -> None:
    first = arrive(pipeline_name)

    assert gate.try_enter(pipeline_name, first)
    assert gate.try_enter(pipeline_name, first)


def test_leaving_lets_the_next_one_in(pipeline_name: str) -> None:
    first, second = arrive(pipeline_name), arrive(pipeline_name)
    gate.try_enter(pipeline_name, first)

    gate.leave(pipeline_name, first)

    assert gate.try_enter(pipeline_name, second)
    assert gate.holder_of(pipeline_name) == second


def test_leaving_what_another_holds_takes_nothing_away(pipeline_name: str) -> None:
    first, second = arrive(pipeline_name), arrive(pipeline_name)
    gate.try_enter(pipeline_name, first)

    gate.leave(pipeline_name, second)

    assert gate.holder_of(pipeline_name) == first


def test_a_second_ticket_keeps_the_first_place(pipeline_name: str) -> None:
    first, second = arrive(pipeline_name), arrive(pipeline_name)
    gate.take_ticket(pipeline_name, first)

    assert gate.waiting(pipeline_name) == [first, second]


def test_those_who_ended_while_they_waited_are_passed_over(pipeline_name: str) -> None:
    first, second, third = (arrive(pipeline_name) for _ in range(3))
    gate.try_enter(pipeline_name, first)
    client().set_flow_run_state(UUID(second), Completed(), force=True)

    gate.leave(pipeline_name, first)

    assert gate.waiting(pipeline_name) == [third]


def test_the_lock_of_a_living_execution_is_not_freed(pipeline_name: str) -> None:
    first = arrive(pipeline_name)
    gate.try_enter(pipeline_name, first)

    assert gate.free_dead_lock(pipeline_name) is None
    assert gate.holder_of(pipeline_name) == first


@pytest.mark.parametrize("process_said_goodbye", [True, False], ids=["goodbye said", "lease gone"])
def test_the_lock_of_an_ended_execution_is_freed(pipeline_name: str, process_said_goodbye: bool) -> None:
    first = arrive(pipeline_name)
    gate.try_enter(pipeline_name, first)
    record = RecordOf(first)
    record.write(ProcessStarted(at=utc_now(), process=1, run_count=1, host="h", pid=1))
    if process_said_goodbye:
        record.write(ProcessEnded(at=utc_now(), process=1))
    client().set_flow_run_state(UUID(first), Completed(), force=True)

    assert gate.free_dead_lock(pipeline_name) == first
    assert gate.holder_of(pipeline_name) is None


def test_pipelines_whose_names_look_alike_have_gates_of_their_own(prefect_server: str) -> None:
    stem = uuid4().hex[:8]
    dotted, dashed = f"{stem}.x", f"{stem}-x"
    first, second = arrive(dotted), arrive(dashed)

    assert gate.try_enter(dotted, first)
    assert gate.try_enter(dashed, second)


def test_of_many_who_try_at_once_one_is_inside(pipeline_name: str) -> None:
    runs = [arrive(pipeline_name) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        entered = list(pool.map(lambda run: gate.try_enter(pipeline_name, run), runs * 3))

    inside = {run for run, is_inside in zip(runs * 3, entered, strict=True) if is_inside}
    assert inside == {runs[0]}
