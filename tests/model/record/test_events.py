"""The events of an execution: which, in AWS's order, and with AWS's details."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.record.events import EventBuilder, StateChange, events_of
from prefect_codepipeline.model.record.facts import AnyFact, parse_fact

NOW = datetime(2024, 7, 1, 12, 0, 0, 981_000, tzinfo=timezone.utc)
APP = StoredArtifact(name="App", sha256="ab", size=1, files=1)


def action(name: str, category: str, provider: str, **fields: Any) -> dict[str, Any]:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind, **fields}


DECLARATION = PipelineDeclaration.model_validate(
    {
        "name": "shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "pipelineType": "V2",
        "stages": [
            {
                "name": "Source",
                "actions": [action("Src", "Source", "CodeCommit", outputArtifacts=[{"name": "App"}])],
            },
            {
                "name": "Deploy",
                "actions": [
                    action("Ok", "Approval", "Manual"),
                    action(
                        "Web", "Deploy", "CodeDeploy", region="eu-west-1", inputArtifacts=[{"name": "App"}],
                        configuration={"ApplicationName": "s3cr3t"},
                    ),
                ],
            },
        ],
    }
)  # fmt: skip


def facts(script: str) -> list[AnyFact]:
    """Facts from lines such as `enter Deploy 2`, a second apart each."""
    made = []
    for second, line in enumerate(filter(None, map(str.strip, script.splitlines()))):
        made.append(parse_fact({"at": NOW + timedelta(seconds=second), **_fact(*line.split())}))
    return made


def _fact(verb: str, *words: str) -> dict[str, Any]:
    if verb == "pin":
        return {
            "kind": "execution-pinned", "pipeline_name": "shop", "pipeline_version": 4, "definition_id": "d",
            "variables": {}, "source_revisions": {}, "trigger_type": "StartPipelineExecution",
            "trigger_detail": "ada",
        }  # fmt: skip
    if verb == "enter":
        return {"kind": "stage-entered", "stage": words[0], "attempt": int([*words, "1"][1])}
    if verb == "leave":
        attempt = int([*words, "1"][2])
        return {"kind": "stage-finished", "stage": words[0], "status": words[1], "attempt": attempt}
    if verb in ("start", "end"):
        stage, name = words[0].split("/")
        attempt = int([*words, "1"][1 if verb == "start" else 2])
        same = {"stage": stage, "action": name, "attempt": attempt, "action_execution_id": f"{name}{attempt}"}
        if verb == "start":
            return {"kind": "action-started", **same}
        return {"kind": "action-finished", **same, "status": words[1]}
    if verb == "retry":
        trigger = "AutomatedStageRetry" if "by-itself" in words else "ManualStageRetry"
        return {
            "kind": "retry-requested", "epoch": int(words[1]), "stage": words[0], "by": "ada",
            "retry_mode": "FAILED_ACTIONS", "trigger": trigger,
        }  # fmt: skip
    if verb in ("stop", "abandon", "cancel"):
        return {"kind": "stop-requested", "epoch": 0, "how": verb, "reason": "wrong branch", "by": "ada"}
    if verb == "finish":
        epoch = int([*words, "0"][1])
        return {"kind": "execution-finished", "status": words[0], "epoch": epoch, "summary": ""}
    assert verb == "other"
    return {"kind": "process-started", "process": 1, "run_count": 1, "host": "h", "pid": 1}


def lines(changes: Sequence[StateChange]) -> list[str]:
    return [
        " ".join(
            [
                change.level,
                *(change.detail[key] for key in ("stage", "action") if key in change.detail),
                change.state,
            ]
        )
        for change in changes
    ]


SOURCE = """
    pin
    other
    enter Source
    start Source/Src
    end Source/Src Succeeded
    leave Source Succeeded
"""
SOURCE_EVENTS = [
    "pipeline STARTED",
    "stage Source STARTED",
    "action Source Src STARTED",
    "action Source Src SUCCEEDED",
    "stage Source SUCCEEDED",
]


@pytest.mark.parametrize(
    ("script", "events"),
    [
        pytest.param(
            """
            enter Deploy
            start Deploy/Ok
            start Deploy/Web
            end Deploy/Ok Succeeded
            end Deploy/Web Succeeded
            leave Deploy Succeeded
            finish Succeeded
            """,
            [
                "stage Deploy STARTED",
                "action Deploy Ok STARTED",
                "action Deploy Web STARTED",
                "action Deploy Ok SUCCEEDED",
                "action Deploy Web SUCCEEDED",
                "stage Deploy SUCCEEDED",
                "pipeline SUCCEEDED",
            ],
            id="a success",
        ),
        pytest.param(
            """
            enter Deploy
            start Deploy/Web
            end Deploy/Web Failed
            leave Deploy Failed
            finish Failed
            retry Deploy 1
            enter Deploy 2
            start Deploy/Web 2
            end Deploy/Web Succeeded 2
            leave Deploy Succeeded 2
            finish Succeeded 1
            """,
            [
                "stage Deploy STARTED",
                "action Deploy Web STARTED",
                "action Deploy Web FAILED",
                "stage Deploy FAILED",
                "pipeline FAILED",
                "pipeline RESUMED",
                "stage Deploy RESUMED",
                "action Deploy Web STARTED",
                "action Deploy Web SUCCEEDED",
                "stage Deploy SUCCEEDED",
                "pipeline SUCCEEDED",
            ],
            id="a retry by hand",
        ),
        pytest.param(
            """
            enter Deploy
            start Deploy/Web
            end Deploy/Web Failed
            leave Deploy Failed
            retry Deploy 1 by-itself
            enter Deploy 2
            start Deploy/Web 2
            end Deploy/Web Failed 2
            leave Deploy Failed 2
            finish Failed 1
            """,
            [
                "stage Deploy STARTED",
                "action Deploy Web STARTED",
                "action Deploy Web FAILED",
                "stage Deploy FAILED",
                "stage Deploy RESUMED",
                "action Deploy Web STARTED",
                "action Deploy Web FAILED",
                "stage Deploy FAILED",
                "pipeline FAILED",
            ],
            id="an automatic retry: the pipeline has not ended",
        ),
        pytest.param(
            """
            enter Deploy
            start Deploy/Web
            stop
            end Deploy/Web Succeeded
            leave Deploy Stopped
            finish Stopped
            """,
            [
                "stage Deploy STARTED",
                "action Deploy Web STARTED",
                "pipeline STOPPING",
                "stage Deploy STOPPING",
                "action Deploy Web SUCCEEDED",
                "stage Deploy STOPPED",
                "pipeline STOPPED",
            ],
            id="stop and wait",
        ),
        pytest.param(
            """
            enter Deploy
            start Deploy/Web
            stop
            abandon
            end Deploy/Web Abandoned
            leave Deploy Stopped
            finish Stopped
            """,
            [
                "stage Deploy STARTED",
                "action Deploy Web STARTED",
                "pipeline STOPPING",
                "stage Deploy STOPPING",
                "action Deploy Web ABANDONED",
                "stage Deploy STOPPED",
                "pipeline STOPPED",
            ],
            id="stop, and then abandon",
        ),
        pytest.param(
            "stop\nfinish Stopped",
            ["pipeline STOPPING", "pipeline STOPPED"],
            id="stopped in front of a stage",
        ),
        pytest.param("finish Superseded", ["pipeline SUPERSEDED"], id="superseded"),
        pytest.param(
            """
            enter Deploy
            start Deploy/Web
            cancel
            end Deploy/Web Succeeded
            leave Deploy Cancelled
            finish Cancelled
            """,
            [
                "stage Deploy STARTED",
                "action Deploy Web STARTED",
                "action Deploy Web SUCCEEDED",
                "stage Deploy CANCELED",
                "pipeline CANCELED",
            ],
            id="cancelled by an update",
        ),
        pytest.param(
            """
            enter Deploy
            leave Deploy Skipped
            finish Succeeded
            """,
            ["stage Deploy STARTED", "pipeline SUCCEEDED"],
            id="a skipped stage, whose end AWS tells nobody",
        ),
    ],
)
def test_the_events_come_in_the_order_of_aws(script: str, events: list[str]) -> None:
    everything = facts(SOURCE + script)

    changes = events_of("e1", DECLARATION, everything)

    assert lines(changes) == SOURCE_EVENTS + events
    assert len({change.id for change in changes}) == len(changes)
    assert sorted({change.time for change in changes}) == [change.time for change in changes]
    assert events_of("e1", DECLARATION, everything) == changes, "the same facts, the same events"
    assert {change.id for change in events_of("e2", DECLARATION, everything)}.isdisjoint(
        change.id for change in changes
    )


def test_facts_added_one_by_one_give_the_same_events() -> None:
    known = facts(SOURCE + "enter Deploy\nstop\nleave Deploy Stopped\nfinish Stopped")
    builder = EventBuilder("e1", DECLARATION)

    added = [builder.add(fact) for fact in known]

    assert [change for changes in added for change in changes] == events_of("e1", DECLARATION, known)
    assert all(
        change.cause == fact.key for fact, changes in zip(known, added, strict=True) for change in changes
    )


def test_a_fact_of_a_clock_that_goes_slow_is_published_after_those_written_before() -> None:
    known = facts("pin\nenter Deploy\nstop")
    known[2] = known[2].model_copy(update={"at": NOW})

    times = [change.time for change in events_of("e1", DECLARATION, known)]

    assert times == sorted(set(times))


def test_the_detail_of_a_pipeline_event() -> None:
    first, *_ = events_of("e1", DECLARATION, facts("pin"))

    assert first.name == "codepipeline.pipeline-execution.started"
    assert first.detail == {
        "pipeline": "shop",
        "execution-id": "e1",
        "start-time": "2024-07-01T12:00:00.981Z",
        "state": "STARTED",
        "version": 4.0,
        "pipeline-execution-attempt": 1.0,
        "execution-trigger": {"trigger-type": "StartPipelineExecution", "trigger-detail": "ada"},
    }


def test_why_it_was_stopped_is_reported() -> None:
    stopping = events_of("e1", DECLARATION, facts("pin\nstop"))[-1]

    assert stopping.detail["stop-execution-comments"] == "wrong branch"


def test_the_detail_of_a_stage_event_before_and_after_a_retry() -> None:
    changes = events_of(
        "e1",
        DECLARATION,
        facts("pin\nenter Deploy\nleave Deploy Failed\nfinish Failed\nretry Deploy 1\nenter Deploy 2"),
    )
    before, after = changes[1].detail, changes[-1].detail

    assert before == {
        "pipeline": "shop",
        "execution-id": "e1",
        "start-time": "2024-07-01T12:00:01.981Z",
        "state": "STARTED",
        "version": 4.0,
        "pipeline-execution-attempt": 1.0,
        "stage": "Deploy",
    }
    assert after == {
        **before,
        "start-time": "2024-07-01T12:00:05.981Z",
        "state": "RESUMED",
        "pipeline-execution-attempt": 2.0,
        "stage-last-retry-attempt-time": "2024-07-01T12:00:04.981Z",
    }


def test_the_whole_event_of_a_failed_action_is_as_eventbridge_delivers_it() -> None:
    known = facts(SOURCE + "enter Deploy\nstart Deploy/Web\nend Deploy/Web Failed")
    known[4] = known[4].model_copy(update={"output_artifacts": [APP]})
    known[-1] = known[-1].model_copy(
        update={
            "error_details": parse_fact(
                {**_fact("end", "Deploy/Web", "Failed"), "at": NOW,
                 "error_details": {"code": "JobFailed", "message": "Deployment d-X failed"}}
            ).error_details,  # type: ignore[union-attr]
            "external_execution_id": "d-X",
            "external_execution_url": "https://example.com/d-X",
        }
    )  # fmt: skip

    change = events_of(
        "e1", DECLARATION, known, "us-east-1", lambda stored: ("bucket", f"trees/{stored.sha256}")
    )[-1]
    event = change.to_event_bridge("123456789012", "us-west-2")

    assert UUID(event.pop("id")) == change.id
    assert event == {
        "version": "0",
        "detail-type": "CodePipeline Action Execution State Change",
        "source": "aws.codepipeline",
        "account": "123456789012",
        "time": "2024-07-01T12:00:08Z",
        "region": "us-west-2",
        "resources": ["arn:aws:codepipeline:us-west-2:123456789012:shop"],
        "detail": {
            "pipeline": "shop",
            "execution-id": "e1",
            "start-time": "2024-07-01T12:00:07.981Z",
            "state": "FAILED",
            "version": 4.0,
            "pipeline-execution-attempt": 1.0,
            "stage": "Deploy",
            "action": "Web",
            "action-execution-id": "Web1",
            "region": "eu-west-1",
            "type": {"owner": "AWS", "category": "Deploy", "provider": "CodeDeploy", "version": "1"},
            "input-artifacts": [{"name": "App", "s3location": {"bucket": "bucket", "key": "trees/ab"}}],
            "output-artifacts": [],
            "execution-result": {
                "external-execution-url": "https://example.com/d-X",
                "external-execution-summary": "Deployment d-X failed",
                "external-execution-id": "d-X",
                "error-code": "JobFailed",
            },
        },
    }


def test_artifacts_that_are_not_in_s3_are_named() -> None:
    known = facts(SOURCE)
    known[4] = known[4].model_copy(update={"output_artifacts": [APP]})

    started, ended = events_of("e1", DECLARATION, known, "us-east-1")[2:4]

    assert "output-artifacts" not in started.detail
    assert ended.detail["output-artifacts"] == [{"name": "App"}]
    assert ended.detail["region"] == "us-east-1"
    assert ended.detail["execution-result"] == {}


def test_configurations_are_published_nowhere() -> None:
    changes = events_of("e1", DECLARATION, facts(SOURCE + "enter Deploy\nstart Deploy/Web"))

    assert "s3cr3t" not in repr(changes)
