"""Webhooks over HTTP, on a real Prefect server: who is let in, what starts, and that nothing starts twice."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from pydantic import SecretStr
from serving import serving
from waiting import until

from prefect_codepipeline.actions.git.places import triggers_without_webhook
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.cli import app
from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.operations.projection import deployed_definitions
from prefect_codepipeline.engine.triggers.deliveries import (
    Definitions,
    abandon_delivery,
    find_endpoint,
    process_delivery,
    read_delivery,
    why_repeated,
)
from prefect_codepipeline.engine.triggers.polling import find_watched
from prefect_codepipeline.engine.triggers.webhook_inbox import drop_old, finish, finished, take, waiting
from prefect_codepipeline.engine.triggers.webhook_signatures import sign
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.serve import prepare_gateway
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.definition.execution_modes import MAX_EXECUTIONS_IN_FLIGHT
from prefect_codepipeline.model.triggers.webhook_delivery import TakenDelivery
from prefect_codepipeline.prefect_api.client import call, client

pytestmark = pytest.mark.live
SECRET = SecretStr("planted-secret-of-a-webhook")
DATA = Path(__file__).parent.parent.parent / "data" / "webhooks"
COMMIT = "4f2a9c1d0b8e7f6a5c4d3e2f1a0b9c8d7e6f5a4b"
CONNECTION = {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"}
SCRIPTED = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}


class Site:
    """A repository's connection, its pipelines, which nobody runs, and the gateway that is told of pushes."""

    def __init__(self, url: str, repository: Path, host: str | None = "github") -> None:
        self.url = url
        self.name = f"hook-{uuid4().hex[:8]}"
        self.repository = f"acme/{self.name}"
        self.pool = f"nobody-{uuid4().hex[:8]}"
        self.pipelines: list[str] = []
        self.began = utc_now()
        GitConnection(url_template=str(repository), webhook_secret=SECRET, host_kind=host).save(self.name)
        client().create_work_pool(WorkPoolCreate(name=self.pool, type="process"))

    def deploy(self, name: str = "", mode: str = "SUPERSEDED", **filters: Any) -> str:
        name = name or f"Hook.{uuid4().hex[:8]}"
        git = {"sourceActionName": "Src", **filters}
        source = {
            "name": "Src",
            "actionTypeId": CONNECTION,
            "configuration": {
                "ConnectionArn": self.name,
                "FullRepositoryId": self.repository,
                "BranchName": "main",
            },
            "outputArtifacts": [{"name": "Source"}],
        }
        wire = {
            "name": name,
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "pipelineType": "V2",
            "executionMode": mode,
            "stages": [
                {"name": "Source", "actions": [source]},
                {"name": "Test", "actions": [{"name": "Test", "actionTypeId": SCRIPTED}]},
            ],
            "triggers": [{"providerType": "CodeStarSourceConnection", "gitConfiguration": git}],
        }
        deploy_pipeline(PipelineDeclaration.model_validate(wire), self.pool)
        self.pipelines.append(name)
        return name

    def send(self, body: dict[str, Any] | bytes, path: str = "", **headers: str) -> httpx.Response:
        """A request of GitHub's, signed as it signs."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        signed = {
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": str(uuid4()),
            "X-Hub-Signature-256": sign(SECRET, content),
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        path = path or f"/webhooks/{self.name}"
        return httpx.post(f"{self.url}{path}", content=content, headers=signed, timeout=30)

    def push(self, ref: str = "refs/heads/main", after: str = COMMIT, **more: Any) -> dict[str, Any]:
        return {
            "ref": ref,
            "before": "0" * 40,
            "after": after,
            "repository": {"full_name": self.repository},
            **more,
        }

    def result(self, answer: httpx.Response) -> list[str]:
        """What came of a delivery that was taken, in words."""
        assert answer.status_code == 202, answer.text
        key = answer.json()["delivery"]

        def ends() -> list[Any]:
            if any(each.key == key for each in waiting()):
                return []
            return [each for each in finished(1000) if each.key == key]

        return [str(result) for result in until(ends)[0].results]

    def starts(self, pipeline: str) -> list[tuple[str, str, str]]:
        """Trigger type, trigger detail and commit of the executions, the first come first."""
        return [
            (
                run["labels"]["codepipeline.trigger-type"],
                run["labels"]["codepipeline.started-by"],
                run["parameters"]["source_revisions"]["Src"],
            )
            for run in reversed(find_runs(pipeline, limit=200))
        ]

    def remove(self) -> None:
        for name in self.pipelines:
            for run in find_runs(name, limit=200):
                call("DELETE", f"/flow_runs/{run['id']}", expected=(404,))
            delete_pipeline(name)
        GitConnection.delete(self.name)


@pytest.fixture(scope="module")
def gateway(prefect_server: str) -> Iterator[str]:
    with serving(create_app()) as url:
        yield url


@pytest.fixture
def make_site(gateway: str, repository: Any, git_cache: Any) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**more: Any) -> Site:
        made.append(Site(gateway, repository.path, **more))
        return made[-1]

    yield make
    for site in made:
        site.remove()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def test_a_push_starts_each_pipeline_that_asks_for_it_with_the_pushed_commit(site: Site) -> None:
    first, second = site.deploy(), site.deploy(push=[{"branches": {"includes": ["main"]}}])
    other = site.deploy(push=[{"branches": {"includes": ["release/*"]}}])

    said = site.result(site.send(site.push()))

    assert site.starts(first) == site.starts(second) == [("WebhookV2", site.name, COMMIT)]
    assert site.starts(other) == []
    what = f"push to branch 'main' of {site.repository} at {COMMIT[:12]}"
    assert sorted(each.partition(", execution")[0] for each in said) == sorted(
        [
            f"{what}: {first} started",
            f"{what}: {second} started",
            f"{what}: {other} does not start: branch 'main' does not match 'release/*'",
        ]
    )


@pytest.mark.parametrize(
    ("event", "file"), [("OPEN", "opened"), ("UPDATED", "synchronize"), ("CLOSED", "closed")]
)
def test_a_pull_request_starts_what_asks_for_it(site: Site, event: str, file: str) -> None:
    body = _pull_request(site, file, of=site.repository)
    name = site.deploy(pullRequest=[{"events": [event]}])

    site.result(site.send(body, X_GitHub_Event="pull_request"))

    assert site.starts(name) == [("WebhookV2", site.name, body["pull_request"]["head"]["sha"])]


def _pull_request(site: Site, file: str, of: str | None) -> dict[str, Any]:
    """A pull request as GitHub sends it, from the repository `of`; None: that repository was deleted."""
    body: dict[str, Any] = json.loads((DATA / f"github-pr-{file}.json").read_text())
    body["repository"]["full_name"] = body["pull_request"]["base"]["repo"]["full_name"] = site.repository
    body["pull_request"]["head"]["repo"] = {"full_name": of} if of else None
    return body


def test_a_pull_request_of_a_fork_starts_nothing_until_a_person_allows_it(
    site: Site, slack_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    never, asks, always = (site.deploy(pullRequest=[{"events": ["OPEN"]}]) for _ in range(3))
    SlackChannel(bot_token=slack_server.token, channel="C0TEST", api_url=slack_server.url).save(site.name)
    save_settings(asks, PipelineSettings(pull_requests_of_forks="ask", slack_channel=site.name))
    save_settings(always, PipelineSettings(pull_requests_of_forks="always"))
    body = _pull_request(site, "opened", of="evil/site")
    commit = body["pull_request"]["head"]["sha"]

    answer = site.send(body, X_GitHub_Event="pull_request")
    said = {each.split(": ")[1].split(" ")[0]: each for each in site.result(answer)}

    assert all(f"of the fork evil/site to 'master' of {site.repository}" in each for each in said.values())
    assert site.starts(never) == site.starts(asks) == []
    assert "does not start: a pull request of the fork evil/site starts nothing" in said[never]
    assert f"{asks} waits: " in said[asks]
    assert site.starts(always) == [("WebhookV2", site.name, commit)]

    delivery = answer.json()["delivery"][:12]
    (told,) = until(lambda: list(slack_server.messages.values()))
    assert f"of the fork evil/site to 'master' of {site.repository}" in told["text"]
    assert ", by Codertocat. " in told["text"]
    assert f"`codepipeline trigger allow {delivery}`" in told["text"]
    SlackChannel.delete(site.name)
    listed = _cli(capsys, "trigger", "list", "--limit", "1000")
    assert f"allows it: codepipeline trigger allow {delivery}" in listed
    with pytest.raises(CodePipelineError, match="repeat the command with --yes"):
        _cli(capsys, "trigger", "allow", delivery)
    assert site.starts(asks) == []
    shown = _cli(capsys, "trigger", "allow", delivery, "--yes")
    assert "of the fork evil/site" in shown
    assert f"Src reads {commit}" in shown
    assert "author Codertocat" in shown
    assert site.starts(asks) == [("WebhookV2", site.name, commit)]
    assert ", allowed by " in next(
        each for each in _cli(capsys, "trigger", "list").splitlines() if asks in each
    )
    with pytest.raises(CodePipelineError, match=f"no start waits under '{delivery}'"):
        _cli(capsys, "trigger", "allow", delivery, "--yes")
    gone = site.result(site.send(_pull_request(site, "opened", of=None), X_GitHub_Event="pull_request"))
    assert any("a pull request of a repository that is not known starts nothing" in each for each in gone), (
        "a fork that was deleted"
    )
    assert site.starts(never) == []


def _cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    app(list(arguments), result_action="return_value")
    return capsys.readouterr().out


def test_the_same_delivery_starts_nothing_twice_whatever_id_it_bears(site: Site) -> None:
    name = site.deploy()
    body = site.push()

    site.result(site.send(body, X_GitHub_Delivery="one"))
    again = site.result(site.send(body, X_GitHub_Delivery="one"))
    overheard = site.result(site.send(body, X_GitHub_Delivery="two"))

    assert len(site.starts(name)) == 1
    assert again == overheard, "the second names the execution that the first started"
    site.result(site.send(site.push(after="b" * 40)))
    assert [commit for _, _, commit in site.starts(name)] == [COMMIT, "b" * 40]


def test_the_endpoint_of_a_pipeline_starts_that_one_alone(site: Site) -> None:
    name, other = site.deploy(), site.deploy()

    site.result(site.send(site.push(), f"/webhooks/{name}"))

    assert len(site.starts(name)) == 1
    assert site.starts(other) == []


@pytest.mark.long
def test_an_overheard_delivery_starts_no_other_pipeline_at_another_endpoint(site: Site) -> None:
    name, other = site.deploy(), site.deploy()
    sent = site.send(site.push(), f"/webhooks/{name}", X_GitHub_Delivery="overheard")
    site.result(sent)

    again = site.send(site.push(), f"/webhooks/{other}", X_GitHub_Delivery="overheard")
    also = site.send(site.push(), X_GitHub_Delivery="overheard")

    assert again.json()["delivery"] == also.json()["delivery"] == sent.json()["delivery"]
    site.result(again)
    assert len(site.starts(name)) == 1
    assert site.starts(other) == []
    site.result(site.send(site.push(), f"/webhooks/{other}", X_GitHub_Delivery="the host's own"))
    assert len(site.starts(other)) == 1, "the host sends each endpoint a delivery of its own"


@pytest.mark.long
def test_an_overheard_delivery_starts_nothing_a_day_later_under_another_id(site: Site) -> None:
    name = site.deploy()
    first = _take(site, name, "overheard")
    assert [each.pipeline for each in process_delivery(first, Definitions()).results] == [name]
    finish(first, process_delivery(first, Definitions()))
    other = site.deploy()

    day = timedelta(days=1)
    for replayed in (
        _take(site, other, "of the attacker", later=day),
        _take(site, site.name, "overheard", later=day),
        _take(site, site.name, "after the end of the month", later=28 * day),
    ):
        assert f"by /webhooks/{name}; it starts nothing once more" in why_repeated(replayed)
    at_once = _take(site, other, "the host's own", later=timedelta(minutes=1))
    assert why_repeated(at_once) == "", "the host sends it to both endpoints"
    again = _take(site, name, "again", later=day, after="b" * 40)
    assert why_repeated(again) == "", "another push"


def test_what_was_refused_can_be_sent_again_a_day_later(site: Site) -> None:
    name = site.deploy()
    first = _take(site, name, "one")
    assert why_repeated(first) == ""
    finish(first, abandon_delivery(first, "the host does not answer"))

    assert why_repeated(_take(site, name, "one", later=timedelta(days=1))) == ""
    assert why_repeated(_take(site, site.name, "one", later=timedelta(days=1)))


def _take(
    site: Site, endpoint: str, delivery: str, later: timedelta = timedelta(), after: str = COMMIT
) -> TakenDelivery:
    """A push as it comes in at that endpoint, that long after the test began."""
    body = json.dumps(site.push(after=after)).encode()
    headers = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": sign(SECRET, body),
    }
    found = find_endpoint(endpoint)
    assert found
    taken = read_delivery(found, headers, body, site.began + later)
    assert isinstance(taken, TakenDelivery)
    why_repeated(taken)
    return taken


def test_what_is_older_than_a_month_is_kept_no_longer(site: Site) -> None:
    now = datetime(2020, 5, 31, 12, tzinfo=timezone.utc)
    days = [now - timedelta(days=days) for days in (31, 30, 0)]
    taken = [
        TakenDelivery(key=f"{at:%d}", token="t", at=at, endpoint=site.name, connections=(), events=())
        for at in days
    ]
    assert [take(each) for each in taken] == [True, True, True]

    drop_old(now)

    assert [take(each) for each in taken] == [True, False, False], "only the first is not known any more"
    drop_old(now + timedelta(days=100))


def test_who_asks_for_pull_requests_learns_when_no_webhook_reports_them(site: Site) -> None:
    name = site.deploy(pullRequest=[{"events": ["OPEN"]}])
    declaration = newest_version(name)[1].masked()

    assert triggers_without_webhook(declaration) == []
    GitConnection(url_template="https://github.com/{FullRepositoryId}.git").save(site.name, overwrite=True)
    (said,) = triggers_without_webhook(declaration)
    assert f"codepipeline connection pushes {site.name}" in said


def test_changed_files_are_read_from_git_where_the_host_does_not_list_them(
    site: Site, repository: Any
) -> None:
    docs = site.deploy(push=[{"filePaths": {"includes": ["docs/**"]}}])
    code = site.deploy(push=[{"filePaths": {"includes": ["src/**"]}}])
    before = repository.commit(**{"a": "1"})
    after = repository.commit(**{"src/a": "1"})

    site.result(site.send(site.push(before=before, after=after)))

    assert site.starts(docs) == []
    assert [commit for _, _, commit in site.starts(code)] == [after]


def test_pushes_of_one_repository_start_in_their_order(site: Site) -> None:
    name = site.deploy()
    commits = [f"{number:040x}" for number in range(1, 9)]

    for answer in [site.send(site.push(after=commit)) for commit in commits]:
        site.result(answer)

    assert [commit for _, _, commit in site.starts(name)] == commits


@pytest.mark.long
def test_what_the_limit_refuses_is_recorded_and_can_be_sent_again(site: Site) -> None:
    name = site.deploy(mode="PARALLEL")
    for _ in range(MAX_EXECUTIONS_IN_FLIGHT - 2):
        start_pipeline_execution(name, {}, {}, "tester")
    commits = [f"{number:040x}" for number in range(1, 4)]
    answers = [site.send(site.push(after=commit), X_GitHub_Delivery=commit) for commit in commits]

    said = [site.result(answer)[0] for answer in answers]

    assert ["started, execution" in each for each in said] == [True, True, False]
    assert f"{name} was not started" in said[-1]
    assert "50" in said[-1]
    for run in find_runs(name, limit=2):
        call("DELETE", f"/flow_runs/{run['id']}")
    (again,) = site.result(site.send(site.push(after=commits[-1]), X_GitHub_Delivery=commits[-1]))
    assert "started, execution" in again


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "text"),
    [
        ("/webhooks/nobody-s", {}, None, 404, "No connection or pipeline of that name accepts webhooks."),
        ("/webhooks/a%2fb", {}, None, 404, ""),
        ("/webhooks/", {}, None, 404, ""),
        ("", {"X-Hub-Signature-256": "sha256=" + "0" * 64}, None, 401, "does not match its body"),
        ("", {"X-Hub-Signature-256": ""}, None, 401, "X-Hub-Signature-256"),
        ("", {}, b"", 400, "payload"),
        ("", {}, b"[]", 400, "payload"),
        ("", {}, b'{"ref": 1}', 400, "ref"),
    ],
)
def test_what_is_not_right_is_refused_and_starts_nothing(
    site: Site, path: str, headers: dict[str, str], body: bytes | None, status: int, text: str
) -> None:
    name = site.deploy()
    before = len(finished(1000))

    answer = site.send(body if body is not None else site.push(), path, **headers)

    assert answer.status_code == status
    assert text in answer.text
    assert SECRET.get_secret_value() not in answer.text
    assert site.starts(name) == []
    assert len(finished(1000)) == before
    assert waiting() == []


def test_a_host_without_a_secret_of_its_own_is_let_in_by_nothing(gateway: str, site: Site) -> None:
    GitConnection(url_template="https://github.com/{FullRepositoryId}.git").save(f"{site.name}-open")

    answer = site.send(site.push(), f"/webhooks/{site.name}-open")

    GitConnection.delete(f"{site.name}-open")
    assert answer.status_code == 404


def test_a_body_that_is_too_large_is_not_read(site: Site) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(26):
            yield b" " * 1_000_000

    sent = httpx.post(f"{site.url}/webhooks/{site.name}", content=drip(), timeout=60)
    declared = site.send(b" " * 25_000_001)

    assert (sent.status_code, declared.status_code) == (413, 413)


def test_slow_large_bodies_of_two_addresses_delay_no_other(site: Site) -> None:
    with ExitStack() as stack:
        slow = [
            stack.enter_context(_begin_large(site, f"198.51.100.{number % 2 + 1}")) for number in range(8)
        ]
        assert all(each.recv(1000).startswith(b"HTTP/1.1 100") for each in slow), "all eight are being read"
        began = time.monotonic()

        answer = site.send(site.push(padding="x" * 600_000), X_Forwarded_For="203.0.113.7")

        assert answer.status_code == 202, answer.text
        assert time.monotonic() - began < 6
        (made_room,) = select.select(slow, [], [], 5)[0]
        assert made_room.recv(12) == b"HTTP/1.1 429"


def test_a_large_body_for_an_unknown_name_is_not_read(site: Site) -> None:
    with _begin_large(site, "198.51.100.3", "nobody-s") as slow:
        assert slow.recv(12) == b"HTTP/1.1 404"


def test_a_delivery_comes_through_a_tunnel_only_under_the_gateways_own_name(site: Site) -> None:
    earlier = prepare_gateway(None).url
    with serving(create_app()) as site.url:
        prepare_gateway("https://hooks.example.com")
        own = site.send(site.push(), Host="hooks.example.com")
        foreign = site.send(site.push(), Host="evil.example")
        prepare_gateway(earlier or site.url)

        assert (own.status_code, foreign.status_code) == (202, 421)
        site.result(own)


def test_a_sender_that_hangs_up_in_the_middle_is_no_error(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    with _begin_large(site, "198.51.100.4") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")

    (line,) = until(lambda: [each for each in caplog.messages if each.startswith("POST")])
    assert " 499 " in line
    assert [each.getMessage() for each in caplog.records if each.exc_info] == []


@contextmanager
def _begin_large(site: Site, address: str, name: str = "") -> Iterator[socket.socket]:
    """A request from that address whose body never comes. `100 Continue` says that the gateway reads it."""
    url = httpx.URL(site.url)
    head = f"POST /webhooks/{name or site.name} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {address}\r\n"
    with socket.create_connection((url.host, url.port or 0)) as connection:
        connection.settimeout(5)
        connection.sendall(f"{head}Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n".encode())
        yield connection


def test_our_own_form_needs_no_git_host(site: Site) -> None:
    name = site.deploy()
    event = {"repository": site.repository, "commit": COMMIT, "branch": "main"}
    token = {"X-Codepipeline-Token": SECRET.get_secret_value()}

    answer = httpx.post(f"{site.url}/webhooks/{site.name}", json=event, headers=token, timeout=30)

    site.result(answer)
    assert site.starts(name) == [("WebhookV2", site.name, COMMIT)]


def test_an_annotated_tag_in_our_own_form_is_its_commit(site: Site, repository: Any) -> None:
    name = site.deploy(push=[{"tags": {"includes": ["v*"]}}])
    repository.git("tag", "-a", "v1", "-m", "The first")
    event = {"repository": site.repository, "commit": repository.git("rev-parse", "v1"), "tag": "v1"}
    token = {"X-Codepipeline-Token": SECRET.get_secret_value()}

    (said,) = site.result(httpx.post(f"{site.url}/webhooks/{site.name}", json=event, headers=token))

    commit = repository.git("rev-parse", "HEAD")
    assert said.startswith(f"push of tag 'v1' of {site.repository} at {commit[:12]}: {name} started")
    assert site.starts(name) == [("WebhookV2", site.name, commit)]


def test_a_ping_is_answered_and_kept_nowhere(site: Site) -> None:
    body = (DATA / "github-ping.json").read_bytes()

    answer = site.send(body, X_GitHub_Event="ping")

    assert (answer.status_code, answer.json()) == (200, {"ignored": "a ping: the webhook is set up"})


def test_a_connection_with_a_webhook_is_not_asked_each_minute(site: Site, repository: Any) -> None:
    site.deploy()

    def watched() -> bool:
        return any(
            str(repository.path) in each.access.url for each in find_watched(deployed_definitions(), True)[0]
        )

    assert not watched()
    GitConnection(url_template=str(repository.path)).save(site.name, overwrite=True)
    assert watched()


def test_what_a_gateway_left_behind_is_dealt_with_by_the_next(
    make_site: Callable[..., Site], prefect_server: str
) -> None:
    site = make_site()
    name = site.deploy()
    app = create_app()  # without its threads: it answers, and dies before it does anything more
    body = json.dumps(site.push()).encode()
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": sign(SECRET, body)}

    answer = _ask(app, f"/webhooks/{site.name}", body, headers)
    assert answer.status_code == 202
    assert site.starts(name) == []

    with serving(create_app()):
        site.result(answer)
    assert site.starts(name) == [("WebhookV2", site.name, COMMIT)]


@pytest.mark.long
def test_while_prefect_is_away_the_host_learns_so_and_nothing_that_was_taken_is_lost(site: Site) -> None:
    name = site.deploy()
    server = json.loads((Path(os.environ["PREFECT_CODEPIPELINE_HOME"]) / "state.json").read_text())["server"][
        "pid"
    ]
    bodies = [site.push(after=f"{number:040x}") for number in (1, 2)]

    taken = site.send(bodies[0])
    os.kill(server, signal.SIGSTOP)
    try:
        began = time.monotonic()
        refused = site.send(bodies[1])
        took = time.monotonic() - began
    finally:
        os.kill(server, signal.SIGCONT)
    site.result(taken)
    site.result(site.send(bodies[1]))

    assert (taken.status_code, refused.status_code) == (202, 503)
    assert refused.headers["retry-after"] == "60"
    assert took < 10, "GitHub waits no longer"
    assert [commit for _, _, commit in site.starts(name)] == [body["after"] for body in bodies]


def _ask(app: Any, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    import asyncio

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(path, content=body, headers=headers)

    return asyncio.run(answer())
