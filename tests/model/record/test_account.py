"""What is counted of an execution that has ended: each end once, with bounded words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.account import action_ends, waits
from prefect_codepipeline.model.record.facts import parse_fact
from prefect_codepipeline.model.record.folding import fold

RECORDS = Path(__file__).parents[2] / "data" / "records"


def kept(number: int) -> dict[str, Any]:
    (path,) = RECORDS.glob(f"{number}-*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def fact(kind: str, second: int, **more: Any) -> Any:
    return parse_fact({"kind": kind, "at": f"2026-01-01T00:00:{second:02}Z", **more})


def ended(second: int, epoch: int, status: str = "Failed") -> Any:
    return fact("execution-finished", second, epoch=epoch, status=status, summary="")


FACTS = [
    fact("process-started", 0, process=1, run_count=1, host="h", pid=1),
    fact("stage-finished", 2, stage="A", attempt=1, status="Succeeded"),
    fact("stage-entered", 5, stage="B", attempt=1),
    fact(
        "approval-requested",
        6,
        stage="B",
        action="Ok",
        attempt=1,
        token="t",
        expires_at="2026-02-01T00:00:00Z",
    ),
    fact("approval-decided", 16, token="t", status="Approved", by="somebody"),
    fact("stage-finished", 17, stage="B", attempt=1, status="Failed"),
    ended(18, 0),
]
RUN = {"stage": "B", "action": "Make", "attempt": 1, "action_execution_id": "run-1"}


def asked(second: int, **more: Any) -> Any:
    action = {
        "name": "Make",
        "actionTypeId": {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"},
    }
    rest = {"work_pool": "gpu", "pipeline_name": "shop", "declaration": action, "settings": {}, "store": {}}
    return fact("pool-run-asked", second, **{**RUN, **rest, **more})


def taken(second: int, number: int = 1, **more: Any) -> Any:
    return fact(
        "pool-run-taken", second, **RUN | {"number": number, "host": "h", "pid": 1, "flow_run_id": "f"} | more
    )


MACHINES = [
    asked(1),
    asked(2, action="Other", action_execution_id="run-2"),
    taken(9),
    fact("pool-run-lost", 10, **RUN, number=1),
    taken(20, 2),
    taken(30, action="Other", action_execution_id="run-2"),
]
RETRY = [
    fact("retry-requested", 30, epoch=1, stage="B", retry_mode="FAILED_ACTIONS", by="somebody"),
    fact("stage-entered", 31, stage="B", attempt=2),
    ended(32, 1, "Succeeded"),
]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([], []),
        (FACTS, [("gate", 3.0), ("approval", 10.0)]),
        (FACTS + RETRY, [("gate", 1.0)]),
        ([FACTS[4], *FACTS[:4]], [("gate", 3.0)]),
        (MACHINES, [("machine", 8.0), ("machine", 28.0)]),
        ([*MACHINES, ended(31, 0), *RETRY], [("gate", 1.0)]),
        ([FACTS[1], fact("stage-entered", 1, stage="B", attempt=1)], [("gate", 0.0)]),
    ],
    ids=[
        "nothing",
        "both",
        "what came before a retry was counted then",
        "no request",
        "machines",
        "machines, and no second end",
        "clocks that differ",
    ],
)
def test_waits_are_counted_once(facts: list[Any], expected: list[tuple[str, float]]) -> None:
    assert [(each.what, each.seconds) for each in waits(facts)] == expected


def test_actions_are_counted_with_their_provider_and_a_bounded_error_code() -> None:
    record = kept(6)
    facts = [parse_fact(each) for _, each in record["facts"]]
    state = fold(record["execution_id"], PipelineDeclaration.model_validate(record["definition"]), facts)
    assert state
    invented = []
    for each in facts:
        if each.kind == "action-finished" and each.error_details:
            details = each.error_details.model_copy(update={"code": "Invented by a worker"})
            each = each.model_copy(update={"error_details": details})
        invented.append(each)

    ends, of_worker = list(action_ends(state, facts)), list(action_ends(state, invented))

    assert {end.status for end in ends} >= {"Failed"}
    assert {end.provider for end in ends} == {"Test/Scripted"}
    assert {end.code for end in ends if end.status == "Failed"} == {"JobFailed"}
    assert {end.code for end in of_worker if end.status == "Failed"} == {"other"}
