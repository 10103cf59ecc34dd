"""Approvals from Slack and from links: one decision counts, and everybody is told which."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from browser import browsing
from prefect.blocks.core import Block
from prefect.states import Cancelling
from pydantic import SecretStr
from waiting import until

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.deployments.local.ports import free_port
from prefect_codepipeline.engine.approvals.decision import open_approval, put_approval_result
from prefect_codepipeline.engine.approvals.links import approval_link, load_gateway
from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.engine.executions.removed import remember_removed
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.engine.triggers.webhook_signatures import sign
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.gateway.serve import prepare_gateway
from prefect_codepipeline.gateway.slack.socket_mode import SocketModes
from prefect_codepipeline.model.approvals.policy import ApprovalPolicy
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.prefect_api.client import call, client
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live
PEOPLE = 20


@pytest.fixture
def slack(slack_server: Any, world: Any, gateway: str) -> Any:
    """Slack, to which the world's pipeline reports."""
    configure(world, slack_server, {})
    yield slack_server
    Block.delete(f"slack-channel/{slack_name(world)}")
    assert slack_server.problems == []


def slack_name(world: Any) -> str:
    return str(world.name.lower().replace(".", "-"))


def configure(world: Any, slack_server: Any, approvals: dict[str, ApprovalPolicy]) -> None:
    name = slack_name(world)
    fields = {"signing_secret": slack_server.SIGNING_SECRET, "app_token": slack_server.APP_TOKEN}
    SlackChannel(bot_token=slack_server.token, channel="C0TEST", api_url=slack_server.url, **fields).save(
        name, overwrite=True
    )
    save_settings(world.name, PipelineSettings(slack_channel=name, approvals=approvals))


def asking(world: Any, stages: int = 1) -> Any:
    """An execution that waits for an approval."""
    approval = world.action("Ok", 1, "Approval", CustomData="Ship <b>1.2</b> & more?", ExternalEntityLink="https://example.com/notes")  # fmt: skip
    return world.suspended(world.start(world.declare(*([approval],) * stages)))


def link_of(known: Any, to: str = "") -> str:
    request = open_approval(known.state)
    gateway = load_gateway()
    assert gateway
    link = approval_link(gateway, known.id, request.token, request.expires_at, to)
    assert link
    return link


def decide_on_page(link: str, decision: str, **fields: str) -> httpx.Response:
    """What a browser does: open the page, fill the form, send it, and follow where it leads."""
    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        page = browser.get(link)
        token = re.search(r'name="form_token" value="([^"]+)"', page.text)
        return browser.post(
            link, data={"form_token": token[1] if token else "", "decision": decision, **fields}
        )


def interact(gateway: str, payload: dict[str, Any], **more: Any) -> httpx.Response:
    from slack_server import signed

    at = time.time() + more.pop("offset", 0)
    return httpx.post(f"{gateway}/slack/interactions", timeout=60, **signed(payload, at=at, **more))


def decide_in_slack(
    gateway: str, slack: Any, user: str, button: dict[str, Any], comment: str = ""
) -> dict[str, Any]:
    """Press, fill the dialog, send it; what Slack is answered then, or the dialog that only says something."""
    assert interact(gateway, slack.press(user, button)).status_code == 200
    if "submit" not in slack.dialogs[user]:
        return {"view": slack.dialogs[user]}
    answer: dict[str, Any] = interact(gateway, slack.submit(user, comment)).json()
    return answer


def message_asking(slack: Any, seconds: float = 60) -> str:
    """The message that has the buttons, once it was posted; its ts."""
    asking: list[str] = until(
        lambda: [ts for ts in list(slack.messages) if "Approve" in slack.buttons(ts)],
        seconds,
        lambda: f"nothing with buttons was posted: {slack.messages}",
    )
    return asking[0]


def becomes(slack: Any, ts: str, *texts: str, seconds: float = 60) -> str:
    until(lambda: all(text in str(slack.messages[ts]) for text in texts), seconds, lambda: slack.messages[ts])
    return str(slack.messages[ts])


def test_a_link_shows_what_is_asked_and_only_its_form_decides(world: Any, gateway: str) -> None:
    save_settings(world.name, PipelineSettings())
    known = asking(world)
    link = link_of(known)

    with httpx.Client() as browser:
        page = browser.get(link)
        refused = [
            browser.post(link, data={"decision": "Approved"}),
            browser.post(link, data={"decision": "Approved", "form_token": "x"}),
            httpx.post(link, data={"decision": "Approved", "form_token": _form_token(page)}),
            browser.post(
                link,
                data={"decision": "Approved", "form_token": _form_token(page)},
                headers={"sec-fetch-site": "cross-site"},
            ),
        ]
        too_long = browser.post(link, data={"decision": "Approved", "comment": "x" * 20_000})
        unknown = browser.post(link, data={"decision": "Maybe", "form_token": _form_token(page)})
    broken = httpx.get(link[:-3] + "AAA")

    assert page.status_code == 200
    for text in (world.name, "S1", "Ok", "Ship &lt;b&gt;1.2&lt;/b&gt; &amp; more?", "tester", "Open until"):
        assert text in page.text
    assert 'href="https://example.com/notes"' in page.text
    for name, value in {
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }.items():
        assert page.headers[name] == value
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "httponly" in page.headers["set-cookie"].lower()
    assert "samesite=strict" in page.headers["set-cookie"].lower()
    assert [each.status_code for each in refused] == [403] * 4
    assert (too_long.status_code, unknown.status_code, broken.status_code) == (413, 400, 404)
    assert open_approval(read_execution(known.id).state)

    decided = decide_on_page(link, "Approved", name="Ana <i>", comment="looks good")

    assert decided.status_code == 200
    assert "Approved by link holder &#39;Ana &lt;i&gt;&#39;" in decided.text
    assert "looks good" in decided.text
    assert "<form" not in decided.text
    assert world.ended(known.id).status == "Succeeded"

    remember_removed([known.id])
    call("DELETE", f"/flow_runs/{known.id}")
    answer = {"decision": "Approved", "form_token": _form_token(page)}
    late = httpx.post(link, data=answer, cookies=page.cookies, timeout=60)
    assert late.status_code == 404
    assert "this execution was removed by retention" in late.text


def _form_token(page: httpx.Response) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found
    return found[1]


@pytest.mark.long
def test_of_twenty_people_at_buttons_and_links_one_decides_and_all_learn_who(
    world: Any, slack: Any, gateway: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    known = asking(world)
    ts = message_asking(slack)
    buttons = slack.buttons(ts)
    link = buttons["Review and decide"]["url"]
    assert link.startswith(f"{gateway}/approvals/")

    def decide(number: int) -> str:
        wanted = ("Approve", "Reject")[number % 2]
        if number < PEOPLE // 2:
            return str(decide_in_slack(gateway, slack, f"U{number:03}", buttons[wanted], f"said {number}"))
        status = {"Approve": "Approved", "Reject": "Rejected"}[wanted]
        return decide_on_page(link, status, name=f"P{number:03}").text

    with ThreadPoolExecutor(PEOPLE) as people:
        told = list(people.map(decide, range(PEOPLE)))

    ended = world.ended(known.id)
    decision = ended.state.stage("S1").action("Ok").decision
    assert ended.status == {"Approved": "Succeeded", "Rejected": "Failed"}[decision.status]
    who = decision.by.replace("link holder ", "").strip("'").removesuffix(" (Slack)")
    losers = [text for text in told if who in text and decision.status in text]
    # The one who won in Slack sees the dialog close.
    assert len(losers) + sum("'clear'" in text for text in told) == PEOPLE, told
    assert sum("'clear'" in text for text in told) <= 1
    shown = becomes(slack, ts, f"{decision.status} by {decision.by.split(chr(39))[0].strip()}")
    assert set(slack.buttons(ts)) == {"Open in Prefect"}, shown
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    assert any("POST /approvals/{link}" in line for line in ours)
    assert not re.search(r"planted-secret|approvals/[\w-]{30}", "\n".join(ours))
    again = decide_in_slack(gateway, slack, "U999", buttons["Approve"])
    assert "Nothing to decide" in str(again)


def test_a_policy_takes_two_people_and_neither_a_stranger_nor_a_form_without_a_name(
    world: Any, slack: Any, gateway: str
) -> None:
    policy = ApprovalPolicy(approvers=("U01", "S1X", "cleo@example.com"), quorum=2)
    configure(world, slack, {"S1/Ok": policy})
    slack.users = {f"U0{n}": (f"User {n}", f"u{n}@example.com") for n in range(1, 5)}
    slack.groups = {"S1X": ["U02"]}
    known = asking(world)
    ts = message_asking(slack)
    approve = slack.buttons(ts)["Approve"]

    stranger = decide_in_slack(gateway, slack, "U03", approve)
    first = decide_in_slack(gateway, slack, "U01", approve)
    twice = decide_in_slack(gateway, slack, "U01", approve)
    anonymous = httpx.get(link_of(known))
    stolen = decide_on_page(link_of(known), "Approved")
    call("POST", f"/flow_runs/{known.id}/resume", {"run_input": {"decision": "Approved", "comment": ""}})
    world.wait(known.id, lambda k: k.is_suspended and k.state.stage("S1").action("Ok").refusals)

    assert "not one of the approvers of this action" in str(stranger)
    assert "Your approval counts" in str(first)
    assert "Your approval counts" in str(twice)
    assert "this link is not personal" in anonymous.text
    assert stolen.status_code == 403
    waiting = read_execution(known.id).state.stage("S1").action("Ok")
    assert [vote.approver.name for vote in waiting.votes] == ["User 1"]
    assert "does not identify the user" in waiting.refusals[0].reason
    becomes(slack, ts, "Approved by User 1 (Slack) so far")

    done = decide_on_page(link_of(known, "Cleo@example.com"), "Approved")

    assert done.status_code == 200, done.text
    becomes(slack, ts, "Approved by User 1 (Slack), Cleo@example.com (link)")
    assert world.ended(known.id).status == "Succeeded"


@pytest.mark.long
def test_of_voters_at_once_none_is_lost_and_expiry_means_what_the_policy_says(
    world: Any, gateway: str
) -> None:
    policies = {"S1": ApprovalPolicy(quorum=4), "S2": ApprovalPolicy(on_expiry="Approve")}
    save_settings(world.name, PipelineSettings(approvals=policies))
    known = asking(world, stages=2)
    token = open_approval(known.state).token

    def vote(number: int) -> Any:
        voter = Approver(via="link", email=f"v{number}@example.com")
        return put_approval_result(known.id, token, "Approved", voter)

    with ThreadPoolExecutor(4) as voters:
        written = [
            future.exception() or future.result() for future in [voters.submit(vote, n) for n in range(4)]
        ]

    world.wait(
        known.id, lambda k: k.is_suspended and k.state.stage("S2").action("Ok").is_waiting_for_approval
    )
    first = read_execution(known.id).state.stage("S1").action("Ok")
    assert first.decision.by.count("@example.com (link)") == 4, written
    expires = open_approval(read_execution(known.id).state).expires_at
    assert any("expired" in sentence for sentence in reconcile_once(expires + timedelta(minutes=1)))
    ended = world.ended(known.id)
    assert ended.status == "Succeeded"
    assert (
        "no approver decided in time, and the policy then approves"
        in ended.state.stage("S2").action("Ok").summary
    )


def test_socket_mode_decides_and_a_stop_withdraws_the_buttons(world: Any, slack: Any, gateway: str) -> None:
    known = asking(world, stages=2)
    first = message_asking(slack)
    modes = SocketModes()
    modes.start()
    try:
        slack.send_over_socket(slack.press("U01", slack.buttons(first)["Approve"]))
        until(lambda: "U01" in slack.dialogs, 20)
        answer = slack.send_over_socket(slack.submit("U01", "by socket"))
        assert answer["payload"] == {"response_action": "clear"}
        becomes(slack, first, "Approved by u01 (Slack)", "by socket")
    finally:
        modes.stop()

    world.wait(
        known.id, lambda k: k.is_suspended and k.state.stage("S2").action("Ok").is_waiting_for_approval
    )
    second = message_asking(slack)
    link = slack.buttons(second)["Review and decide"]["url"]
    expires = open_approval(read_execution(known.id).state).expires_at
    reminded = [reconcile_once(expires - timedelta(minutes=minutes)) for minutes in (61, 59, 58)]
    stop_pipeline_execution(world.name, known.id, by="ops", reason="wrong branch", abandon=False)
    becomes(slack, second, "wrong branch")

    assert [
        any(known.id in line and "a reminder of approval" in line for line in lines) for lines in reminded
    ] == [
        False,
        True,
        False,
    ]
    assert sum("still needs a decision" in str(message) for message in slack.messages.values()) == 1
    assert set(slack.buttons(second)) == {"Open in Prefect"}
    assert httpx.get(link).status_code == 410


def test_prefects_cancel_withdraws_the_buttons(world: Any, slack: Any, gateway: str) -> None:
    known = asking(world)
    asked = message_asking(slack)

    client().set_flow_run_state(UUID(known.id), Cancelling())  # as the button of Prefect's UI does
    world.wait(known.id, lambda k: k.run["state_type"] in ("CANCELLED", "CANCELLING"))
    until(
        lambda: (
            reconcile_once(server_time() + timedelta(minutes=2))
            and not world.ended(known.id).state.open_approvals
        ),
        20,
    )

    becomes(slack, asked, "cancelled in Prefect")
    assert set(slack.buttons(asked)) == {"Open in Prefect"}
    assert world.ended(known.id).status == "Stopped"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({}, 200, id="signed"),
        pytest.param({"secret": "another"}, 401, id="signed by another"),
        pytest.param({"offset": -301}, 401, id="older than five minutes"),
        pytest.param({"offset": 330}, 401, id="from the future"),
    ],
)
def test_only_what_slack_signed_lately_is_heard(slack: Any, gateway: str, change: Any, status: int) -> None:
    assert interact(gateway, {"type": "shortcut"}, **change).status_code == status


def test_a_browser_on_a_phone_decides_by_the_buttons_and_not_by_enter(
    world: Any, gateway: str, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no Chromium on this machine; `make test FULL=1` installs it where it can")
    save_settings(world.name, PipelineSettings())
    known = asking(world)

    with browsing(chromium, tmp_path / "chromium", 360, 800) as page:
        page.call("Page.navigate", url=link_of(known))
        page.wait("document.querySelector('button.approve')")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing is cut off"
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.approve')).color")
            == "rgb(255, 255, 255)"
        )
        page.evaluate("document.getElementById('name').focus()")
        page.press_enter()
        page.evaluate("document.getElementById('name').value = 'Ana'")
        assert open_approval(read_execution(known.id).state)

        page.evaluate("document.querySelector('button.approve').click()")
        page.wait("document.querySelector('.standing.approved')")

        text = page.evaluate("document.body.innerText")
        assert page.picture().startswith(b"\x89PNG")
    assert "Approved by link holder 'Ana'" in text
    assert page.console == []
    assert world.ended(known.id).status == "Succeeded"


@pytest.mark.long
def test_a_gateway_that_is_killed_loses_nothing_and_its_log_has_no_secret(
    world: Any, slack_server: Any, tmp_path: Path
) -> None:
    configure(world, slack_server, {"*": ApprovalPolicy(quorum=2)})
    slack_server.users = {"U01": ("Ana", "ana@example.com"), "U02": ("Bob", "bob@example.com")}
    log = tmp_path / "gateway.log"
    port = free_port()
    gateway = f"http://127.0.0.1:{port}"
    prepare_gateway(gateway)
    known = asking(world)
    ts = message_asking(slack_server)
    approve = slack_server.buttons(ts)["Approve"]

    with _served(port, log):
        first = decide_in_slack(gateway, slack_server, "U01", approve)
    hook = SecretStr("planted-secret-of-a-hook")
    GitConnection(url_template="https://github.com/{Repo}", webhook_secret=hook).save(slack_name(world))
    push = b'{"repository": "acme/shop", "branch": "main", "commit": "4f2a9c1d0b"}'
    signature = sign(hook, push)
    proofs = [
        {"X-Codepipeline-Token": hook.get_secret_value()},
        {"X-Codepipeline-Signature-256": signature},
        {},
    ]
    with _served(port, log):
        url = f"{gateway}/webhooks/{slack_name(world)}"
        pushed = [httpx.post(url, content=push, headers=proof, timeout=60).status_code for proof in proofs]
        refused = httpx.post(f"{gateway}/slack/interactions", content="payload=%7B%7D", timeout=60)
        second = decide_in_slack(gateway, slack_server, "U02", approve, "go")
        page = httpx.get(link_of_history(slack_server), timeout=60)
        becomes(slack_server, ts, "Approved by Ana (Slack), Bob (Slack)")

    Block.delete(f"slack-channel/{slack_name(world)}")
    GitConnection.delete(slack_name(world))
    assert pushed == [202, 202, 401]
    assert "Your approval counts" in str(first)
    assert refused.status_code == 401
    assert second == {"response_action": "clear"}
    assert "Approved by Ana (Slack), Bob (Slack)" in page.text
    assert world.ended(known.id).status == "Succeeded"
    text = log.read_text()
    assert "POST /slack/interactions 200" in text
    assert "POST /webhooks/{name} 202" in text
    home = Path(os.environ["PREFECT_CODEPIPELINE_HOME"])
    written = text + "".join(path.read_text(errors="replace") for path in (home / "logs").iterdir())
    token = known.state.stage("S1").action("Ok").request.token
    secrets = ["planted-secret", token, approve["value"], load_gateway().link_key.get_secret_value(), "v0="]
    secrets += [hook.get_secret_value(), signature]
    assert [secret for secret in secrets if secret in written] == []
    assert "Traceback" not in text


def test_up_starts_the_gateway_when_it_is_asked_to_and_ends_it(prefect_server: str) -> None:
    from prefect_codepipeline.deployments.local import embedded

    url = embedded.up(gateway=True).gateway_url
    try:
        assert url
        assert httpx.get(f"{url}/health").text == "ok\n"
        assert embedded.up().gateway_url == url, "it is kept"
    finally:
        assert embedded.up(gateway=False).gateway_url is None
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def link_of_history(slack: Any) -> str:
    found = re.search(r"http://[^'\"]+/approvals/[^'\"]+", str(slack.history))
    assert found
    return found[0]


@contextmanager
def _served(port: int, log: Path) -> Iterator[None]:
    """`codepipeline gateway` as a process, killed in the end."""
    command = [sys.executable, "-c", "from prefect_codepipeline.cli import main; main()"]
    with log.open("a") as output:
        process = subprocess.Popen(
            [*command, "gateway", "--port", str(port)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: _answers(port), 60)
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False
