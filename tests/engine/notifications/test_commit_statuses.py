"""Hosts are sent the newest of an execution, in their own way, by a token that goes nowhere else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from git_host_server import TOKEN, USERNAME, GitHostServer

from prefect_codepipeline.blocks.git_connection import GitConnection, api_address, name_on_host
from prefect_codepipeline.engine.executions import pause
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.notifications.commit_statuses import StatusSender
from prefect_codepipeline.engine.notifications.outbox import close_all
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ExecutionFinished,
    ExecutionPinned,
    StageEntered,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState

COMMIT = "c" * 40
RUN_URL = "/runs/flow-run/x"
HOSTS = {
    "github": "https://github.com/{FullRepositoryId}.git",
    "gitlab": "git@gitlab.com:{FullRepositoryId}.git",
    "gitea": "https://codeberg.org/{FullRepositoryId}.git",
    "bitbucket": "https://bitbucket.org/{FullRepositoryId}.git",
}


@pytest.fixture
def host() -> Iterator[GitHostServer]:
    server = GitHostServer()
    yield server
    server.stop()


@pytest.fixture
def save(prefect_server: str, host: GitHostServer) -> Callable[..., str]:
    """Make a connection whose API is the server; its name."""

    def connection(kind: str, **more: Any) -> str:
        fields = {"url_template": HOSTS[kind], "token": TOKEN, "api_url": f"{host.address}/{kind}", **more}
        name = f"statuses-{kind}"
        GitConnection(**fields).save(name, overwrite=True)
        return name

    return connection


def declare(connection: str, repository: str = "acme/site") -> PipelineDeclaration:
    source = {
        "name": "Src",
        "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"},
        "configuration": {"ConnectionArn": connection, "FullRepositoryId": "#{variables.repo}", "BranchName": "main"},
        "outputArtifacts": [{"name": "Source"}],
    }  # fmt: skip
    test = {
        "name": "Unit",
        "actionTypeId": {"category": "Test", "owner": "Custom", "provider": "P", "version": "1"},
    }
    return PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "pipelineType": "V2",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "variables": [{"name": "repo", "defaultValue": repository}],
            "stages": [{"name": "Source", "actions": [source]}, {"name": "Test", "actions": [test]}],
        }
    )


def standing(
    declaration: PipelineDeclaration, status: Any = None, repository: str = "acme/site"
) -> ExecutionState:
    now = utc_now()
    key: dict[str, Any] = {
        "at": now,
        "stage": "Source",
        "action": "Src",
        "attempt": 1,
        "action_execution_id": "i",
    }
    facts: list[Any] = [
        ExecutionPinned(
            at=now, pipeline_name="shop", pipeline_version=1, definition_id="d", variables={}, source_revisions={},
            trigger_type="StartPipelineExecution",
        ),
        StageEntered(at=now, stage="Source", attempt=1),
        ActionStarted(**key, resolved_configuration={"FullRepositoryId": repository}),
        ActionFinished(**key, status="Succeeded", source_revision=SourceRevision(revision_id=COMMIT)),
    ]  # fmt: skip
    if status:
        facts.append(ExecutionFinished(at=now, epoch=0, status=status, summary="it is over"))
    state = fold("x", declaration, facts)
    assert state
    return state


class Reports:
    """The status sender of one pipeline, and its warnings."""

    def __init__(self, declaration: PipelineDeclaration, caplog: pytest.LogCaptureFixture) -> None:
        self._declaration, self._caplog = declaration, caplog
        self._sender = StatusSender(declaration)

    def says(self, status: Any = None, **more: Any) -> None:
        state = standing(self._declaration, status, **more)
        self._sender.update(state)
        while self._is_due():
            time.sleep(0.005)

    def ends(self, seconds: float = 3) -> float:
        began = time.monotonic()
        close_all([self._sender], seconds)
        return time.monotonic() - began

    def _is_due(self) -> bool:
        with self._sender._changed:
            return any(due <= time.monotonic() for _, due in self._sender._waiting())

    @property
    def warnings(self) -> list[str]:
        return [r.getMessage() for r in self._caplog.records if r.levelno >= logging.WARNING]


@pytest.fixture
def sender(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reports]:
    monkeypatch.setattr(pause, "FIRST_SECONDS", 0.3)
    caplog.set_level(logging.DEBUG)
    return lambda connection, **more: Reports(declare(connection, **more), caplog)


@pytest.mark.parametrize(
    ("kind", "repository", "states"),
    [
        ("github", "acme/site", ["pending", "success"]),
        ("gitea", "acme/site", ["pending", "success"]),
        ("gitlab", "acme%2Fweb%2Fsite", ["running", "success"]),
        ("bitbucket", "acme/site", ["INPROGRESS", "SUCCESSFUL"]),
    ],
)
def test_each_host_is_asked_in_its_own_way(
    save: Any, sender: Any, host: GitHostServer, kind: str, repository: str, states: list[str]
) -> None:
    reports = sender(save(kind))
    named = repository.replace("%2F", "/")

    reports.says(repository=named)
    reports.says("Succeeded", repository=named)
    reports.ends()

    assert [(k, r, c, b["state"]) for k, r, c, b in host.statuses] == [
        (kind, repository, COMMIT, state) for state in states
    ]
    assert host.problems == []
    assert reports.warnings == []
    assert RUN_URL in str(host.statuses[-1])


def test_bitbuckets_app_password_goes_with_its_user(save: Any, sender: Any, host: GitHostServer) -> None:
    reports = sender(save("bitbucket", username=USERNAME))

    reports.says()

    assert [body["state"] for *_, body in host.statuses] == ["INPROGRESS"]


def test_a_status_that_was_sent_is_not_sent_again(save: Any, sender: Any, host: GitHostServer) -> None:
    reports = sender(save("github"))

    for _ in range(3):
        reports.says()
    reports.ends()

    assert len(host.statuses) == 1


def test_gitlabs_refusal_of_a_state_it_has_is_no_trouble(save: Any, sender: Any, host: GitHostServer) -> None:
    name = save("gitlab")
    for _ in range(2):  # as two processes of one execution
        reports = sender(name)
        reports.says()
        reports.ends()

    assert reports.warnings == []
    assert len(host.statuses) == 1
    assert host.attempts == 2


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_token_that_may_not_is_said_once(
    save: Any, sender: Any, host: GitHostServer, code: int, caplog: Any
) -> None:
    host.refuse(10, code)
    reports = sender(save("github"))

    reports.says()
    reports.says("Succeeded")
    reports.ends()

    (warning,) = reports.warnings
    assert "'statuses-github'" in warning
    assert "Commit statuses: Read and write" in warning
    assert host.attempts == 1
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("code", "headers"),
    [
        pytest.param(503, {}, id="away"),
        pytest.param(429, {"Retry-After": "1"}, id="limited"),
        pytest.param(403, {"x-ratelimit-remaining": "0"}, id="limited as GitHub says it"),
    ],
)
def test_what_passes_is_tried_again_and_the_newest_wins(
    save: Any, sender: Any, host: GitHostServer, code: int, headers: dict[str, str]
) -> None:
    host.refuse(2, code, **headers)
    reports = sender(save("github"))

    reports.says()
    reports.says("Failed")
    reports.ends()

    assert [body["state"] for *_, body in host.statuses] == ["failure"]
    assert len(reports.warnings) == 1


def test_a_host_that_stays_away_holds_nobody_up(
    save: Any, sender: Any, host: GitHostServer, caplog: Any
) -> None:
    host.stop()
    reports = sender(save("github"))

    reports.says()

    assert reports.ends(seconds=0.5) < 1.5
    assert TOKEN not in caplog.text


def test_the_token_does_not_follow_a_redirect(save: Any, sender: Any, host: GitHostServer) -> None:
    host.refuse(1, 307, Location=f"{host.address}/elsewhere")
    reports = sender(save("github"))

    reports.says()
    reports.ends()

    assert host.elsewhere == []
    assert host.attempts == 1
    assert "redirects are not followed" in reports.warnings[0]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"token": None}, id="no token"),
        pytest.param({"commit_statuses": False}, id="not wanted"),
        pytest.param(
            {"url_template": "https://git.example.com/{FullRepositoryId}"}, id="a host nobody knows"
        ),
        pytest.param({"api_url": None, "url_template": "/srv/github/{Repo}"}, id="a local repository"),
    ],
)
def test_no_status_is_sent(save: Any, sender: Any, host: GitHostServer, fields: dict[str, Any]) -> None:
    reports = sender(save("github", **fields))

    reports.says()
    reports.ends()

    assert host.attempts == 0
    assert reports.warnings == []


def test_a_token_that_fits_no_header_is_not_quoted(save: Any, sender: Any, caplog: Any) -> None:
    reports = sender(save("github", token=f"{TOKEN}\nX: y"))

    reports.says()
    reports.ends(0.2)

    assert TOKEN not in caplog.text
    assert "'statuses-github'" in reports.warnings[0]


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"url_template": "https://github.com/{FullRepositoryId}.git"}, "https://api.github.com"),
        ({"url_template": "git@github.com:{FullRepositoryId}.git"}, "https://api.github.com"),
        ({"url_template": "ssh://git@ssh.github.com:443/{FullRepositoryId}.git"}, "https://api.github.com"),
        ({"url_template": "https://github.acme.com/{FullRepositoryId}"}, "https://github.acme.com/api/v3"),
        ({"url_template": "https://gitlab.com/{FullRepositoryId}.git"}, "https://gitlab.com/api/v4"),
        ({"url_template": "ssh://git@gitlab.acme.com:2222/{FullRepositoryId}"}, "https://gitlab.acme.com/api/v4"),
        ({"url_template": "https://git.acme.com:8443/{Repo}", "host_kind": "gitlab"}, "https://git.acme.com:8443/api/v4"),
        ({"url_template": "http://localhost:3000/{FullRepositoryId}", "host_kind": "gitea"}, "http://localhost:3000/api/v1"),
        ({"url_template": "https://bitbucket.org/{FullRepositoryId}"}, "https://api.bitbucket.org/2.0"),
        ({"url_template": "https://bitbucket.acme.com/scm/{FullRepositoryId}"}, None),
        ({"url_template": "https://git.acme.com/{Repo}"}, None),
        ({"url_template": "/srv/{Repo}", "host_kind": "github"}, None),
        ({"url_template": "/srv/{Repo}", "api_url": "https://a.example/api/"}, "https://a.example/api"),
    ],
)  # fmt: skip
def test_where_the_api_lies(fields: dict[str, Any], address: str | None) -> None:
    assert api_address(GitConnection(**fields)) == address


@pytest.mark.parametrize(
    ("template", "repository", "name"),
    [
        ("https://github.com/{FullRepositoryId}.git", "acme/site", "acme/site"),
        ("https://github.com/acme/{Repo}.git", "acme/site", "acme/site"),
        ("https://github.com/acme/{RepositoryName}.git", "site", "acme/site"),
        ("https://git.acme.com/gitlab/{Owner}/{Repo}.git", "acme/web/site", "acme/web/site"),
        ("git@gitlab.com:acme/{Repo}.git", "site", "acme/site"),
        ("/srv/git/shop", "acme/site", "acme/site"),
    ],
)
def test_what_the_api_calls_a_repository(template: str, repository: str, name: str) -> None:
    assert name_on_host(GitConnection(url_template=template), repository) == name


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "ftp://x",
        "https://user:word@api.example.com",
        "https://a/?x=1",
        "api.example.com",
    ],
)
def test_an_address_that_would_give_the_token_away_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="API's URL"):
        GitConnection(url_template="https://github.com/{FullRepositoryId}", api_url=url)
