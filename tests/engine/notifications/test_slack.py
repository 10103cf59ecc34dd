"""Slack is told once, told the newest, told safely, and never holds anything up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.blocks import slack_channel
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.executions import pause
from prefect_codepipeline.engine.notifications.outbox import close_all
from prefect_codepipeline.engine.notifications.slack import Notifier
from prefect_codepipeline.engine.notifications.slack_channels import load_slack_channel
from prefect_codepipeline.errors import MissingBlock, PrefectUnavailable
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalDecided,
    ApprovalRequested,
    ExecutionFinished,
    ExecutionPinned,
    NotificationSent,
    StageEntered,
    StopRequested,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.client import call

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
WAITING = state(ENTERED, _started("Prod", "Ok"), _request())


@pytest.fixture
def notify(channel: SlackChannel) -> Callable[..., list[NotificationSent]]:
    def tell(
        *states: ExecutionState, facts: list[Any] | None = None, seconds: float = 8
    ) -> list[NotificationSent]:
        posted: list[NotificationSent] = []
        notifier = Notifier(channel, facts or [], posted.append)
        for one in states:
            notifier.queue(one, RUN_URL)
        close_all([notifier], seconds)
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
        "Action Ship of stage Prod failed in shop",
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
    ("code", "answer", "headers"),
    [
        pytest.param(429, {"error": "ratelimited"}, {"Retry-After": "0.2"}, id="rate limit"),
        pytest.param(429, {"page": "<h1>slow down"}, {}, id="rate limit without a time"),
        pytest.param(500, {"error": "internal_error"}, {}, id="error of Slack's"),
        pytest.param(502, {"page": "<h1>Bad Gateway"}, {}, id="page of a gateway"),
        pytest.param(200, {"page": "<h1>Log in"}, {}, id="page of somebody else"),
        pytest.param(200, {"page": '{"ok": tr'}, {}, id="half an answer"),
        pytest.param(200, {"error": "service_unavailable"}, {}, id="outage"),
        pytest.param(200, {"error": "ratelimited"}, {"content-length": "999"}, id="answer that breaks off"),
    ],
)
def test_what_passes_is_tried_again(
    slack: Any, notify: Any, code: int, answer: Any, headers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "FIRST_SECONDS", 0.05)
    slack.refuse(1, code, **answer, **headers)

    notify(state())

    assert len(slack.messages) == 1
    assert slack.attempts == 2


def test_what_slack_says_to_wait_is_waited(slack: Any, notify: Any, caplog: Any) -> None:
    slack.refuse(1, 429, "ratelimited", **{"Retry-After": "1.5"})
    began = time.monotonic()

    notify(state())

    assert len(slack.messages) == 1
    assert time.monotonic() - began >= 1.5
    assert caplog.records == []


def test_an_end_is_not_held_up_for_what_cannot_be_sent_in_time(slack: Any, notify: Any, caplog: Any) -> None:
    slack.refuse(9, 429, "ratelimited", **{"Retry-After": "60"})
    began = time.monotonic()

    notify(state())

    assert time.monotonic() - began < 2
    assert slack.attempts == 1
    assert [record.getMessage() for record in caplog.records] == [
        "Slack channel 'C0TEST' did not receive the final status in time; see the flow run"
    ]


def test_an_approval_does_not_wait_behind_limited_edits(
    slack: Any, channel: SlackChannel, wait_for: Any
) -> None:
    notifier = Notifier(channel, [], lambda fact: None)
    notifier.queue(state(), RUN_URL)
    wait_for(lambda: slack.history)
    slack.refuse(9, 429, "ratelimited", method="chat.update", **{"Retry-After": "60"})
    notifier.queue(state(ENTERED), RUN_URL)
    wait_for(lambda: slack.attempts == 2)

    notifier.queue(WAITING, RUN_URL)

    wait_for(lambda: [method for method, _ in slack.history] == ["chat.postMessage"] * 2, 2)
    close_all([notifier])


def test_edits_keep_to_a_pace_that_slack_allows_until_the_end(slack: Any, notify: Any) -> None:
    notifier_states = [state(ENTERED, message=f"Change {number}") for number in range(50)]
    notify(*notifier_states)

    assert slack.attempts <= 3
    assert "Change 49" in str(slack.messages)


def test_what_could_not_be_sent_is_sent_when_slack_is_back(
    slack: Any, channel: SlackChannel, caplog: Any, wait_for: Any
) -> None:
    slack.away = True
    notifier = Notifier(channel, [], lambda fact: None)
    notifier.queue(WAITING, RUN_URL)
    wait_for(lambda: slack.attempts >= 2)

    slack.away = False

    wait_for(lambda: len(slack.messages) == 2)
    close_all([notifier])
    assert len(caplog.records) == 1
    assert "Slack could not be reached" in caplog.text
    assert "planted-secret" not in caplog.text


def test_an_approval_that_was_decided_while_slack_was_away_is_not_asked_for(
    slack: Any, channel: SlackChannel, wait_for: Any
) -> None:
    slack.away = True
    notifier = Notifier(channel, [], lambda fact: None)
    notifier.queue(WAITING, RUN_URL)
    wait_for(lambda: slack.attempts >= 1)
    decided = ApprovalDecided(at=NOW, token="t1", status="Approved", by="me")
    notifier.queue(state(ENTERED, _started("Prod", "Ok"), _request(), decided), RUN_URL)

    slack.away = False
    close_all([notifier])

    assert [method for method, _ in slack.history] == ["chat.postMessage"]


def test_a_failure_that_was_retried_while_slack_was_away_is_still_reported(
    slack: Any, channel: SlackChannel, wait_for: Any
) -> None:
    slack.away = True
    notifier = Notifier(channel, [], lambda fact: None)
    notifier.queue(state(ENTERED, _started("Prod", "Ship"), FAILED), RUN_URL)
    wait_for(lambda: slack.attempts >= 1)
    notifier.queue(state(ENTERED), RUN_URL)

    slack.away = False
    close_all([notifier])

    assert ["thread_ts" in body for _, body in slack.history] == [False, True]


def test_a_slow_answer_makes_no_second_message(slack: Any, notify: Any) -> None:
    slack.delay = 0.5

    notify(WAITING)

    assert [method for method, _ in slack.history] == ["chat.postMessage"] * 2


def test_a_reply_that_slack_perhaps_took_is_not_sent_twice(
    slack: Any, notify: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any, wait_for: Any
) -> None:
    parent = notify(state())
    monkeypatch.setattr(slack_channel, "TIMEOUT_SECONDS", 0.3)
    slack.delay = 0.6

    notify(WAITING, facts=parent, seconds=3)

    wait_for(lambda: sum("thread_ts" in body for _, body in slack.history) == 1)
    assert sum("may be missing" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("not_in_channel", "/invite @bot"),
        ("channel_not_found", "/invite @bot"),
        ("is_archived", "archived"),
        ("invalid_auth", "codepipeline slack add"),
        ("token_revoked", "codepipeline slack add"),
        ("missing_scope", "chat:write"),
        ("restricted_action", "(restricted_action)"),
    ],
)
def test_what_does_not_pass_is_said_once_with_what_to_do(
    slack: Any, notify: Any, caplog: Any, error: str, remedy: str
) -> None:
    slack.refuse(100, error=error)

    with caplog.at_level(logging.DEBUG):
        notify(state(), state(ENTERED))

    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "'C0TEST'" in warnings[0]
    assert remedy in warnings[0]
    assert "planted-secret" not in caplog.text
    assert slack.attempts == 1


def test_a_message_that_somebody_deleted_is_let_go_and_replies_still_come(
    slack: Any, notify: Any, caplog: Any
) -> None:
    parent = notify(state())
    slack.delete(parent[0].message_id.split("/")[1])

    posted = notify(WAITING, facts=parent)

    assert [fact.subject for fact in posted] == ["approval:t1"]
    assert ["thread_ts" in body for body in slack.messages.values()] == [False]
    assert len(caplog.records) == 1


def test_a_workspace_that_forbids_edits_still_gets_replies(slack: Any, notify: Any, caplog: Any) -> None:
    parent = notify(state())
    slack.refuse(9, error="edit_window_closed", method="chat.update")

    notify(WAITING, facts=parent)

    assert [body.get("thread_ts") for _, body in slack.history] == [None, parent[0].message_id.split("/")[1]]
    assert len(caplog.records) == 1


def test_blocks_that_slack_does_not_accept_leave_the_text(slack: Any, notify: Any) -> None:
    slack.refuse(1, error="invalid_blocks")

    notify(WAITING)

    first, reply = (body for _, body in slack.history)
    assert "blocks" not in first
    assert first["text"] == "shop: InProgress"
    assert reply["blocks"]


def test_a_text_that_slack_does_not_accept_holds_up_nothing_else(slack: Any, notify: Any) -> None:
    slack.refuse(2, error="invalid_blocks")

    notify(WAITING)

    assert [body["text"].split(":")[0] for _, body in slack.history] == ["Approval needed"]


def test_a_record_that_cannot_be_written_stops_no_message(
    slack: Any, channel: SlackChannel, caplog: Any
) -> None:
    def fail(fact: NotificationSent) -> None:
        raise PrefectUnavailable("Prefect's API did not answer")

    notifier = Notifier(channel, [], fail)
    notifier.queue(WAITING, RUN_URL)
    close_all([notifier])

    assert len(slack.messages) == 2
    assert len(caplog.records) == 1


def test_another_channel_gets_a_message_of_its_own(slack: Any, notify: Any, channel: SlackChannel) -> None:
    before = [fact.model_copy(update={"channel": "C0OLD"}) for fact in notify(state())]

    notify(state(), facts=before)

    assert [method for method, _ in slack.history] == ["chat.postMessage"] * 2


def test_a_slack_that_never_answers_delays_the_end_by_its_limit_only(slack: Any, notify: Any) -> None:
    slack.delay = 30
    began = time.monotonic()

    notify(state(), seconds=1)

    assert time.monotonic() - began < 3


def test_nothing_is_tried_after_the_end(slack: Any, channel: SlackChannel, wait_for: Any) -> None:
    slack.away = True
    before = set(threading.enumerate())
    notifier = Notifier(channel, [], lambda fact: None)
    notifier.queue(state(), RUN_URL)
    close_all([notifier], 1.5)

    wait_for(lambda: set(threading.enumerate()) <= before, 2)
    assert slack.attempts <= 3


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/api/", "http://name.invalid/api/", "https://127.0.0.1:9/"]
)
def test_a_slack_that_is_not_there_loses_nothing_but_the_message(
    address: str, channel: SlackChannel, caplog: Any
) -> None:
    notifier = Notifier(channel.model_copy(update={"api_url": address}), [], lambda fact: None)
    notifier.queue(state(), RUN_URL)

    with caplog.at_level(logging.DEBUG):
        close_all([notifier], 1.2)

    assert sum(record.levelno >= logging.WARNING for record in caplog.records) == 1
    assert "planted-secret" not in caplog.text


def test_states_are_taken_note_of_without_waiting(slack: Any, channel: SlackChannel) -> None:
    slack.delay = 30
    notifier = Notifier(channel, [], lambda fact: None)
    began = time.monotonic()

    for _ in range(200):
        notifier.queue(WAITING, RUN_URL)

    assert time.monotonic() - began < 2
    close_all([notifier], 0)


@pytest.mark.live
def test_a_block_that_cannot_be_used_is_named_without_its_token(prefect_server: str) -> None:
    SlackChannel(bot_token="xoxb-1-planted-secret", channel="C0TEST").save("damaged")
    path = "/block_types/slug/slack-channel/block_documents/name/damaged?include_secrets=true"
    document = call("GET", path)[1]
    data = {**document["data"], "api_url": "nowhere"}
    call("PATCH", f"/block_documents/{document['id']}", {"data": data, "merge_existing_data": False})

    with pytest.raises(
        MissingBlock,
        match=r"^SlackChannel block 'damaged' cannot be used: api_url: .*; correct it in Prefect's UI, or replace it "
        r"with: codepipeline slack add damaged --channel ID$",
    ) as error:
        load_slack_channel("damaged")

    assert "planted-secret" not in str(error.value)
    assert load_slack_channel("no/such block?") is None


STOPPED = StopRequested(at=NOW, epoch=0, how="stop", by="ops", reason="wrong branch")
DECIDED = ApprovalDecided(at=NOW, token="t1", status="Approved", by="Ana (Slack)", summary="go")
CLOSED = {
    "decided": state(ENTERED, _started("Prod", "Ok"), _request(), DECIDED),
    "stopped": state(ENTERED, _started("Prod", "Ok"), _request(), STOPPED),
}


@pytest.mark.parametrize("how", CLOSED)
def test_the_reply_that_asked_says_what_became_of_it_once(slack: Any, notify: Any, how: str) -> None:
    asked = notify(WAITING)
    approval = next(fact for fact in asked if fact.subject == "approval:t1")

    told = notify(CLOSED[how], facts=asked)
    notify(CLOSED[how], facts=[*asked, *told])

    assert [fact.subject for fact in told] == ["decided:t1"]
    ts = approval.message_id.partition("/")[2]
    expected = {"decided": "Approved by Ana (Slack), 2026-01-02 03:04 UTC: go", "stopped": "wrong branch"}[
        how
    ]
    assert expected in str(slack.messages[ts])
    assert slack.problems == []
    edits = [body for method, body in slack.history if method == "chat.update" and body["ts"] == ts]
    assert len(edits) == 1


def test_what_was_never_asked_in_slack_is_not_shown_there_as_decided(
    slack: Any, notify: Any, caplog: pytest.LogCaptureFixture
) -> None:
    posted = notify(CLOSED["decided"])

    assert caplog.messages == []
    assert [fact.subject for fact in posted] == ["execution"]
    assert slack.problems == []


def test_a_reply_that_was_deleted_ends_nothing(slack: Any, notify: Any) -> None:
    asked = notify(WAITING)
    approval = next(fact for fact in asked if fact.subject == "approval:t1")
    slack.delete(approval.message_id.partition("/")[2])

    told = notify(CLOSED["decided"], facts=asked)

    assert told == []
    assert "Prod" in str(slack.history[-1])
