"""How an approval stands, and what changed since the last release."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.model.approvals.standing import Change, sentence_of, standing_of
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalDecided,
    ApprovalRequested,
    ExecutionPinned,
    StopRequested,
)
from prefect_codepipeline.model.record.folding import fold

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=timezone.utc)
WHERE: dict[str, Any] = {"at": NOW, "stage": "Prod", "action": "Ok", "attempt": 1}
STARTED = ActionStarted(**WHERE, action_execution_id="i")
STOPPED = StopRequested(at=NOW, epoch=0, how="stop", by="ops", reason="wrong branch")


def decided(status: Any, summary: str = "") -> ApprovalDecided:
    return ApprovalDecided(at=NOW, token="t", status=status, by="Ana (Slack)", summary=summary)


@pytest.mark.parametrize(
    ("facts", "standing", "sentence"),
    [
        ([], "open", "Open until 2026-05-04 11:00 UTC"),
        (
            [decided("Approved", "ship it")],
            "approved",
            "Approved by Ana (Slack), 2026-05-04 10:00 UTC: ship it",
        ),
        ([decided("Rejected")], "rejected", "Rejected by Ana (Slack), 2026-05-04 10:00 UTC"),
        ([decided("Expired")], "expired", "Expired at 2026-05-04 11:00 UTC without a decision"),
        ([STOPPED], "stopped", "The execution was stopped by ops: wrong branch"),
        ([decided("Approved"), STOPPED], "approved", "Approved by Ana (Slack)"),
        (
            [ActionFinished(**WHERE, action_execution_id="i", status="Abandoned", summary="too late")],
            "stopped",
            "The execution was stopped by too late",
        ),
    ],
)
def test_how_an_approval_stands(facts: list[Any], standing: str, sentence: str) -> None:
    asked, state = _asked(facts)

    assert standing_of(asked, state, NOW) == standing
    assert sentence_of(asked, state, NOW).startswith(sentence)


def test_from_its_time_on_it_is_over_though_nobody_wrote_that_down() -> None:
    asked, state = _asked([])

    assert standing_of(asked, state, NOW + timedelta(hours=1)) == "expired"
    assert standing_of(asked, state, NOW + timedelta(minutes=59)) == "open"


def _asked(facts: list[Any]) -> Any:
    kind = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
    declaration = PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [{"name": "Prod", "actions": [{"name": "Ok", "actionTypeId": kind}]}],
        }
    )
    pinned = ExecutionPinned(
        at=NOW, pipeline_name="shop", pipeline_version=1, definition_id="d", variables={}, source_revisions={},
        trigger_type="StartPipelineExecution",
    )  # fmt: skip
    request = ApprovalRequested(**WHERE, token="t", expires_at=NOW + timedelta(hours=1))
    state = fold("x", declaration, [pinned, STARTED, request, *facts])
    assert state
    return state.stage("Prod").action("Ok"), state


OLD, NEW = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("page", "compared"),
    [
        ("https://github.com/o/r/commit/{}", f"https://github.com/o/r/compare/{OLD}...{NEW}"),
        ("https://gitlab.com/g/s/r/-/commit/{}", f"https://gitlab.com/g/s/r/-/compare/{OLD}...{NEW}"),
        ("https://bitbucket.org/o/r/commits/{}", f"https://bitbucket.org/o/r/branches/compare/{NEW}..{OLD}"),
        ("https://example.com/{{x}}/commit/{}", f"https://example.com/{{x}}/compare/{OLD}...{NEW}"),
        ("https://example.com/{}", None),
        ("javascript:alert(1)//commit/{}", None),
    ],
)
def test_the_hosts_show_what_changed(page: str, compared: str | None) -> None:
    def revision(number: str) -> SourceRevision:
        return SourceRevision(revision_id=number, revision_url=page.format(number))

    assert Change("Src", revision(NEW), revision(OLD)).compare_url == compared
    assert Change("Src", revision(NEW), revision(NEW)).compare_url is None
    assert Change("Src", revision(NEW)).compare_url is None
