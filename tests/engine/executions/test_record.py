"""The record: a fact is written once, by whoever comes first, and read back as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from uuid import uuid4

import pytest
from prefect import flow

from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.errors import PipelineExecutionNotFoundException
from prefect_codepipeline.model.record.facts import ApprovalDecided, StageEntered
from prefect_codepipeline.prefect_api.client import call, client

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@flow
def nothing() -> None:
    """Only its runs are wanted."""


@pytest.fixture
def record(prefect_server: str) -> RecordOf:
    return RecordOf(str(client().create_flow_run(nothing).id))


def decision(by: str) -> ApprovalDecided:
    return ApprovalDecided(at=NOW, token="t", status="Approved", by=by)


def test_the_first_write_of_a_key_wins_and_the_second_learns_so(record: RecordOf) -> None:
    assert record.write(decision("first"))
    assert not record.write(decision("second"))
    assert record.get("approval-t-decision") == decision("first")


def test_of_many_writers_at_once_one_wins(record: RecordOf) -> None:
    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(lambda number: record.write(decision(str(number))), range(24)))

    assert won.count(True) == 1
    assert record.get("approval-t-decision") == decision(str(won.index(True)))


def test_facts_are_read_in_the_order_in_which_they_were_written(record: RecordOf) -> None:
    facts = [StageEntered(at=NOW, stage="Prod", attempt=attempt) for attempt in range(1, 120)]
    for fact in facts:
        record.write(fact)

    assert record.read() == facts


def test_a_text_that_the_database_cannot_hold_is_written_without_what_it_cannot_hold(
    record: RecordOf,
) -> None:
    assert record.write(decision("one\0two"))

    assert record.read() == [decision("one\N{REPLACEMENT CHARACTER}two")]


def test_what_others_keep_in_the_run_is_no_fact(record: RecordOf) -> None:
    client().create_flow_run_input(flow_run_id=record.execution_id, key="theirs", value="1", sender="them")

    assert record.read() == []


def test_write_or_read_gives_what_was_there_before(record: RecordOf) -> None:
    record.write(decision("first"))

    assert record.write_or_read(decision("second")).by == "first"


def test_a_key_that_was_not_written_is_none(record: RecordOf) -> None:
    assert record.get("approval-x-decision") is None


def test_an_execution_that_does_not_exist_is_named(prefect_server: str) -> None:
    unknown = str(uuid4())

    with pytest.raises(PipelineExecutionNotFoundException, match=unknown):
        RecordOf(unknown).write(decision("me"))


def test_a_fact_of_a_kind_that_came_later_is_left_out(
    record: RecordOf, caplog: pytest.LogCaptureFixture
) -> None:
    assert record.write(decision("first"))
    body = {
        "key": "later",
        "value": '{"nonce": "n", "fact": {"kind": "not-yet", "at": "2027-01-01T00:00:00Z"}}',
    }
    call("POST", f"/flow_runs/{record.execution_id}/input", {**body, "sender": "prefect-codepipeline"})

    assert record.read() == [decision("first")]
    assert "a fact of kind 'not-yet' is left out" in caplog.text
