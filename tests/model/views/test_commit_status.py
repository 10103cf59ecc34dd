"""What a commit is told, in words that fit each host."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import Inherited, SourceRevision
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalRequested,
    ExecutionFinished,
    ExecutionPinned,
    RetryRequested,
    StageEntered,
    StageFinished,
    StopRequested,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.model.views.commit_status import (
    CommitStatus,
    HostKind,
    body_of,
    commits_to_report,
    path_of,
    status_of,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
COMMIT = "a" * 40
RUN_URL = "https://prefect.example.com/runs/flow-run/x"


def _action(name: str, category: str = "Test") -> dict[str, Any]:
    kind = {"category": category, "owner": "Custom", "provider": "P", "version": "1"}
    return {"name": name, "actionTypeId": kind}


DECLARATION = PipelineDeclaration.model_validate(
    {
        "name": "shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [_action("Src", "Source")]},
            {"name": "Test", "actions": [_action("Unit"), _action("Lint"), _action("Types")]},
            {"name": "Prod", "actions": [_action("Ok", "Approval"), _action("Sure", "Approval")]},
        ],
    }
)
PINNED = ExecutionPinned(
    at=NOW, pipeline_name="shop", pipeline_version=1, definition_id="d", variables={}, source_revisions={},
    trigger_type="StartPipelineExecution",
)  # fmt: skip


def entered(stage: str) -> StageEntered:
    return StageEntered(at=NOW, stage=stage, attempt=1)


def left(stage: str, status: Any = "Succeeded") -> StageFinished:
    return StageFinished(at=NOW, stage=stage, attempt=1, status=status)


def ran(stage: str, action: str, status: Any = "Succeeded", **more: Any) -> list[Any]:
    key: dict[str, Any] = {
        "at": NOW,
        "stage": stage,
        "action": action,
        "attempt": 1,
        "action_execution_id": "i",
    }
    return [ActionStarted(**key), ActionFinished(**key, status=status, **more)]


def asked(action: str) -> list[Any]:
    key: dict[str, Any] = {"at": NOW, "stage": "Prod", "action": action, "attempt": 1}
    request = ApprovalRequested(**key, token=action, expires_at=NOW + timedelta(days=7))
    return [ActionStarted(**key, action_execution_id="i"), request]


def ended(status: Any, summary: str = "all 3 stages succeeded") -> ExecutionFinished:
    return ExecutionFinished(at=NOW, epoch=0, status=status, summary=summary)


def stop(how: Any) -> StopRequested:
    return StopRequested(at=NOW, epoch=0, how=how, by="ada", reason="not today")


def folded(*facts: Any, pinned: ExecutionPinned = PINNED) -> ExecutionState:
    state = fold("x", DECLARATION, [pinned, *facts])
    assert state
    return state


SOURCE = [entered("Source"), *ran("Source", "Src", source_revision=SourceRevision(revision_id=COMMIT))]
TEST = [*SOURCE, left("Source"), entered("Test")]
PROD = [*TEST, left("Test"), entered("Prod")]


def broken(message: str) -> list[Any]:
    return ran("Test", "Unit", "Failed", error_details=ErrorDetails(code="JobFailed", message=message))


RETRY = RetryRequested(at=NOW, epoch=1, stage="Test", retry_mode="FAILED_ACTIONS", by="ada")
AGAIN = StageEntered(at=NOW, stage="Test", attempt=2)


@pytest.mark.parametrize(
    ("facts", "state", "description"),
    [
        pytest.param([], "pending", "Started", id="started"),
        pytest.param(SOURCE, "pending", "Stage Source: 1 of 1 actions done", id="source"),
        pytest.param([*SOURCE, left("Source")], "pending", "Waiting to enter stage Test", id="at a gate"),
        pytest.param(
            [*TEST, *ran("Test", "Unit"), *ran("Test", "Lint")], "pending", "Stage Test: 2 of 3 actions done",
            id="actions",
        ),
        pytest.param([*PROD, *asked("Ok")], "pending", "Waiting for approval Prod/Ok", id="approval"),
        pytest.param(
            [*PROD, *asked("Ok"), *asked("Sure")], "pending", "Waiting for approval Prod/Ok and 1 more",
            id="approvals",
        ),
        pytest.param(
            [*PROD, *asked("Ok"), stop("stop")], "pending", "Stopping, requested by ada: not today", id="stopping"
        ),
        pytest.param([*PROD, ended("Succeeded")], "success", "All 3 stages succeeded", id="succeeded"),
        pytest.param(
            [*TEST, *broken("exit 1\n secret details"), ended("Failed")], "failure", "Failed in Test/Unit: exit 1",
            id="failed",
        ),
        pytest.param(
            [*TEST, ended("Failed", "the beforeEntry condition of stage 'Prod' failed")], "failure",
            "The beforeEntry condition of stage 'Prod' failed", id="failed without an action",
        ),
        pytest.param(
            [*TEST, *broken("exit 1"), left("Test", "Failed"), ended("Failed"), RETRY, AGAIN], "pending",
            "Stage Test: 0 of 3 actions done", id="retried",
        ),
        pytest.param(
            [*TEST, ended("Superseded", "superseded by execution 7 in front of stage 'Prod'")], "error",
            "Superseded by execution 7 in front of stage 'Prod'", id="superseded",
        ),
        pytest.param(
            [*TEST, stop("abandon"), ended("Stopped", "ada: not today")], "error",
            "Stopped by ada: not today", id="stopped",
        ),
        pytest.param(
            [*TEST, stop("cancel"), ended("Cancelled", "ada: not today")], "error",
            "Cancelled by ada: not today", id="cancelled",
        ),
        pytest.param(
            [*TEST, *broken("a\x1b[31mb" + "é" * 200), ended("Failed")], "failure",
            ("Failed in Test/Unit: a [31mb" + "é" * 200)[:139] + "…", id="long",
        ),
    ],
)  # fmt: skip
def test_what_is_said(facts: list[Any], state: str, description: str) -> None:
    said = status_of(folded(*facts), RUN_URL)

    assert said == CommitStatus("codepipeline/shop", state, description, RUN_URL)  # type: ignore[arg-type]


def test_a_link_that_is_none_is_left_out() -> None:
    said = status_of(folded(*SOURCE), "javascript:alert(1)")

    assert "target_url" not in body_of("github", said)


@pytest.mark.parametrize(
    ("state", "commits"),
    [
        pytest.param(folded(*SOURCE), {"Src": COMMIT}, id="a source that succeeded"),
        pytest.param(folded(entered("Source"), ended("Superseded")), {}, id="superseded before its source ran"),
        pytest.param(
            folded(*ran("Source", "Src", source_revision=SourceRevision(revision_id="s3-version"))), {},
            id="no commit",
        ),
        pytest.param(
            folded(
                pinned=PINNED.model_copy(
                    update={
                        "rollback_target": "y",
                        "rollback_stage": "Prod",
                        "inherited": Inherited(source_revisions={"Src": SourceRevision(revision_id=COMMIT)}),
                    }
                )
            ), {}, id="rollback",
        ),
    ],
)  # fmt: skip
def test_which_commits_are_reported(state: ExecutionState, commits: dict[str, str]) -> None:
    assert commits_to_report(state) == commits


@pytest.mark.parametrize(
    ("kind", "repository", "path"),
    [
        ("github", "acme/site", f"/repos/acme/site/statuses/{COMMIT}"),
        ("github", "acme/a/site", None),
        ("github", "site", None),
        ("gitea", "acme/my site", f"/repos/acme/my%20site/statuses/{COMMIT}"),
        ("gitlab", "acme/web/site", f"/projects/acme%2Fweb%2Fsite/statuses/{COMMIT}"),
        ("gitlab", "site", None),
        ("bitbucket", "acme/site", f"/repositories/acme/site/commit/{COMMIT}/statuses/build"),
    ],
)
def test_where_a_status_goes(kind: HostKind, repository: str, path: str | None) -> None:
    assert path_of(kind, repository, COMMIT) == path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("github", ["pending", "success", "failure", "error"]),
        ("gitea", ["pending", "success", "failure", "error"]),
        ("gitlab", ["running", "success", "failed", "canceled"]),
        ("bitbucket", ["INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"]),
    ],
)
def test_each_host_has_its_words(kind: HostKind, words: list[str]) -> None:
    states: list[Any] = ["pending", "success", "failure", "error"]

    assert [body_of(kind, CommitStatus("c", state, "d"))["state"] for state in states] == words


def test_gitlab_learns_that_it_runs_only_once() -> None:
    first, second = (body_of("gitlab", CommitStatus("c", "pending", text)) for text in ("one", "two"))

    assert first == second


def test_bitbuckets_keys_are_short_and_differ() -> None:
    keys = [
        body_of("bitbucket", CommitStatus("codepipeline/" + "x" * 50 + end, "success", "d"))["key"]
        for end in "ab"
    ]

    assert len(set(keys)) == 2
    assert {len(key) for key in keys} == {40}
