"""What Slack is shown: as much as fits, and nothing that does what its author wanted it to do."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalRequested,
    ExecutionFinished,
    ExecutionPinned,
    RetryRequested,
    StageEntered,
    StageFinished,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.model.views.slack_message import (
    Message,
    approval_reply,
    execution_message,
    failure_reply,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
RUN_URL = "http://127.0.0.1:4200/runs/flow-run/x?a=1&b=2"


def execution(
    text: str = "Greet the world",
    link: str | None = None,
    sources: int = 1,
    stages: tuple[str, ...] = ("Prod",),
    status: Any = "Failed",
    url: str | None = "https://example.com/c",
    name: str = "shop",
) -> ExecutionState:
    """An execution in which every text from outside is `text`: it waits for an approval, and an action ended."""
    names = [f"Src{number}" for number in range(sources)]
    declaration = PipelineDeclaration.model_validate(
        {
            "name": name,
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [
                {"name": "Source", "actions": [_action(source, "Source") for source in names]},
                *(
                    {"name": stage, "actions": [_action("Ok", "Approval"), _action("Ship", "Deploy")]}
                    for stage in stages
                ),
            ],
        }
    )
    revision = SourceRevision(revision_id=text or "a" * 40, revision_summary=text, revision_url=url)
    stage = stages[-1]
    facts = [
        ExecutionPinned(
            at=NOW, pipeline_name=name, pipeline_version=3, definition_id="d", variables={},
            source_revisions={}, trigger_type="StartPipelineExecution", trigger_detail=text,
        ),
        *(_started("Source", source) for source in names),
        *(_finished("Source", source, source_revision=revision) for source in names),
        StageFinished(at=NOW, stage="Source", attempt=1, status="Succeeded"),
        StageEntered(at=NOW, stage=stage, attempt=1),
        _started(stage, "Ok"),
        ApprovalRequested(
            at=NOW, stage=stage, action="Ok", attempt=1, token="t", expires_at=NOW + timedelta(days=7),
            custom_data=text, external_entity_link=link,
        ),
        _started(stage, "Ship"),
        _finished(stage, "Ship", status, error_details=ErrorDetails(code="JobFailed", message=text)),
        ExecutionFinished(at=NOW, epoch=0, status="Failed", summary=text),
    ]  # fmt: skip
    folded = fold("0123456789abcdef", declaration, facts)
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


def messages(state: ExecutionState, run_url: str | None = RUN_URL) -> list[Message]:
    """The message, the reply for the failure, the one for the approval."""
    (_, waiting), failure = state.open_approvals[0], state.failure
    assert failure
    assert waiting.request
    return [
        execution_message(state, run_url),
        failure_reply(*failure, state, run_url),
        approval_reply(waiting.request, state, run_url),
    ]


def texts(message: Message) -> list[str]:
    """Every text that a message shows, labels of buttons included."""
    shown = []
    for block in message[1]:
        objects = [block.get("text"), *block.get("elements", [])]
        shown += [each["text"] for each in objects if each and isinstance(each["text"], str)]
    return shown


def buttons(message: Message) -> list[str]:
    return [each["url"] for block in message[1] if block["type"] == "actions" for each in block["elements"]]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<!channel> <!here> <!everyone> <!subteam^S1|all>", id="special mentions"),
        pytest.param("@channel @here @everyone @Here", id="plain mentions"),
        pytest.param("@\u200bchannel @\x00here @\u00adeveryone", id="mentions with something unseen inside"),
        pytest.param("<@U123> <#C123|general> #general", id="a user and a channel"),
        pytest.param("<http://evil.invalid|your bank> [x](http://evil.invalid)", id="links with a label"),
        pytest.param("see http://evil.invalid and mailto:a@b.c", id="bare links"),
        pytest.param("&lt;!channel&gt; &amp; & &#60;", id="escaped already"),
        pytest.param("```\nrm -rf /\n``` `code` *bold* _it_ ~no~ > quote", id="markup"),
        pytest.param("\x1b[31mred\x1b[0m \x07\x00\u202egnp.exe\u2066 \ud800 \r\n\u2028x", id="control characters"),
        pytest.param("token=xoxb-1-planted-secret, xo\x00xb-1-planted-secret", id="a token"),
        pytest.param("", id="nothing"),
        pytest.param(" \t\n ", id="blanks"),
        pytest.param("<&>" * 5000, id="much that is escaped"),
        pytest.param("e\u0301\U0001f469\u200d\U0001f680" * 5000, id="much that is joined"),
        pytest.param("\n" * 5000, id="many lines"),
    ],
)  # fmt: skip
def test_text_from_outside_stays_text_and_fits(text: str, slack_server: Any) -> None:
    for shown in messages(execution(text, link=text)):
        assert slack_server.check(*shown) == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=400)
    | st.lists(st.sampled_from(["<", "&", ">", "@", "channel", "http://", "|", "`", "\x1b[", "!", "xoxb-", "é"]))
    .map("".join),
    name=st.from_regex(r"[A-Za-z0-9.@\-_]{1,100}", fullmatch=True),
)  # fmt: skip
def test_no_text_at_all_gets_through_as_markup(text: str, name: str, slack_server: Any) -> None:
    for shown in messages(
        execution(text, link=f"https://{text}", stages=(name,), url=f"http://{text}", name=name)
    ):
        assert slack_server.check(*shown) == []


@pytest.mark.parametrize(
    ("link", "is_button"),
    [
        ("https://example.com/review?a=1&b=[2]#c", True),
        ("http://10.0.0.1:8080/", True),
        ("http://[::1]:80/x", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("ftp://example.com", False),
        ("https://", False),
        ("https://a b/c", False),
        ("https://a.b/c\n", False),
        ("https://a|b>c", False),
        ("http://[x", False),
        ("https://slack.com@evil.invalid/", False),
        ("https://example.com/?token=xoxb-1-planted-secret", False),
        ("https://example.com/" + "x" * 3000, False),
    ],
)
def test_a_link_is_a_button_when_it_leads_to_a_web_page_and_text_otherwise(
    link: str, is_button: bool, slack_server: Any
) -> None:
    approval = messages(execution(link=link))[2]

    assert buttons(approval) == ([RUN_URL, link] if is_button else [RUN_URL])
    assert any(text.startswith("To review: ") for text in texts(approval)) is not is_button
    assert slack_server.check(*approval) == []


def test_what_is_quoted_can_be_copied_as_it_was() -> None:
    text = "my_module.my_test failed: `a*b` != 'user@example.com' #1"
    shown = messages(execution(text))

    assert text in texts(shown[1])
    assert text in texts(shown[2])


def test_the_message_says_what_is_released_who_started_it_and_how_far_it_is() -> None:
    text, blocks = execution_message(execution("Ada", stages=("Prod", "Later")), RUN_URL)

    assert text == "shop: Failed"
    assert blocks[0] == {"type": "header", "text": {"type": "plain_text", "text": text, "emoji": False}}
    assert blocks[1]["text"]["text"].splitlines() == [
        ":white_check_mark: *Source* Succeeded",
        ":white_circle: *Prod*",
        ":double_vertical_bar: *Later* is waiting for approval",
    ]
    assert texts((text, blocks))[2:4] == ["*Src0* <https://example.com/c|Ada>", "Ada"]
    assert texts((text, blocks))[-2:] == [
        "started by Ada · StartPipelineExecution · version 3 · execution 01234567",
        f"<{RUN_URL.replace('&', '&amp;')}|open in Prefect>",
    ]


def test_an_attempt_that_is_not_the_first_says_so() -> None:
    state = execution()
    retried = fold(
        "x",
        PipelineDeclaration.model_validate(
            {
                "name": "shop",
                "roleArn": "arn:aws:iam::111122223333:role/pipeline",
                "artifactStore": {"type": "S3", "location": "bucket"},
                "stages": [
                    {"name": "Source", "actions": [_action("Src", "Source")]},
                    {"name": "Prod", "actions": [_action("Ship", "Deploy")]},
                ],
            }
        ),
        [
            state.pinned,
            RetryRequested(at=NOW, epoch=1, stage="Prod", retry_mode="FAILED_ACTIONS", by="Ada"),
            StageEntered(at=NOW, stage="Prod", attempt=2),
        ],
    )
    assert retried

    assert ":large_blue_circle: *Prod* InProgress (attempt 2)" in str(execution_message(retried, None))


def test_replies_name_the_pipeline_where_only_their_first_line_is_seen() -> None:
    _, (failed, _), (approval, _) = messages(execution("exit 1\nand more"))

    assert failed == "Action Ship of stage Prod failed in shop: exit 1"
    assert approval == "Approval needed: Ok in stage Prod of shop"


def test_an_abandoned_action_is_not_called_failed() -> None:
    assert "was abandoned" in messages(execution(status="Abandoned"))[1][0]


def test_without_the_address_of_prefects_ui_there_is_no_link_to_it(slack_server: Any) -> None:
    for shown in messages(execution(), run_url=None):
        assert buttons(shown) == []
        assert slack_server.check(*shown) == []


def test_the_largest_pipeline_is_shown_whole_and_slack_takes_it(slack_server: Any) -> None:
    names = tuple(f"{number:02}" + "_" * 96 + "x" for number in range(49))
    state = execution("x" * 5000, stages=names, sources=20, url="https://example.com/" + "&" * 900)
    channel = SlackChannel(bot_token=slack_server.token, channel="C0TEST", api_url=slack_server.url)

    for shown in messages(state):
        channel.post(*shown)

    assert slack_server.problems == []
    first = str(slack_server.history[0])
    assert all(f"*{name[:2]}" in first for name in names)
    assert "and 10 more source revisions" in first
