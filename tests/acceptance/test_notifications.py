"""A pipeline tells each channel and each URL what its rules say, across its processes and whoever ends it."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.states import Cancelling
from waiting import until

from prefect_codepipeline.blocks.event_webhook import EventWebhook
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.record.facts import ProcessLost
from prefect_codepipeline.model.record.notification_rules import NotificationRule
from prefect_codepipeline.prefect_api.client import call, client
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live
ID = "codepipeline-pipeline-"


def configure(world: Any, slack: Any, receiver: Any) -> str:
    """Everything to one channel, failures to another, approvals to a third, all events to a URL; the URL's block."""
    name = str(world.name.lower().replace(".", "-"))
    for channel in ("ALL", "OPS", "BOSS"):
        block = SlackChannel(bot_token=slack.token, channel=f"C0{channel}", api_url=slack.url)
        block.save(f"{name}-{channel.lower()}", overwrite=True)
    EventWebhook(url=receiver.url, secret=receiver.SECRET, allows_private_addresses=True).save(
        name, overwrite=True
    )
    rules = [
        NotificationRule(event_types=(f"{ID}pipeline-execution-failed", f"{ID}action-execution-failed"), slack_channel=f"{name}-ops"),
        NotificationRule(event_types=(f"{ID}manual-approval-needed",), slack_channel=f"{name}-boss"),
        NotificationRule(event_types=("*",), event_webhook=name),
    ]  # fmt: skip
    save_settings(world.name, PipelineSettings(slack_channel=f"{name}-all", notifications=rules))
    return name


def posts(slack: Any, channel: str) -> list[str]:
    return [
        body["text"].partition(":")[0]
        for method, body in list(slack.history)
        if method == "chat.postMessage" and body["channel"] == channel
    ]


def names(receiver: Any) -> list[str]:
    details = [event["detail"] for event in receiver.events]
    return [f"{each.get('action') or each.get('stage') or 'pipeline'} {each['state']}" for each in details]


def test_rules_send_approvals_failures_and_events_their_own_ways(
    world: Any, slack_server: Any, event_receiver: Any
) -> None:
    configure(world, slack_server, event_receiver)
    stage = [world.action("Ok", 1, "Approval"), world.action("Bad", 2, FailUnless=world.folder / "no")]
    execution_id = world.suspended(world.start(world.declare(stage))).id
    until(lambda: posts(slack_server, "C0BOSS"))
    before = names(event_receiver)
    world.cli("approve", world.name)
    world.ended(execution_id)
    until(lambda: "pipeline FAILED" in names(event_receiver) and len(posts(slack_server, "C0OPS")) == 2)

    assert posts(slack_server, "C0BOSS") == ["Approval needed"]
    assert posts(slack_server, "C0OPS") == [
        f"Action {world.name} / S1 / Bad failed",
        f"Pipeline {world.name} failed",
    ]
    assert posts(slack_server, "C0ALL") == [world.name, f"Action Bad of stage S1 failed in {world.name}"]
    decided = [body["text"] for method, body in slack_server.history if method == "chat.update"]
    assert any(text.startswith(f"Approval Ok in stage S1 of {world.name}: ") for text in decided)
    assert before == [
        "pipeline STARTED", "Source STARTED", "Src STARTED", "Src SUCCEEDED", "Source SUCCEEDED", "S1 STARTED",
        "Ok STARTED",
    ]  # fmt: skip
    assert names(event_receiver) == [
        *before, "Ok SUCCEEDED", "Bad STARTED", "Bad FAILED", "S1 FAILED", "pipeline FAILED",
    ]  # fmt: skip
    assert len({event["id"] for event in event_receiver.events}) == 12
    assert slack_server.problems == event_receiver.problems == []


@pytest.mark.long
def test_what_ends_an_execution_from_outside_is_reported(
    world: Any, slack_server: Any, event_receiver: Any
) -> None:
    configure(world, slack_server, event_receiver)
    execution_id = world.suspended(world.start(world.declare([world.action("Ok", 1, "Approval")]))).id
    until(lambda: "Ok STARTED" in names(event_receiver))
    client().set_flow_run_state(UUID(execution_id), Cancelling())
    world.wait(
        execution_id, lambda _: reconcile_once() is not None and world.is_named(execution_id, "Stopped")
    )
    until(lambda: "pipeline STOPPED" in names(event_receiver))

    assert names(event_receiver)[-5:] == [
        "pipeline STOPPING", "S1 STOPPING", "Ok ABANDONED", "S1 STOPPED", "pipeline STOPPED",
    ]  # fmt: skip
    assert event_receiver.problems == []


def test_a_death_that_nobody_survives_reaches_those_who_hear_of_failures(
    world: Any, slack_server: Any, event_receiver: Any
) -> None:
    configure(world, slack_server, event_receiver)
    execution_id = world.start(world.declare([world.action("Stuck", Until=world.folder / "never")]))
    until(lambda: "Stuck STARTED" in names(event_receiver))
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda k: k.run["state_type"] == "CRASHED")
    # It was lost before, and taken over since.
    RecordOf(execution_id).write(ProcessLost(at=utc_now() - timedelta(hours=1), process=1))

    reconcile_once(server_time() + timedelta(seconds=30))

    assert posts(slack_server, "C0OPS") == [
        f"Action {world.name} / S1 / Stuck failed",
        f"Pipeline {world.name} failed",
    ]
    assert names(event_receiver)[-3:] == ["Stuck FAILED", "S1 FAILED", "pipeline FAILED"]
    told = [event["id"] for event in event_receiver.events]
    assert told[7:14] == told[:7], "what the killed process told comes again, with the same ids"
    assert event_receiver.problems == slack_server.problems == []


@pytest.mark.long
def test_what_a_url_refuses_stands_in_the_runs_log(
    world: Any, slack_server: Any, event_receiver: Any
) -> None:
    name = configure(world, slack_server, event_receiver)
    event_receiver.answers = [(401, {})] * 99
    execution_id = world.start(world.declare([world.action("A")]))
    assert world.ended(execution_id).status == "Succeeded"

    def warnings() -> list[str]:
        logs = call("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [execution_id]}}})[1]
        return [log["message"] for log in logs if "EventWebhook" in log["message"]]

    until(warnings)
    assert warnings() == [f"EventWebhook {name!r}: the receiver answered 401; refused events are skipped"]
