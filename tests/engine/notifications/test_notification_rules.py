"""What each Slack channel is told of an execution, as the pipeline's rules say."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.notifications.outbox import close_all
from prefect_codepipeline.engine.notifications.slack import Notifier
from prefect_codepipeline.engine.notifications.wants import wants_of
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.events import events_of
from prefect_codepipeline.model.record.facts import AnyFact, NotificationSent, parse_fact
from prefect_codepipeline.model.record.folding import fold

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
ID = "codepipeline-pipeline-"
EVIL = "exit 1 <!channel> @here <http://evil.invalid|click> *b* xoxb-1-planted-secret"


def action(name: str, category: str, run_order: int = 1) -> dict[str, Any]:
    kind = {"category": category, "owner": "Custom", "provider": "P", "version": "1"}
    return {"name": name, "actionTypeId": kind, "runOrder": run_order}


DECLARATION = PipelineDeclaration.model_validate(
    {
        "name": "shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [action("Src", "Source")]},
            {"name": "Prod", "actions": [action("Ok", "Approval"), action("Ship", "Deploy", 2)]},
        ],
    }
)
PINNED = {
    "kind": "execution-pinned", "pipeline_name": "shop", "pipeline_version": 1, "definition_id": "d", "variables": {},
    "source_revisions": {}, "trigger_type": "StartPipelineExecution", "trigger_detail": "me",
}  # fmt: skip
OK = {"stage": "Prod", "action": "Ok", "attempt": 1, "action_execution_id": "ok"}
SHIP = {"stage": "Prod", "action": "Ship", "attempt": 1, "action_execution_id": "ship"}
RETRIED = {"stage": "Prod", "action": "Ship", "attempt": 2, "action_execution_id": "ship2"}
FAILED = {"status": "Failed", "error_details": {"code": "JobFailed", "message": EVIL}}
WAITING = [
    PINNED,
    {"kind": "stage-entered", "stage": "Prod", "attempt": 1},
    {"kind": "action-started", **OK},
    {"kind": "approval-requested", "stage": "Prod", "action": "Ok", "attempt": 1, "token": "t1",
     "expires_at": (NOW + timedelta(days=7)).isoformat()},
]  # fmt: skip
FAILING = [
    *WAITING,
    {"kind": "action-finished", **OK, "status": "Succeeded", "summary": "ana: fine"},
    {"kind": "action-started", **SHIP},
    {"kind": "action-finished", **SHIP, **FAILED},
    {"kind": "stage-finished", "stage": "Prod", "attempt": 1, "status": "Failed"},
    {"kind": "execution-finished", "epoch": 0, "status": "Failed", "summary": "no"},
]
FAILING_AGAIN = [
    *FAILING,
    {"kind": "retry-requested", "epoch": 1, "stage": "Prod", "retry_mode": "FAILED_ACTIONS", "by": "ana",
     "trigger": "ManualStageRetry"},
    {"kind": "stage-entered", "stage": "Prod", "attempt": 2},
    {"kind": "action-started", **RETRIED},
    {"kind": "action-finished", **RETRIED, **FAILED},
]  # fmt: skip


class Channels:
    """Tells the channels of some settings, each call as a process of its own that knows what the record says."""

    def __init__(self, slack: Any, settings: PipelineSettings) -> None:
        self.slack, self.settings = slack, settings
        self.posted: list[AnyFact] = []

    def tell(self, facts: list[dict[str, Any]]) -> None:
        read = [parse_fact({"at": NOW + timedelta(seconds=n), **fact}) for n, fact in enumerate(facts)]
        state, events = fold("x" * 12, DECLARATION, read), events_of("x" * 12, DECLARATION, read)
        assert state
        notifiers = [
            Notifier(self._channel(name), list(self.posted), self.posted.append, None, wants)
            for name, wants in wants_of(self.settings).items()
        ]
        for notifier in notifiers:
            notifier.queue(state, "http://127.0.0.1:4200/run", events)
        close_all(notifiers)

    def _channel(self, name: str) -> SlackChannel:
        return SlackChannel(bot_token=self.slack.token, channel=name, api_url=self.slack.url)

    def posts(self, channel: str) -> list[dict[str, Any]]:
        history = self.slack.history
        return [
            body for method, body in history if method == "chat.postMessage" and body["channel"] == channel
        ]

    def texts(self, channel: str) -> list[str]:
        return [body["text"].partition(":")[0] for body in self.posts(channel)]


@pytest.fixture
def channels(slack_server: Any) -> Any:
    return lambda rules, **fields: Channels(
        slack_server,
        PipelineSettings(
            notifications=[{"event_types": ids, "slack_channel": channel} for channel, ids in rules.items()],
            **fields,
        ),
    )


def test_each_channel_gets_the_events_of_its_rule(channels: Any) -> None:
    told = channels(
        {
            "C0OPS": [f"{ID}pipeline-execution-failed", f"{ID}action-execution-failed"],
            "C0LOG": [f"{ID}stage-execution-*"],
        }
    )
    told.tell(FAILING)

    assert told.texts("C0OPS") == ["Action shop / Prod / Ship failed", "Pipeline shop failed"]
    assert told.texts("C0LOG") == ["Stage shop / Prod started", "Stage shop / Prod failed"]
    assert told.slack.problems == []


def test_an_event_is_sent_once_whichever_process_sends_it(channels: Any) -> None:
    told = channels({"C0OPS": [f"{ID}stage-execution-*"]})
    told.tell(WAITING)
    told.tell(WAITING)
    told.tell(FAILING)
    told.tell(FAILING)

    assert told.texts("C0OPS") == ["Stage shop / Prod started", "Stage shop / Prod failed"]
    assert {fact.channel for fact in told.posted if isinstance(fact, NotificationSent)} == {"C0OPS"}


def test_the_first_event_of_an_attempt_heads_its_thread(channels: Any) -> None:
    told = channels({"C0OPS": [f"{ID}action-execution-failed", f"{ID}stage-execution-failed"]})
    told.tell(FAILING)
    told.tell(FAILING_AGAIN)

    failed, stage, again = told.posts("C0OPS")
    heads = [ts for ts, body in told.slack.messages.items() if "thread_ts" not in body]
    assert "thread_ts" not in failed
    assert stage["thread_ts"] == heads[0]
    assert "thread_ts" not in again, "what failed again must not hide in yesterday's thread"


def test_approvals_go_to_the_channel_that_names_them_and_only_there(channels: Any) -> None:
    told = channels({"C0BOSS": [f"{ID}manual-approval-needed"]}, slack_channel="C0ALL")
    told.tell(WAITING)

    assert told.texts("C0ALL") == ["shop"]
    [asked] = told.posts("C0BOSS")
    assert asked["text"].startswith("Approval needed: Ok in stage Prod")
    assert "thread_ts" not in asked


def test_the_decision_changes_the_message_where_it_was_asked(channels: Any) -> None:
    decided = {
        "kind": "approval-decided",
        "token": "t1",
        "status": "Approved",
        "summary": "fine",
        "by": "ana",
    }
    told = channels({"C0BOSS": [f"{ID}manual-approval-*"]}, slack_channel="C0ALL")
    told.tell(WAITING)
    told.tell([*WAITING, decided, *FAILING[4:5]])

    edits = [body["text"] for method, body in told.slack.history if method == "chat.update"]
    assert any(text.startswith("Approval Ok in stage Prod of shop: ") for text in edits)
    assert told.texts("C0BOSS") == ["Approval needed", "Approval shop / Prod / Ok was given"]


def test_without_rules_for_them_approvals_stay_in_the_default_channel(channels: Any) -> None:
    told = channels({"C0OPS": [f"{ID}pipeline-execution-failed"]}, slack_channel="C0ALL")
    told.tell(WAITING)

    assert told.texts("C0ALL") == ["shop", "Approval needed"]
    assert told.texts("C0OPS") == []


def test_a_channel_that_is_the_default_too_has_its_events_in_the_thread(channels: Any) -> None:
    told = channels({"C0ALL": [f"{ID}stage-execution-started"]}, slack_channel="C0ALL")
    told.tell(WAITING)

    living, *rest = told.posts("C0ALL")
    assert "thread_ts" not in living
    assert sorted(body["text"].partition(":")[0] for body in rest) == [
        "Approval needed",
        "Stage shop / Prod started",
    ]
    assert all("thread_ts" in body for body in rest)


def test_text_from_outside_mentions_nobody(channels: Any) -> None:
    told = channels({"C0OPS": ["*"]})
    told.tell(FAILING_AGAIN)

    assert any("exit 1" in str(body) for body in told.posts("C0OPS"))
    assert told.slack.problems == []
    assert "planted-secret" not in str(told.slack.history)


def test_events_that_came_while_slack_was_away_are_sent_by_the_next_process(channels: Any) -> None:
    told = channels({"C0OPS": [f"{ID}stage-execution-*"]})
    told.slack.refuse(1, 429, "ratelimited", **{"Retry-After": "60"})
    told.tell(WAITING)
    assert told.texts("C0OPS") == []

    told.tell(FAILING)

    assert told.texts("C0OPS") == ["Stage shop / Prod started", "Stage shop / Prod failed"]
