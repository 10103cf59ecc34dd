"""Slack is told once, told the newest, told safely, and never holds anything up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.model.declaration import PipelineDeclaration
from prefect_codepipeline.model.execution import (
    ActionFinished,
    ActionStarted,
    ApprovalRequested,
    ErrorDetails,
    ExecutionFinished,
    ExecutionPinned,
    NotificationSent,
    SourceRevision,
    StageEntered,
)
from prefect_codepipeline.model.state import ExecutionState, fold
from prefect_codepipeline.tasks.notifications import Notifier

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
RUN_URL = "http://127.0.0.1:4200/runs/flow-run/x"
EVIL = "fix <!channel> @channel <@U1> <http://evil.invalid|click> & *bold* `code` \x07 @here xoxb"


@pytest.fixture
def slack(slack_server: Any) -> Any:
    return slack_server


@pytest.fixture
def channel(slack: Any) -> SlackChannel:
    return SlackChannel(bot_token=slack.token, channel="C0TEST", api_url=slack.url)


def state(*facts: Any, message: str = "Greet the world") -> ExecutionState:
    declaration = PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [
                {"name": "Source", "actions": [_action("Src", "Source")]},
                {"name": "Prod", "actions": [_action("Ok", "Approval"), _action("Ship", "Deploy")]},
            ],
        }
    )
    pinned = ExecutionPinned(
        at=NOW, pipeline_name="shop", pipeline_version=1, definition_id="d", variables={}, source_revisions={},
        trigger_type="StartPipelineExecution", trigger_detail="me",
    )  # fmt: skip
    revision = SourceRevision(
        revision_id="a" * 40, revision_summary=message, revision_url="https://example.com/c"
    )
    source = [_started("Source", "Src"), _finished("Source", "Src", source_revision=revision)]
    folded = fold("x", declaration, [pinned, *source, *facts])
    assert folded
    return folded


def _action(name: str, category: str) -> dict[str, Any]:
    kind = {"category": category, "owner": "Custom", "provider": "P", "version": "1"}
    return {"name": name, "actionTypeId": kind}


def _started(stage: str, action: str) -> ActionStarted:
    return ActionStarted(at=NOW, stage=stage, action=action, attempt=1, action_execution_id="i")


def _finished(stage: str, action: str, status: Any = "Succeeded", **more: Any) -> ActionFinished:
    return ActionFinished(
        at=NOW, stage=stage, action=action, attempt=1, action_execution_id="i", status=status, **more
    )


def _request(text: str = "Ship it?", link: str | None = None) -> ApprovalRequested:
    return ApprovalRequested(
        at=NOW, stage="Prod", action="Ok", attempt=1, token="t1", expires_at=NOW + timedelta(days=7),
        custom_data=text, external_entity_link=link,
    )  # fmt: skip


ENTERED = StageEntered(at=NOW, stage="Prod", attempt=1)
FAILED = _finished(
    "Prod", "Ship", "Failed", error_details=ErrorDetails(code="JobFailed", message=f"exit 1: {EVIL}")
)
ENDED = ExecutionFinished(at=NOW, epoch=0, status="Failed", summary="action 'Ship' failed")


@pytest.fixture
def notify(channel: SlackChannel) -> Callable[..., list[NotificationSent]]:
    def tell(
        *states: ExecutionState, facts: list[Any] | None = None, seconds: float = 8
    ) -> list[NotificationSent]:
        posted: list[NotificationSent] = []
        notifier = Notifier(channel, facts or [], posted.append)
        for one in states:
            notifier.tell(one, RUN_URL)
        notifier.close(seconds)
        return posted

    return tell


def test_one_message_is_posted_and_then_edited(slack: Any, notify: Any) -> None:
    first = notify(state())
    notify(state(ENTERED), facts=first)

    assert [method for method, _ in slack.history] == ["chat.postMessage", "chat.update"]
    assert len(slack.messages) == 1
    assert "Prod* InProgress" in str(slack.messages)
    assert slack.problems == []


def test_states_that_came_while_sending_are_skipped_but_for_the_last(slack: Any, notify: Any) -> None:
    slack.delay = 0.2
    notify(*[state()] * 20, state(ENTERED))

    assert len(slack.history) <= 3
    assert "InProgress" in str(slack.messages)


def test_an_approval_and_a_failure_are_replies_sent_once(slack: Any, notify: Any) -> None:
    waiting = state(ENTERED, _started("Prod", "Ok"), _request(link="https://example.com/review"))
    failed = state(ENTERED, _started("Prod", "Ship"), FAILED, ENDED)
    posted = notify(waiting, waiting)
    posted += notify(failed, facts=posted)
    notify(failed, facts=posted)

    replies = [body for method, body in slack.history if body.get("thread_ts")]
    assert [body["text"].split(":")[0] for body in replies] == [
        "Approval needed",
        "Action Ship of stage Prod failed",
    ]
    urls = [button["url"] for button in replies[0]["blocks"][-1]["elements"]]
    assert urls == [RUN_URL, "https://example.com/review"]
    assert slack.problems == []


def test_text_from_outside_mentions_nobody_and_links_nowhere(slack: Any, notify: Any) -> None:
    notify(state(ENTERED, _started("Prod", "Ok"), _request(EVIL, "javascript:alert(1)"), message=EVIL * 50))
    notify(state(ENTERED, _started("Prod", "Ship"), FAILED, ENDED, message=EVIL))

    assert slack.history
    assert slack.problems == []
    assert "<http://evil" not in str(slack.history)
    assert "javascript:" not in str(
        [b for _, body in slack.history for b in body["blocks"] if b["type"] == "actions"]
    )


@pytest.mark.parametrize(
    ("times", "code", "error", "headers"),
    [
        pytest.param(2, 429, "ratelimited", {"Retry-After": "1"}, id="rate limit"),
        pytest.param(1, 500, "internal_error", {}, id="error of Slack's"),
        pytest.param(1, 200, "service_unavailable", {}, id="outage"),
    ],
)
def test_what_passes_is_tried_again(
    slack: Any, notify: Any, times: int, code: int, error: str, headers: Any
) -> None:
    slack.refuse(times, code, error, **headers)

    notify(state())

    assert len(slack.messages) == 1


def test_what_does_not_pass_is_said_once_with_what_to_do(slack: Any, notify: Any, caplog: Any) -> None:
    slack.refuse(100, error="not_in_channel")

    with caplog.at_level(logging.WARNING):
        notify(state(), state(ENTERED))

    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "/invite" in warnings[0]
    assert "planted-secret" not in warnings[0]
    assert slack.attempts == 1


def test_a_slack_that_never_answers_delays_the_end_by_its_limit_only(slack: Any, notify: Any) -> None:
    slack.delay = 30
    began = time.monotonic()

    notify(state(), seconds=2)

    assert time.monotonic() - began < 4


def test_a_slack_that_is_not_there_loses_nothing_but_the_message(
    channel: SlackChannel, slack: Any, caplog: Any
) -> None:
    nowhere = channel.model_copy(update={"api_url": "http://127.0.0.1:9/api/"})
    notifier = Notifier(nowhere, [], lambda fact: None)
    notifier.tell(state(), RUN_URL)

    notifier.close(1)

    assert "planted-secret" not in caplog.text


def test_a_message_too_long_for_slack_is_cut(slack: Any, notify: Any) -> None:
    notify(state(ENTERED, _started("Prod", "Ok"), _request("x" * 1000 + "é" * 1000), message="y" * 5000))

    assert slack.history
    assert slack.problems == []
