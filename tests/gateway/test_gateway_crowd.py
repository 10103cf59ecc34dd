"""Forty answers to twenty approvals at once, on pages and in Slack: each is answered with the truth."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx
import pytest
from prefect.blocks.core import Block
from slack_server import signed

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.approvals.links import approval_link, load_gateway, sign
from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.model.approvals.target import ApprovalTarget
from prefect_codepipeline.model.record.facts import ApprovalRequested
from prefect_codepipeline.model.views.slack_message import APPROVE

pytestmark = [pytest.mark.live, pytest.mark.long]
APPROVALS = 20


def test_of_forty_answers_to_twenty_approvals_each_is_answered_with_the_truth(
    world: Any, slack_server: Any, gateway: str
) -> None:
    # The messages are not posted, as Slack allows one a second: their buttons and links are made here.
    channel = world.name.lower().replace(".", "-")
    secrets = {"signing_secret": slack_server.SIGNING_SECRET, "app_token": slack_server.APP_TOKEN}
    SlackChannel(bot_token=slack_server.token, channel="C0TEST", api_url=slack_server.url, **secrets).save(
        channel
    )
    save_settings(world.name, PipelineSettings())
    asked = [world.action(f"Ok{number}", 1, "Approval") for number in range(APPROVALS)]
    execution_id = world.start(world.declare(asked))
    known = world.wait(
        execution_id, lambda known: known.state and len(known.state.open_approvals) == APPROVALS
    )
    requests = [action.request for _, action in known.state.open_approvals]
    together = Barrier(2 * APPROVALS)

    def on_page(number: int, request: ApprovalRequested) -> httpx.Response:
        link = approval_link(load_gateway(), execution_id, request.token, request.expires_at)
        together.wait()
        with httpx.Client(follow_redirects=True, timeout=120) as browser:
            page = browser.get(link)
            token = re.search(r'name="form_token" value="([^"]+)"', page.text)
            if token is None:  # decided already: the page says by whom
                return page
            fields = {"form_token": token[1], "decision": "Approved", "name": f"Page{number:02}"}
            return browser.post(link, data=fields)

    def in_slack(number: int, request: ApprovalRequested) -> httpx.Response:
        user = f"SLACK{number:02}"
        target = ApprovalTarget(execution_id, request.token, request.expires_at)
        button = {"action_id": APPROVE, "value": sign(load_gateway(), target, "slack-button")}
        together.wait()
        pressed = interact(gateway, slack_server.press(user, button))
        if "submit" not in slack_server.dialogs.get(user, ()):
            return httpx.Response(pressed.status_code, text=str(slack_server.dialogs.get(user)))
        return interact(gateway, slack_server.submit(user))

    with ThreadPoolExecutor(2 * APPROVALS) as people:
        answers = [
            (people.submit(on_page, number, request), people.submit(in_slack, number, request))
            for number, request in enumerate(requests)
        ]
        pairs = [(page.result(), slack.result()) for page, slack in answers]

    assert {answer.status_code for pair in pairs for answer in pair} <= {200, 409}
    state = read_execution(execution_id).state
    decisions = [action.decision for action in state.stage("S1").actions]
    decided_by = {re.sub(r"link holder '(.*)'| \(Slack\)", r"\1", each.by) for each in decisions if each}
    assert len(decided_by) == APPROVALS
    for number, (page, slack) in enumerate(pairs):
        on_page_won, in_slack_won = f"Page{number:02}" in decided_by, f"slack{number:02}" in decided_by
        assert on_page_won != in_slack_won, number
        winner = f"Page{number:02}" if on_page_won else f"slack{number:02}"
        assert winner in page.text, page.text
        assert (slack.text == '{"response_action":"clear"}') == in_slack_won, slack.text
        assert in_slack_won or winner in slack.text, slack.text
    assert world.ended(execution_id).status == "Succeeded"
    Block.delete(f"slack-channel/{channel}")


def interact(gateway: str, payload: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{gateway}/slack/interactions", timeout=120, **signed(payload))
