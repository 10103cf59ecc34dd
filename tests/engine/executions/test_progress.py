"""What an action says of itself is written down soon, seldom, and never after its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from prefect_codepipeline.engine.executions import progress
from prefect_codepipeline.engine.executions.progress import ProgressReport
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.model.record.facts import ActionProgressed

IDENTITY: dict[str, Any] = {"stage": "S", "action": "A", "attempt": 1, "action_execution_id": "x"}


def report(write: Callable[[ActionProgressed], Any], number: int = 0) -> ProgressReport:
    return ProgressReport(write, number, **IDENTITY)


def wait_for(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def test_the_first_report_is_written_at_once_and_the_last_of_a_burst_after_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "SHORTEST_PAUSE_SECONDS", 0.2)
    written: list[ActionProgressed] = []
    with report(written.append, number=4) as say:
        say("build 7 is queued", external_id="b7", url="https://example.com/b7")
        wait_for(lambda: written)
        for percent in range(101):
            say("compiling", percent)
        wait_for(lambda: len(written) == 2)

    first, last = written
    assert (first.number, first.summary, first.percent_complete) == (5, "build 7 is queued", None)
    assert (last.number, last.summary, last.percent_complete) == (6, "compiling", 100)
    assert (last.external_execution_id, last.external_execution_url) == ("b7", "https://example.com/b7")
    assert (last.at - first.at).total_seconds() >= 0.19


def test_what_is_said_again_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHORTEST_PAUSE_SECONDS", 0)
    monkeypatch.setattr(progress, "PAUSE_PER_SECOND", 0)
    written: list[ActionProgressed] = []
    with report(written.append) as say:
        for _ in range(20):
            say("compiling", 10)
        say("compiling", 250)
        wait_for(lambda: written and written[-1].percent_complete == 100)

    assert len(written) <= 2


def test_nothing_is_written_after_the_end_of_the_action() -> None:
    written: list[ActionProgressed] = []
    with report(written.append) as say:
        say("compiling")
        wait_for(lambda: written)
        say("done")
    say("too late")

    assert [fact.summary for fact in written] == ["compiling"]


def test_an_api_that_is_away_does_not_end_the_action(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHORTEST_PAUSE_SECONDS", 0)
    written: list[ActionProgressed] = []

    def write(fact: ActionProgressed) -> None:
        if not written:
            written.append(fact)
            raise PrefectUnavailable("it does not answer")
        written.append(fact)

    with report(write) as say:
        say("one")
        wait_for(lambda: written)
        say("two")
        wait_for(lambda: len(written) == 2)
