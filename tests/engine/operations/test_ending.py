"""How the end of an execution follows from its facts, and what it looks like as a flow run's state."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from prefect_codepipeline.engine.operations.ending import Way, conclusion, ended
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import (
    AnyFact,
    ExecutionPinned,
    StageEntered,
    StageFinished,
    StopRequested,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.prefect_api.runs import ended_state

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
STAGES = ("Source", "Build")


def execution(*facts: AnyFact, **pinned: Any) -> ExecutionState:
    kind = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
    actions = [{"name": "Do", "actionTypeId": kind}]
    declaration = PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [{"name": name, "actions": actions} for name in STAGES],
        }
    )
    first = ExecutionPinned(
        at=NOW, pipeline_name="shop", pipeline_version=1, definition_id="d", variables={},
        source_revisions={}, trigger_type="StartPipelineExecution", **pinned,
    )  # fmt: skip
    state = fold("e1", declaration, [first, *facts])
    assert state
    return state


def finished(stage: str, status: Any, summary: str = "") -> list[AnyFact]:
    entered = StageEntered(at=NOW, stage=stage, attempt=1)
    return [entered, StageFinished(at=NOW, stage=stage, attempt=1, status=status, summary=summary)]


def stop(how: Any) -> StopRequested:
    return StopRequested(at=NOW, epoch=0, how=how, reason="lunch", by="me")


ROLLBACK = {"execution_type": "ROLLBACK", "rollback_target": "e0", "rollback_stage": "Build"}


@pytest.mark.parametrize(
    ("state", "status", "summary"),
    [
        (execution(), "Succeeded", "all 2 stages succeeded"),
        (execution(**ROLLBACK), "Succeeded", "stage 'Build' is back at execution e0"),
        (execution(*finished("Source", "Failed", "no {luck}")), "Failed", "no {luck}"),
        (execution(*finished("Source", "Stopped", "held")), "Stopped", "held"),
        (execution(stop("stop")), "Stopped", "me: lunch"),
        (execution(stop("cancel")), "Cancelled", "me: lunch"),
        (execution(*finished("Source", "Failed", "broken"), stop("stop")), "Failed", "broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_end_follows_from_the_facts(state: ExecutionState, status: str, summary: str) -> None:
    final = conclusion(state)

    assert (final.status, final.summary) == (status, summary)


def test_a_sentence_names_what_it_is_about() -> None:
    final = ended(execution(), Way.SUPERSEDED, newer="e2", stage="Build")

    assert (final.status, final.summary) == (
        "Superseded",
        "superseded by execution e2 in front of stage 'Build'",
    )


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        ("Succeeded", "COMPLETED", "Succeeded"),
        ("Failed", "FAILED", "Failed"),
        ("Stopped", "CANCELLED", "Stopped"),
        ("Superseded", "CANCELLED", "Superseded"),
        ("Abandoned", "CANCELLED", "Abandoned"),
    ],
)
def test_the_flow_runs_state_follows_from_the_status(status: str, kind: str, name: str) -> None:
    state = ended_state(status, "why")

    assert (state.type.value, state.name, state.message) == (kind, name, "why")
