"""A pipeline's stages show the executions that entered them last, each its own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import Inherited, SourceRevision
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    AnyFact,
    ExecutionPinned,
    RetryRequested,
    StageEntered,
    StageFinished,
)
from prefect_codepipeline.model.record.folding import fold, stage_attempts
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.model.views.pipeline_stages import rollback_sentence, stages_now

NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)
NAMES = ["Source", "Test", "Prod"]
KIND = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
DECLARATION = PipelineDeclaration.model_validate(
    {
        "name": "shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {
                "name": name,
                "actions": [
                    {
                        "name": "Do",
                        "actionTypeId": {**KIND, "category": "Source" if name == "Source" else "Test"},
                    }
                ],
            }
            for name in NAMES
        ],
    }
)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def execution(letter: str, entered: dict[str, int], *more: AnyFact, **pinned: Any) -> ExecutionState:
    """An execution that entered each of these stages at that minute, and succeeded there."""
    facts: list[AnyFact] = [
        ExecutionPinned(
            at=at(0),
            pipeline_name="shop",
            pipeline_version=1,
            definition_id="d",
            variables={},
            source_revisions={},
            **{"trigger_type": "StartPipelineExecution", "trigger_detail": "ana", **pinned},
        )
    ]
    for stage, minute in entered.items():
        facts.append(StageEntered(at=at(minute), stage=stage, attempt=1))
        facts.append(StageFinished(at=at(minute), stage=stage, attempt=1, status="Succeeded"))
    state = fold(letter * 8 + "-0000", DECLARATION, [*facts, *more])
    assert state
    return state


def rollback(letter: str, target: str, minute: int, **pinned: Any) -> ExecutionState:
    inherited = Inherited(source_revisions={"Do": SourceRevision(revision_id="abc", revision_summary="good")})
    return execution(
        letter,
        {"Prod": minute},
        execution_type="ROLLBACK",
        rollback_target=target * 8 + "-0000",
        rollback_stage="Prod",
        inherited=inherited,
        **{"trigger_type": "ManualRollback", "trigger_detail": "ben", **pinned},
    )


OLD = execution("a", {"Source": 1, "Test": 2, "Prod": 3})
NEW = execution("b", {"Source": 4, "Test": 5})


@pytest.mark.parametrize(
    ("executions", "expected"),
    [
        pytest.param([], [None, None, None], id="no execution"),
        pytest.param([OLD], ["a", "a", "a"], id="one execution"),
        pytest.param([NEW, OLD], ["b", "b", "a"], id="a newer one on its way"),
        pytest.param([NEW], ["b", "b", None], id="a stage that none has entered"),
        pytest.param([rollback("c", "a", 9), NEW, OLD], ["b", "b", "c"], id="a rollback of one stage"),
        pytest.param(
            [
                NEW,
                execution(
                    "a",
                    {"Source": 1, "Test": 2, "Prod": 3},
                    RetryRequested(at=at(8), epoch=1, stage="Test", retry_mode="ALL_ACTIONS", by="ana"),
                ),
            ],
            ["b", "a", "a"],
            id="an older one that was retried since",
        ),
    ],
)
def test_each_stage_has_the_execution_that_entered_it_last(
    executions: list[ExecutionState], expected: list[str | None]
) -> None:
    found = stages_now(NAMES, executions)

    assert [now.name for now in found] == NAMES
    assert [now.execution and now.execution.execution_id[0] for now in found] == expected


def test_a_rollback_says_from_what_to_what_and_by_whom() -> None:
    prod = execution("b", {"Source": 4, "Test": 5, "Prod": 6})
    manual = stages_now(NAMES, [rollback("c", "a", 9), prod, OLD])[2]
    automatic = stages_now(
        NAMES,
        [rollback("c", "a", 9, trigger_type="AutomatedRollback", trigger_detail=prod.execution_id), OLD],
    )[2]

    assert rollback_sentence(manual) == (
        "rolled back from execution bbbbbbbb to execution aaaaaaaa (abc good) by ben"
    )
    assert rollback_sentence(automatic) == (
        "rolled back from execution aaaaaaaa to execution aaaaaaaa (abc good) automatically, after execution bbbbbbbb"
    )
    assert rollback_sentence(stages_now(NAMES, [OLD])[2]) is None


def test_a_rollback_without_the_execution_before_it_is_not_all_that_is_to_know() -> None:
    alone, both = [rollback("c", "a", 9)], [rollback("c", "a", 9), OLD]

    assert [now.is_known for now in stages_now(NAMES, alone)] == [False, False, False]
    assert [now.is_known for now in stages_now(NAMES, both)] == [True, True, True]


def test_a_retry_keeps_the_attempts_before_it() -> None:
    refused = ErrorDetails(code="JobFailed", message="rejected by ben: not today")
    facts: list[AnyFact] = [
        StageEntered(at=at(3), stage="Prod", attempt=1),
        ActionStarted(at=at(3), stage="Prod", action="Do", attempt=1, action_execution_id="one"),
        ActionFinished(
            at=at(4), stage="Prod", action="Do", attempt=1, action_execution_id="one",
            status="Failed", error_details=refused,
        ),
        StageFinished(at=at(4), stage="Prod", attempt=1, status="Failed", summary="it failed"),
        RetryRequested(at=at(5), epoch=1, stage="Prod", retry_mode="FAILED_ACTIONS", by="ana"),
        StageEntered(at=at(6), stage="Prod", attempt=2),
        ActionStarted(at=at(6), stage="Prod", action="Do", attempt=2, action_execution_id="two"),
    ]  # fmt: skip

    attempts = stage_attempts(execution("a", {"Source": 1}, *facts), facts)

    assert [[each.status for each in attempts[name]] for name in NAMES] == [
        ["Succeeded"],
        [None],
        ["Failed", "InProgress"],
    ]
    first, second = (each.actions[0] for each in attempts["Prod"])
    assert (first.attempt, first.summary) == (1, "rejected by ben: not today")
    assert (second.attempt, second.status) == (2, "InProgress")
