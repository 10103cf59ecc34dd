"""How the facts of an execution fold into the states that CodePipeline shows."""

from datetime import datetime, timedelta, timezone
from typing import get_args

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import SourceRevision, StoredArtifact
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionProgressed,
    ActionStarted,
    ApprovalDecided,
    ApprovalRequested,
    ExecutionFinished,
    ExecutionPinned,
    ProcessStarted,
    RetryRequested,
    StageEntered,
    StageExecutionStatus,
    StageFinished,
    StopRequested,
    parse_fact,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.model.views.page import execution_page
from prefect_codepipeline.model.views.picture import draw_execution

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def action(name, category="Test", provider="Scripted", owner="Custom", **more):
    kind = {"category": category, "owner": owner, "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind, **more}


@pytest.fixture
def declaration():
    return PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [
                {"name": "Source", "actions": [action("Src", "Source", namespace="SourceVariables")]},
                {
                    "name": "Build",
                    "actions": [
                        action("Unit"),
                        action("Lint"),
                        action("Ok", "Approval", "Manual", "AWS", runOrder=2),
                    ],
                },
            ],
        }
    )


PINNED = ExecutionPinned(
    at=NOW,
    pipeline_name="shop",
    pipeline_version=3,
    definition_id="d",
    variables={"Env": "beta"},
    source_revisions={},
    trigger_type="StartPipelineExecution",
    trigger_detail="me <me@example.invalid>",
)


def started(name, stage="Build", attempt=1):
    return ActionStarted(
        at=NOW, stage=stage, action=name, attempt=attempt, action_execution_id=f"{name}-{attempt}"
    )


def finished(name, status="Succeeded", stage="Build", attempt=1, **more):
    if status == "Failed":
        more.setdefault("error_details", ErrorDetails(code="JobFailed", message="it broke"))
    return ActionFinished(
        at=NOW + timedelta(seconds=90),
        stage=stage,
        action=name,
        attempt=attempt,
        action_execution_id=f"{name}-{attempt}",
        status=status,
        **more,
    )


def retry(epoch=1, mode="FAILED_ACTIONS", stage="Build"):
    return RetryRequested(at=NOW, epoch=epoch, stage=stage, retry_mode=mode, by="me")


def requested(attempt=1):
    return ApprovalRequested(
        at=NOW, stage="Build", action="Ok", attempt=attempt, token="t1", expires_at=NOW + timedelta(days=7)
    )


def test_an_execution_that_was_not_pinned_has_not_started(declaration):
    assert fold("x", declaration, []) is None


def test_a_pinned_execution_is_in_progress_and_nothing_in_it_has_started(declaration):
    state = fold("x", declaration, [PINNED])

    assert state.status == "InProgress"
    assert [stage.status for stage in state.stages] == [None, None]
    assert [a.status for _, a in state.actions] == [None] * 4


def test_the_final_fact_of_the_current_epoch_is_the_status(declaration):
    final = ExecutionFinished(at=NOW, epoch=0, status="Failed", summary="why")

    assert fold("x", declaration, [PINNED, final]).status == "Failed"
    assert fold("x", declaration, [PINNED, final, retry()]).status == "InProgress"


def test_a_failed_action_is_the_failure_until_it_is_retried(declaration):
    facts = [PINNED, started("Unit"), finished("Unit"), started("Lint"), finished("Lint", "Failed")]

    state = fold("x", declaration, facts)
    retried = fold("x", declaration, [*facts, retry()])

    assert state.failure[1].summary == "it broke"
    assert retried.failure is None


@pytest.mark.parametrize(
    ("mode", "unit"),
    [
        pytest.param("FAILED_ACTIONS", "Succeeded", id="failed actions only"),
        pytest.param("ALL_ACTIONS", None, id="all actions"),
    ],
)
def test_a_retry_keeps_what_succeeded_unless_all_is_asked_for(declaration, mode, unit):
    facts = [
        PINNED,
        started("Unit"),
        finished("Unit"),
        started("Lint"),
        finished("Lint", "Failed"),
        retry(mode=mode),
    ]

    stage = fold("x", declaration, facts).stage("Build")

    assert stage.attempt == 2
    assert stage.status is None
    assert stage.action("Unit").status == unit
    assert stage.action("Lint").status is None


def test_retries_are_counted_by_who_asked_for_them(declaration):
    by_itself = retry().model_copy(update={"trigger": "AutomatedStageRetry", "by": "codepipeline"})

    def counted(*retries):
        stage = fold("x", declaration, [PINNED, *retries]).stage("Build")
        return stage.automatic_retries, stage.manual_retries, stage.latest_retry_trigger

    assert counted() == (0, 0, None)
    assert counted(by_itself) == (1, 0, "AutomatedStageRetry")
    assert counted(by_itself, retry(2), retry(3)) == (1, 2, "ManualStageRetry")
    assert counted(retry(stage="Source")) == (0, 0, None), "of that stage"


def test_only_stops_of_the_current_epoch_hold_and_the_strongest_counts(declaration):
    def stop(how, epoch=0):
        return StopRequested(at=NOW, epoch=epoch, how=how, reason="why", by="me")

    def known(*facts):
        state = fold("x", declaration, [PINNED, StageEntered(at=NOW, stage="Build", attempt=1), *facts])
        return state.status, state.stage("Build").status, state.stop and state.stop.how

    assert known(stop("cancel")) == ("InProgress", "Stopping", "cancel")
    assert known(stop("stop")) == ("Stopping", "Stopping", "stop")
    assert known(stop("cancel"), stop("stop"), stop("abandon")) == ("Stopping", "Stopping", "abandon")
    assert known(stop("abandon"), retry()) == ("InProgress", None, None), "an old stop stops no retry"


def test_the_last_attempt_of_an_action_is_its_state(declaration):
    facts = [
        PINNED,
        started("Lint"),
        finished("Lint", "Failed"),
        retry(),
        started("Lint", attempt=2),
        finished("Lint", attempt=2),
    ]

    lint = fold("x", declaration, facts).stage("Build").action("Lint")

    assert (lint.status, lint.attempt) == ("Succeeded", 2)


def test_an_action_that_runs_says_how_far_it_is(declaration):
    def says(number, summary, **more):
        return ActionProgressed(
            at=NOW, stage="Build", action="Unit", attempt=1, action_execution_id="Unit-1",
            number=number, summary=summary, **more,
        )  # fmt: skip

    facts = [PINNED, started("Unit"), says(1, "queued"), says(10, "half", percent_complete=50), says(9, "x")]
    link = {"external_execution_id": "b7", "external_execution_url": "https://example.com/b7"}

    runs = fold("x", declaration, [*facts, says(11, "more", **link)]).stage("Build").action("Unit")
    over = fold("x", declaration, [*facts, finished("Unit", summary="done")]).stage("Build").action("Unit")

    assert (runs.summary, runs.external_execution_id) == ("more", "b7")
    assert fold("x", declaration, facts).stage("Build").action("Unit").percent_complete == 50
    assert (over.summary, over.percent_complete) == ("done", None)


def test_a_stage_is_what_its_current_attempt_says(declaration):
    entered = StageEntered(at=NOW, stage="Build", attempt=1)
    left = StageFinished(at=NOW, stage="Build", attempt=1, status="Failed", summary="why")

    assert fold("x", declaration, [PINNED, entered]).stage("Build").status == "InProgress"
    assert fold("x", declaration, [PINNED, entered, left]).stage("Build").status == "Failed"
    assert fold("x", declaration, [PINNED, entered, left, retry()]).stage("Build").status is None


def test_an_approval_is_open_from_its_request_to_its_decision(declaration):
    facts = [PINNED, started("Ok"), requested()]
    decided = ApprovalDecided(at=NOW, token="t1", status="Approved", by="me")

    assert [a.name for _, a in fold("x", declaration, facts).open_approvals] == ["Ok"]
    assert fold("x", declaration, [*facts, decided]).open_approvals == []


def test_a_decision_about_another_token_decides_nothing(declaration):
    other = ApprovalDecided(at=NOW, token="t2", status="Approved", by="me")

    assert fold("x", declaration, [PINNED, started("Ok"), requested(), other]).open_approvals


def test_variables_and_artifacts_come_from_actions_that_succeeded(declaration):
    artifact = StoredArtifact(name="Out", sha256="0" * 64, size=1, files=1)
    revision = SourceRevision(revision_id="abc")
    outputs = {
        "output_variables": {"CommitId": "abc"},
        "output_artifacts": [artifact],
        "source_revision": revision,
    }
    facts = [PINNED, started("Src", "Source"), finished("Src", stage="Source", **outputs)]

    state = fold("x", declaration, facts)

    assert state.namespaces == {
        "SourceVariables": {"CommitId": "abc"},
        "codepipeline": {"PipelineExecutionId": "x"},
        "variables": {"Env": "beta"},
    }
    assert state.artifacts == {"Out": artifact}
    assert state.source_revisions == {"Src": revision}


def test_every_fact_survives_its_way_through_json(declaration):
    facts = [
        PINNED,
        ProcessStarted(at=NOW, process=1, run_count=1, host="h", pid=1),
        started("Unit"),
        finished("Unit", source_revision=SourceRevision(revision_id="a", created=NOW)),
        requested(),
        retry(),
    ]

    assert [parse_fact(fact.model_dump(mode="json")) for fact in facts] == facts


def test_keys_of_different_names_differ_however_alike_they_look():
    names = ["Prod.1", "Prod-1", "prod-1", "Prod_1"]

    assert len({StageEntered(at=NOW, stage=name, attempt=1).key for name in names}) == len(names)


def test_the_page_shows_text_from_outside_as_text(declaration):
    revision = SourceRevision(revision_id="abc", revision_summary="<script>alert(1)</script> | `x`\nmore")
    facts = [PINNED, started("Src", "Source"), finished("Src", stage="Source", source_revision=revision)]

    page = execution_page(fold("x", declaration, facts))

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert r"\|" in page


@pytest.mark.parametrize("status", [*get_args(StageExecutionStatus), None])
def test_the_picture_has_a_colour_for_each_status_of_a_stage(declaration, status):
    facts = [PINNED, StageEntered(at=NOW, stage="Source", attempt=1)]
    if status == "Stopping":
        facts.append(StopRequested(at=NOW, epoch=0, how="stop", reason="", by="ana"))
    elif status not in (None, "InProgress"):
        facts.append(StageFinished(at=NOW, stage="Source", attempt=1, status=status))

    assert f">{status or ''}</text>" in draw_execution(fold("x", declaration, facts if status else [PINNED]))


def test_the_picture_is_well_formed_and_names_every_stage_and_action(declaration):
    from xml.etree import ElementTree

    root = ElementTree.fromstring(draw_execution(fold("x", declaration, [PINNED])))

    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Source", "Build", "Src", "Unit", "Lint", "Ok"} <= texts
