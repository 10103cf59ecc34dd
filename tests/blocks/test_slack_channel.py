"""A Slack channel over real HTTP. What Prefect's standard suite wants of the block: `test_blocks.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from pydantic import ValidationError
from slack_sdk.errors import SlackApiError
from slack_server import Refusal

from prefect_codepipeline.blocks.slack_channel import SLACK_API, SlackChannel

BLOCKS = [{"type": "section", "text": {"type": "plain_text", "text": "Hello"}}]


@pytest.fixture
def channel(slack_server: Any) -> SlackChannel:
    return SlackChannel(bot_token=slack_server.token, channel="C0TEST", api_url=slack_server.url)


def test_a_message_is_posted_replied_to_and_replaced(channel: SlackChannel, slack_server: Any) -> None:
    where, ts = channel.post("Hello", BLOCKS)
    _, reply = channel.post("You too", BLOCKS, ts)
    channel.update(where, ts, "Good bye", BLOCKS)

    assert where == "C0REAL"
    assert slack_server.messages[ts]["text"] == "Good bye"
    assert slack_server.messages[reply]["thread_ts"] == ts
    assert slack_server.problems == []


def test_a_message_without_blocks_is_its_text(channel: SlackChannel, slack_server: Any) -> None:
    _, ts = channel.post("Hello", [])

    assert "blocks" not in slack_server.messages[ts]


def test_slack_is_asked_to_find_no_names_and_links_and_to_show_no_pages(
    channel: SlackChannel, slack_server: Any
) -> None:
    channel.update(*channel.post("Hello", BLOCKS), "Hello", BLOCKS)

    (_, posted), (_, updated) = slack_server.history
    assert {posted["parse"], updated["parse"]} == {"none"}
    assert not any(
        [posted["link_names"], updated["link_names"], posted["unfurl_links"], posted["unfurl_media"]]
    )


def test_the_token_does_not_follow_a_redirect(channel: SlackChannel, slack_server: Any) -> None:
    heard: list[dict[str, str]] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(404)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        thread = threading.Thread(target=elsewhere.handle_request)
        thread.start()
        location = f"http://localhost:{elsewhere.server_port}/"
        slack_server.refusals.append(Refusal("chat.postMessage", (302, {"Location": location}, {})))

        with pytest.raises(SlackApiError):
            channel.post("Hello", BLOCKS)

        thread.join(10)
    assert len(heard) == 1
    assert "authorization" not in heard[0]


def test_an_address_needs_no_slash_at_its_end(channel: SlackChannel, slack_server: Any) -> None:
    channel.model_copy(update={"api_url": slack_server.url.rstrip("/")}).post("Hello", BLOCKS)

    assert len(slack_server.messages) == 1


def test_what_slack_refuses_is_raised_at_once(channel: SlackChannel, slack_server: Any, caplog: Any) -> None:
    slack_server.refuse(1, 500, "internal_error")

    with pytest.raises(SlackApiError, match="internal_error"):
        channel.post("Hello", BLOCKS)

    assert slack_server.attempts == 1
    assert caplog.records == []


def test_the_sdk_does_not_log_what_the_notifier_says(channel: SlackChannel, caplog: Any) -> None:
    with pytest.raises(OSError, match="refused"):
        channel.model_copy(update={"api_url": "http://127.0.0.1:9/"}).post("Hello", BLOCKS)

    assert caplog.records == []


def test_slack_itself_is_the_default_and_the_token_is_shown_nowhere() -> None:
    channel = SlackChannel(bot_token="xoxb-1-planted-secret", channel="C0TEST")

    assert channel.api_url == SLACK_API
    assert "planted" not in repr(channel) + channel.model_dump_json()


def test_a_token_is_taken_without_the_blanks_it_was_pasted_with() -> None:
    assert SlackChannel(bot_token=" xoxb-1\n", channel="C0").bot_token.get_secret_value() == "xoxb-1"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        pytest.param({"api_url": "slack.com"}, "api_url", id="address without http"),
        pytest.param({"api_url": "file:///etc/passwd"}, "api_url", id="address of a file"),
        pytest.param({"channel": ""}, "channel", id="no channel"),
        pytest.param({"bot_token": ""}, "bot_token", id="no token"),
        pytest.param({"bot_token": "xoxb-planted\nX-Evil: 1"}, "bot_token", id="token of two lines"),
        pytest.param({"bot_token": "xoxb-plantéd"}, "bot_token", id="token with an accent"),
    ],
)
def test_fields_that_cannot_work_are_refused_without_quoting_the_token(
    fields: dict[str, str], wrong: str
) -> None:
    with pytest.raises(ValidationError) as error:
        SlackChannel(**{"bot_token": "xoxb-planted", "channel": "C0", **fields})

    assert [each["loc"] for each in error.value.errors()] == [(wrong,)]
    assert "plant" not in str(error.value)


def test_the_server_of_these_tests_serves_other_processes_too() -> None:
    program = Path(__file__).parent.parent / "support" / "slack_server.py"
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            SlackChannel(bot_token="xoxb-1-planted-secret", channel="C0", api_url=url).post("Hello", BLOCKS)
            with urlopen(f"{url}state", timeout=5) as answer:
                state = json.load(answer)
        finally:
            process.terminate()

    assert [message["text"] for message in state["messages"].values()] == ["Hello"]
    assert state["problems"] == []
