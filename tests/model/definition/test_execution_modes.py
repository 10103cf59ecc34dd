"""The gate's decision as a table, and as a state machine of a whole pipeline that is driven at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from prefect_codepipeline.model.definition.execution_modes import Gate, Ticket

OLD, MIDDLE, NEW = (
    Ticket(name, 1, started) for name, started in (("old", "1"), ("middle", "2"), ("new", "3"))
)
BACK = Ticket("back", 1, "4", is_rollback=True)


@pytest.mark.parametrize(
    ("mode", "tickets", "head", "superseded"),
    [
        ("QUEUED", [], None, []),
        ("QUEUED", [NEW, OLD], "new", []),
        ("QUEUED", [NEW, BACK, OLD], "back", []),
        ("SUPERSEDED", [], None, []),
        ("SUPERSEDED", [OLD], "old", []),
        ("SUPERSEDED", [OLD, NEW], "new", ["old"]),
        ("SUPERSEDED", [NEW, OLD, MIDDLE], "new", ["old", "middle"]),
        ("SUPERSEDED", [OLD, BACK], "back", []),
        ("SUPERSEDED", [OLD, BACK, NEW], "back", ["old"]),
    ],
)
def test_whose_turn_it_is_and_who_waits_in_vain(
    mode: Any, tickets: list[Ticket], head: str | None, superseded: list[str]
) -> None:
    gate = Gate(mode, tickets=tuple(tickets))

    assert (gate.head.execution if gate.head else None) == head
    assert gate.superseded == superseded


@pytest.mark.parametrize(
    ("gate", "may"),
    [
        (Gate("QUEUED", tickets=(OLD, NEW)), {"old"}),
        (Gate("QUEUED", holder="x", tickets=(OLD, NEW)), set()),
        (Gate("QUEUED", is_open=False, tickets=(OLD, NEW)), set()),
        (Gate("SUPERSEDED", tickets=(OLD, NEW)), {"new"}),
        (Gate("SUPERSEDED", is_open=False, tickets=(OLD, NEW)), set()),
    ],
)
def test_who_may_enter(gate: Gate, may: set[str]) -> None:
    assert {name for name in ("old", "new", "nobody") if gate.may_enter(name)} == may


STAGES = 3


@dataclass
class Run:
    """An execution: where it is, and how it stands there."""

    name: str
    started: int
    rollback_of: int | None = None
    stage: int = 0
    where: str = "arriving"  # waiting · inside · dead · over
    visit: int = 1
    failed_at: int | None = None


@dataclass
class Stage:
    holder: str | None = None
    enabled: bool = True
    tickets: list[Ticket] = field(default_factory=list)
    latest: str | None = None


class PipelineMachine(RuleBasedStateMachine):
    """What `engine/executions/gate.py` does against Prefect, against three lists; every step is one of its own atomic steps."""

    runs = Bundle("runs")
    mode: Any = "QUEUED"

    def __init__(self) -> None:
        super().__init__()
        self.all: dict[str, Run] = {}
        self.stages = [Stage() for _ in range(STAGES)]

    def gate(self, stage: int) -> Gate:
        known = self.stages[stage]
        return Gate(self.mode, known.holder, known.enabled, tuple(known.tickets))

    @rule(target=runs)
    def start(self) -> Any:
        if sum(run.where not in ("over", "dead") for run in self.all.values()) >= 8:
            return multiple()
        run = Run(f"e{len(self.all)}", len(self.all))
        self.all[run.name] = run
        return run.name

    @rule(name=runs)
    def arrive(self, name: str) -> None:
        run = self.all[name]
        if run.where == "arriving":
            ticket = Ticket(name, run.visit, f"{run.started:06}", run.rollback_of is not None)
            self.stages[run.stage].tickets.append(ticket)
            run.where = "waiting"

    @rule(name=runs)
    def look(self, name: str) -> None:
        run = self.all[name]
        if run.where != "waiting":
            return
        gate, stage = self.gate(run.stage), self.stages[run.stage]
        if gate.superseded_by(name):
            self.drop(run)
            run.where = "over"
        elif gate.may_enter(name):
            self.nobody_is_overtaken(run)
            stage.holder = stage.latest = name
            self.drop(run)
            run.where = "inside"

    def nobody_is_overtaken(self, run: Run) -> None:
        standard = [ticket for ticket in self.stages[run.stage].tickets if not ticket.is_rollback]
        if run.rollback_of is None and self.mode == "QUEUED":
            assert standard[0].execution == run.name
        elif run.rollback_of is None:
            assert max(standard, key=lambda ticket: ticket.started).execution == run.name

    def drop(self, run: Run) -> None:
        stage = self.stages[run.stage]
        stage.tickets = [ticket for ticket in stage.tickets if ticket.execution != run.name]

    @rule(name=runs, fails=st.booleans())
    def finish(self, name: str, fails: bool) -> None:
        run = self.all[name]
        if run.where != "inside":
            return
        self.stages[run.stage].holder = None
        if fails:
            run.where, run.failed_at = "over", run.stage
        elif run.stage + 1 < STAGES and run.rollback_of is None:
            run.stage, run.where, run.visit = run.stage + 1, "arriving", 1
        else:
            run.where = "over"

    @rule(name=runs)
    def stop(self, name: str) -> None:
        run = self.all[name]
        if self.stages[run.stage].holder == name:
            self.stages[run.stage].holder = None
            run.failed_at = run.stage
        self.drop(run)
        run.where = "over"

    @rule(name=runs)
    def crash(self, name: str) -> None:
        if self.all[name].where in ("waiting", "inside"):
            self.all[name].where = "dead"

    @rule()
    def reconcile(self) -> None:
        for run in self.all.values():
            if run.where == "dead":  # it goes on from its record; what was in flight failed
                if self.stages[run.stage].holder == run.name:
                    run.where = "inside"
                    self.finish(run.name, True)
                else:
                    run.where = "waiting"

    @rule(stage=st.integers(0, STAGES - 1))
    def disable(self, stage: int) -> None:
        self.stages[stage].enabled = False

    @rule(stage=st.integers(0, STAGES - 1))
    def enable(self, stage: int) -> None:
        self.stages[stage].enabled = True

    @rule(name=runs)
    def retry(self, name: str) -> None:
        run = self.all[name]
        if run.where == "over" and run.failed_at is not None and self.stages[run.failed_at].latest == name:
            run.where, run.stage, run.visit, run.failed_at = "arriving", run.failed_at, run.visit + 1, None

    @precondition(lambda self: self.all)
    @rule(target=runs, stage=st.integers(1, STAGES - 1))
    def roll_back(self, stage: int) -> str:
        run = Run(f"e{len(self.all)}", len(self.all), rollback_of=stage, stage=stage)
        self.all[run.name] = run
        return run.name

    @rule(names=st.lists(consumes(runs), max_size=1))
    def update(self, names: list[str]) -> None:
        for name in names:  # an update cancels what is on its way
            self.stop(name)
            self.all[name].failed_at = None

    @invariant()
    def one_execution_in_a_stage(self) -> None:
        for number, stage in enumerate(self.stages):
            inside = [r.name for r in self.all.values() if r.stage == number and r.where == "inside"]
            dead = [r.name for r in self.all.values() if r.where == "dead" and stage.holder == r.name]
            assert len(inside) + len(dead) <= 1
            assert inside + dead == ([stage.holder] if stage.holder else [])

    @invariant()
    def nobody_waits_for_an_open_gate(self) -> None:
        for number, stage in enumerate(self.stages):
            gate = self.gate(number)
            waiting = [t.execution for t in stage.tickets]
            if waiting and stage.holder is None and stage.enabled:
                assert gate.head is not None
                assert gate.may_enter(gate.head.execution)

    @invariant()
    def the_newest_is_never_superseded(self) -> None:
        for number, stage in enumerate(self.stages):
            standard = [t for t in stage.tickets if not t.is_rollback]
            if standard:
                newest = max(standard, key=lambda ticket: ticket.started)
                assert self.gate(number).superseded_by(newest.execution) is None


class SupersededMachine(PipelineMachine):
    mode = "SUPERSEDED"


# Both together more than 20,000 steps.
_steps = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestQueued = PipelineMachine.TestCase
TestQueued.settings = _steps
TestSuperseded = SupersededMachine.TestCase
TestSuperseded.settings = _steps
