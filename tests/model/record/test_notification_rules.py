"""Which of AWS's ids an event has, and which rules name it."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID

import pytest
from pydantic import ValidationError

from prefect_codepipeline.model.record.events import StateChange
from prefect_codepipeline.model.record.notification_rules import (
    EVENT_TYPES,
    NotificationRule,
    channels_of_approvals,
    event_types_of,
)

# As AWS lists them: https://docs.aws.amazon.com/dtconsole/latest/userguide/concepts.html#events-ref-pipeline
AWS_IDS = [
    "codepipeline-pipeline-action-execution-succeeded",
    "codepipeline-pipeline-action-execution-failed",
    "codepipeline-pipeline-action-execution-canceled",
    "codepipeline-pipeline-action-execution-started",
    "codepipeline-pipeline-stage-execution-started",
    "codepipeline-pipeline-stage-execution-succeeded",
    "codepipeline-pipeline-stage-execution-resumed",
    "codepipeline-pipeline-stage-execution-canceled",
    "codepipeline-pipeline-stage-execution-failed",
    "codepipeline-pipeline-pipeline-execution-failed",
    "codepipeline-pipeline-pipeline-execution-canceled",
    "codepipeline-pipeline-pipeline-execution-started",
    "codepipeline-pipeline-pipeline-execution-resumed",
    "codepipeline-pipeline-pipeline-execution-succeeded",
    "codepipeline-pipeline-pipeline-execution-superseded",
    "codepipeline-pipeline-manual-approval-failed",
    "codepipeline-pipeline-manual-approval-needed",
    "codepipeline-pipeline-manual-approval-succeeded",
]


def change(level: str, state: str, category: str = "Build") -> StateChange:
    detail = {"type": {"category": category}} if level == "action" else {}
    return StateChange.model_validate(
        {"id": UUID(int=1), "time": datetime(2026, 1, 1, tzinfo=timezone.utc), "level": level, "state": state,
         "cause": "c", "detail": detail}
    )  # fmt: skip


def rule(*event_types: str, channel: str | None = "ops") -> NotificationRule:
    return NotificationRule(event_types=event_types, slack_channel=channel)


def test_the_ids_are_those_of_aws() -> None:
    assert sorted(EVENT_TYPES) == sorted(AWS_IDS)


@pytest.mark.parametrize(
    ("level", "states"),
    [
        ("pipeline", "FAILED CANCELED STARTED RESUMED SUCCEEDED SUPERSEDED"),
        ("stage", "FAILED CANCELED STARTED RESUMED SUCCEEDED"),
        ("action", "FAILED CANCELED STARTED SUCCEEDED"),
    ],
)
def test_each_state_change_has_its_id(level: str, states: str) -> None:
    for state in states.split():
        assert event_types_of(change(level, state)) == {
            f"codepipeline-pipeline-{level}-execution-{state.lower()}"
        }


@pytest.mark.parametrize(
    ("level", "state"),
    [("pipeline", "STOPPING"), ("pipeline", "STOPPED"), ("stage", "STOPPING"), ("stage", "STOPPED"),
     ("action", "ABANDONED")],
)  # fmt: skip
def test_what_aws_has_no_id_for_only_a_star_names(level: str, state: str) -> None:
    stopped = change(level, state)

    assert event_types_of(stopped) == set()
    assert rule("*").names(stopped)
    assert not rule("codepipeline-pipeline-*").names(stopped)


@pytest.mark.parametrize(
    ("state", "word"), [("STARTED", "needed"), ("SUCCEEDED", "succeeded"), ("FAILED", "failed")]
)
def test_an_approval_has_two_ids(state: str, word: str) -> None:
    assert event_types_of(change("action", state, "Approval")) == {
        f"codepipeline-pipeline-action-execution-{state.lower()}",
        f"codepipeline-pipeline-manual-approval-{word}",
    }


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("*", 18),
        ("codepipeline-pipeline-*", 18),
        ("codepipeline-pipeline-stage-execution-*", 5),
        ("codepipeline-pipeline-manual-approval-*", 3),
        ("codepipeline-pipeline-pipeline-execution-failed", 1),
    ],
)
def test_a_star_stands_for_any_rest(pattern: str, named: int) -> None:
    assert sum(map(rule(pattern).names_type, EVENT_TYPES)) == named


def test_a_rule_names_the_events_it_lists() -> None:
    failures = rule(
        "codepipeline-pipeline-pipeline-execution-failed", "codepipeline-pipeline-stage-execution-failed"
    )

    assert failures.names(change("stage", "FAILED"))
    assert not failures.names(change("action", "FAILED"))
    assert not failures.names(change("stage", "STARTED"))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"event_types": ["codepipeline-pipeline-stage-execution-faild"], "slack_channel": "a"}, "-failed"),
        ({"event_types": ["failed"], "slack_channel": "a"}, "not an event of a pipeline"),
        ({"event_types": ["codebuild-*"], "slack_channel": "a"}, "not an event of a pipeline"),
        ({"event_types": [""], "slack_channel": "a"}, "not an event of a pipeline"),
        ({"event_types": [], "slack_channel": "a"}, "event_types"),
        ({"event_types": ["*"]}, "must have a slack_channel"),
        ({"event_types": ["*"], "slack": "a"}, "slack"),
    ],
)
def test_what_is_no_rule_is_refused(written: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NotificationRule.model_validate(written)


def test_approvals_go_where_a_rule_says_else_to_the_default() -> None:
    needed = "codepipeline-pipeline-manual-approval-needed"
    to_url = NotificationRule(event_types=(needed,), event_webhook="audit")

    assert channels_of_approvals([], "all") == {"all"}
    assert channels_of_approvals([], None) == set()
    assert channels_of_approvals([rule("codepipeline-pipeline-pipeline-*"), to_url], "all") == {"all"}
    assert channels_of_approvals([rule(needed, channel="boss")], "all") == {"boss"}
    assert channels_of_approvals([rule(needed, channel="boss"), rule("*", channel="log")], None) == {
        "boss",
        "log",
    }
