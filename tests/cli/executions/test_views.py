"""What `status` prints is whole in a narrow terminal, and ends with what a person does next."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from typing import Any

import pytest
from rich.console import Console, RenderableType

from prefect_codepipeline.cli.executions.pipeline_view import pipeline_view, pipelines_view
from prefect_codepipeline.cli.executions.tree import execution_view
from prefect_codepipeline.cli.executions.watch import _ANSWERS, _Bottom
from prefect_codepipeline.engine.executions.gate_state import Gates
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.operations.pipeline_state import PipelineState
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    AnyFact,
    ExecutionFinished,
    ExecutionPinned,
    StageEntered,
    StageFinished,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.records import ErrorDetails

NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)
REASON = (
    "the command exited with 1:\n" + " ".join(f"word{number}" for number in range(60)) + "\nthe last line"
)
ID = "0123456789abcdef"


def declaration(stages: int) -> PipelineDeclaration:
    kind = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
    return PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [
                {"name": f"S{number}", "actions": [{"name": "Unit", "actionTypeId": kind}]}
                for number in range(1, stages + 1)
            ],
        }
    )


def failed(stages: int = 2, *, deployed: bool = True, by_action: bool = True) -> KnownExecution:
    """An execution that failed in its first stage."""
    failure: list[AnyFact] = [
        ActionFinished(
            at=NOON, stage="S1", action="Unit", attempt=1, action_execution_id="a",
            status="Failed" if by_action else "Succeeded",
            error_details=ErrorDetails(code="JobFailed", message=REASON) if by_action else None,
        )
    ]  # fmt: skip
    facts: list[AnyFact] = [
        ExecutionPinned(
            at=NOON,
            pipeline_name="shop",
            pipeline_version=1,
            definition_id="d",
            variables={},
            source_revisions={},
            trigger_type="StartPipelineExecution",
            trigger_detail="ana",
        ),
        StageEntered(at=NOON, stage="S1", attempt=1),
        ActionStarted(at=NOON, stage="S1", action="Unit", attempt=1, action_execution_id="a"),
        *failure,
        StageFinished(at=NOON, stage="S1", attempt=1, status="Failed", summary="it failed"),
        ExecutionFinished(at=NOON, epoch=0, status="Failed", summary="it failed"),
    ]
    run: dict[str, Any] = {"id": ID, "state_type": "FAILED", "deployment_id": "x" if deployed else None}
    return KnownExecution(run, facts, fold(ID, declaration(stages), facts), "SUPERSEDED")


def printed(view: RenderableType, width: int = 60, height: int = 25, soft_wrap: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False, highlight=False)
    console.print(view, soft_wrap=soft_wrap)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")


@pytest.mark.parametrize("live", [False, True])
def test_the_reason_is_never_cut_off(live: bool) -> None:
    view = execution_view("shop", failed(), Gates())
    # Rich prints a live view with the options of the console, which does not wrap.
    lines = printed(_Bottom(view), height=100, soft_wrap=True) if live else printed(view)

    words = " ".join(line.strip("│├└─ ") for line in lines).split()
    assert [word for word in words if word.startswith("word")] == [f"word{number}" for number in range(60)]
    assert "the last line" in "\n".join(lines)
    assert all(len(line) <= 60 for line in lines)


@pytest.mark.parametrize(
    ("known", "command"),
    [
        pytest.param(failed(), "codepipeline retry shop S1 --execution 01234567", id="a failed action"),
        pytest.param(
            failed(by_action=False),
            "codepipeline retry shop S1 --execution 01234567 --all-actions",
            id="a failed condition",
        ),
        pytest.param(failed(deployed=False), None, id="a run in the foreground"),
    ],
)
def test_a_failure_ends_with_the_command_that_retries_it(known: KnownExecution, command: str | None) -> None:
    lines = printed(execution_view("shop", known, Gates()), width=200)

    found = [line.removeprefix("retry with: ") for line in lines if line.startswith("retry with")]
    assert found == ([command] if command else [])


def test_a_live_view_that_is_too_long_keeps_its_end() -> None:
    view = execution_view("shop", failed(40), Gates())

    shown = printed(_Bottom(view), height=20)

    assert len(shown) == 19
    assert shown[0] == "…"
    assert shown[1:] == printed(view)[-18:]


def variable(kind: str, stage: str, **value: Any) -> dict[str, Any]:
    created = NOON.isoformat()
    return {"id": f"{kind}-{stage}", "created": created, "value": {"kind": kind, "stage": stage, **value}}


def pipeline(version: int = 1, *variables: dict[str, Any]) -> PipelineState:
    newest = declaration(2).model_copy(update={"version": version})
    return PipelineState("shop", newest, "", Gates(list(variables)), [failed()])


def test_a_pipeline_shows_what_waits_and_why() -> None:
    closed = variable(
        "inbound", "S2", enabled=False, by="ben", at=NOON.isoformat(), reason="freeze until Monday"
    )
    ticket = variable(
        "ticket", "S2", mode="SUPERSEDED", previous_stage="S1", execution=f"ffff{ID}", visit=1,
        started="", is_rollback=False,
    )  # fmt: skip
    lines = printed(pipeline_view(pipeline(1, closed, ticket)), width=300)

    text = "\n".join(lines)
    assert "inbound transition disabled by ben since 2026-01-02 12:00 UTC: freeze until Monday" in text
    assert "execution ffff0123 waits for the transition" in text
    assert [line for line in lines if "S2" in line and "no execution yet" in line]
    assert "retry with: codepipeline retry shop S1 --execution 01234567" in lines


def test_a_pipeline_that_has_changed_offers_no_retry() -> None:
    lines = printed(pipeline_view(pipeline(2)), width=300)

    assert [line for line in lines if line.startswith("retry with")] == []


def test_the_list_has_a_line_for_each_pipeline() -> None:
    heads, line = printed(pipelines_view([pipeline()]), width=200)

    assert heads.split() == ["Name", "Version", "State", "Stages", "Revision", "Approvals"]
    assert line.split() == ["shop", "1", "Failed", "✖", "S1", "·", "S2"]


def test_an_approval_at_a_prompt_takes_y_and_n() -> None:
    assert (_ANSWERS["y"], _ANSWERS["n"], _ANSWERS[""]) == ("Approved", "Rejected", None)
