"""What an action keeps for later processes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from prefect_codepipeline.engine.executions.keeping import MOST_CALLS, Keeper
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.facts import ActionKept

IDENTITY: dict[str, Any] = {"stage": "S", "action": "A", "attempt": 1, "action_execution_id": "a1"}


def test_each_call_is_a_fact_with_everything_that_was_kept_so_far() -> None:
    facts: list[ActionKept] = []

    def write(fact: ActionKept) -> ActionKept:
        facts.append(fact)
        return fact

    keep = Keeper(write, None, IDENTITY)
    keep("job-1", step="one", place="here")
    keep(url="https://example.com/1", step="two")

    assert [fact.key for fact in facts] == [f"action-{slug('S', 'A')}-1-kept-{number}" for number in (1, 2)]
    assert facts[1].external_execution_id == "job-1"
    assert facts[1].external_execution_url == "https://example.com/1"
    assert facts[1].state == {"step": "two", "place": "here"}


def test_the_numbers_continue_after_those_of_an_earlier_process() -> None:
    facts: list[ActionKept] = []
    before = ActionKept(at=datetime.now(timezone.utc), number=7, external_execution_id="job-1", **IDENTITY)

    Keeper(lambda fact: facts.append(fact) or fact, before, IDENTITY)(step="two")  # type: ignore[func-returns-value]

    assert (facts[0].number, facts[0].external_execution_id) == (8, "job-1")


def test_what_a_process_that_was_replaced_wrote_under_the_same_number_hides_nothing() -> None:
    late = ActionKept(at=datetime.now(timezone.utc), number=1, state={"log": "f/1"}, **IDENTITY)
    facts = {late.number: late}

    Keeper(lambda fact: facts.setdefault(fact.number, fact), None, IDENTITY)("job-1", step="one")

    assert (facts[2].external_execution_id, facts[2].state) == ("job-1", {"log": "f/1", "step": "one"})


def test_too_much_too_often_and_too_late_are_refused() -> None:
    keep = Keeper(lambda fact: fact, None, IDENTITY)
    with pytest.raises(ActionFailed, match=r"keeps 1000[0-9]{3} bytes; the limit is 16384"):
        keep(big="x" * 1_000_000)
    for _ in range(MOST_CALLS):
        keep("job-1")
    with pytest.raises(ActionFailed, match="1000 times, which is the limit"):
        keep("job-1")
    keep.close()
    with pytest.raises(ActionFailed, match="after the action had ended"):
        keep("job-1")
