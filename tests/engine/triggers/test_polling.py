"""Polling on a real Prefect server and real repositories: who is started, by what, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.actions import WorkPoolCreate

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.triggers.polling import poll_once
from prefect_codepipeline.engine.triggers.webhook_inbox import finished
from prefect_codepipeline.flows.poll import poll
from prefect_codepipeline.model.definition.action_settings import ActionOverride
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.prefect_api.client import call, client

pytestmark = pytest.mark.live
CONNECTION = {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"}
CODECOMMIT = {"category": "Source", "owner": "AWS", "provider": "CodeCommit", "version": "1"}


class Polled:
    """Pipelines of one test, whose executions nobody runs, and a clock that moves on by a minute with each look."""

    def __init__(self, repository: Any, url: str) -> None:
        self.repository = repository
        self.url = url.partition("{")[0]
        self.connection = f"polled-{uuid4().hex[:8]}"
        self.pool = f"nobody-{uuid4().hex[:8]}"
        self.now = datetime.now(timezone.utc)
        self.names: list[str] = []
        GitConnection(url_template=url).save(self.connection)
        client().create_work_pool(WorkPoolCreate(name=self.pool, type="process"))

    def source(self, branch: str = "main", repository: str = "app", **more: str) -> dict[str, Any]:
        configuration = {"FullRepositoryId": f"acme/{repository}", "BranchName": branch, **more}
        return {
            "name": "Src",
            "actionTypeId": CONNECTION,
            "configuration": {"ConnectionArn": self.connection, **configuration},
            "outputArtifacts": [{"name": "Source"}],
        }

    def deploy(self, *push: dict[str, Any], source: dict[str, Any] | None = None, **more: Any) -> str:
        """A pipeline with these push filters; without any, the source's own detection counts."""
        name = f"Poll.{uuid4().hex[:8]}"
        git = {"sourceActionName": "Src", "push": list(push)}
        triggers = [{"providerType": "CodeStarSourceConnection", "gitConfiguration": git}]
        scripted = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
        wire = {
            "name": name,
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "pipelineType": "V2",
            "stages": [
                {"name": "Source", "actions": [source or self.source()]},
                {"name": "Test", "actions": [{"name": "Test", "actionTypeId": scripted}]},
            ],
            **({"triggers": triggers} if push else {}),
            **more,
        }
        deploy_pipeline(PipelineDeclaration.model_validate(wire), self.pool)
        self.names.append(name)
        return name

    def look(self, minutes: int = 1, **options: Any) -> list[str]:
        """What is said of this test's own; other tests of the session may have left pipelines behind."""
        self.now += timedelta(minutes=minutes)
        own = (*self.names, str(self.repository.path), self.url)
        return [said for said in poll_once(now=self.now, **options) if any(each in said for each in own)]

    def starts(self, name: str) -> list[tuple[str, str, dict[str, str]]]:
        """Trigger type, trigger detail and source revisions of the executions, first come first."""
        return [
            (
                run["labels"].get("codepipeline.trigger-type"),
                run["labels"]["codepipeline.started-by"],
                run["parameters"]["source_revisions"],
            )
            for run in reversed(find_runs(name))
        ]

    def commits(self, name: str) -> list[str]:
        return [revisions["Src"] for _, _, revisions in self.starts(name)]

    def state(self) -> dict[str, Any]:
        """The block that keeps what was seen of the repository."""
        body = {"block_types": {"slug": {"any_": ["git-poll-state"]}}}
        _, documents = call("POST", "/block_documents/filter", body)
        found: dict[str, Any] = next(
            each for each in documents if str(self.repository.path) in each["data"]["url"]
        )
        return found

    def remove(self) -> None:
        for name in self.names:
            _, deployment = call("GET", f"/deployments/name/pipeline/{name}")
            call("DELETE", f"/deployments/{deployment['id']}")
            call("DELETE", f"/block_documents/{_block('pipeline-definition', name)}")
        client().delete_work_pool(self.pool)


def _block(kind: str, pipeline: str) -> str:
    body = {"block_types": {"slug": {"any_": [kind]}}, "include_secrets": False, "limit": 200}
    _, documents = call("POST", "/block_documents/filter", body)
    return str(next(each["id"] for each in documents if each["data"].get("pipeline_name") == pipeline))


@pytest.fixture
def make_polled(prefect_server: str, git_cache: Any) -> Iterator[Callable[..., Polled]]:
    made: list[Polled] = []

    def make(repository: Any, url: str = "") -> Polled:
        made.append(Polled(repository, url or str(repository.path.parent / "{Repo}")))
        return made[-1]

    yield make
    for each in made:
        each.remove()


@pytest.fixture
def polled(make_polled: Callable[..., Polled], repository: Any) -> Polled:
    return make_polled(repository)


def test_a_push_starts_each_pipeline_that_reads_the_branch_with_the_pushed_commit(polled: Polled) -> None:
    first, second = polled.deploy(), polled.deploy()
    other = polled.deploy(source=polled.source("dev"))
    assert polled.look() == []  # what is there already is nothing new
    commit = polled.repository.commit(a="1")

    said = polled.look()

    detail = f"branch main at {commit[:12]}"
    assert polled.starts(first) == [("PollForSourceChanges", detail, {"Src": commit})]
    listed = [
        str(each) for found in finished(1000) for each in found.results if each.pipeline in polled.names
    ]
    what = f"push to branch 'main' of acme/app at {commit[:12]}"
    assert sorted(each.partition(", execution")[0] for each in listed) == sorted(
        [
            f"{what}: {first} started",
            f"{what}: {second} started",
            f"{what}: {other} does not start: its branch is 'dev'",
        ]
    )
    assert polled.commits(second) == [commit]
    assert polled.commits(other) == []
    assert len(said) == 2
    assert f"pipeline {first!r}: execution " in said[0] + said[1]
    assert polled.look() == []
    assert polled.commits(first) == [commit]


def test_an_annotated_tag_is_shown_by_its_commit(polled: Polled) -> None:
    name = polled.deploy({"tags": {"includes": ["v*"]}})
    polled.look()
    polled.repository.git("tag", "-a", "v1", "-m", "The first")
    commit = polled.repository.git("rev-parse", "HEAD")

    (said,) = polled.look()

    assert f"push of tag 'v1' of acme/app at {commit[:12]}" in said
    assert polled.starts(name) == [("PollForSourceChanges", f"tag v1 at {commit[:12]}", {"Src": commit})]


def test_a_repository_is_asked_once_a_minute_however_many_read_it(
    make_polled: Callable[..., Polled], repository: Any, git_host: Any
) -> None:
    polled = make_polled(repository, f"{git_host.url}/{{Repo}}/.git")
    polled.deploy()
    polled.look()
    for_one = git_host.sent_bytes
    for _ in range(3):
        polled.deploy()

    with ThreadPoolExecutor(4) as pool:
        polled.now += timedelta(minutes=1)
        list(pool.map(lambda _: polled.look(0), range(4)))

    assert for_one > 0
    assert git_host.sent_bytes == 2 * for_one


def test_filters_decide_by_files_that_are_read_from_git(polled: Polled) -> None:
    name = polled.deploy({"branches": {"includes": ["main"]}, "filePaths": {"includes": ["src/**"]}})
    polled.look()
    polled.repository.commit(**{"docs/a": "1"})
    polled.look()
    assert polled.commits(name) == []

    polled.repository.commit(**{"src/a": "1"})
    last = polled.repository.commit(**{"docs/b": "1"})
    polled.look()

    assert polled.commits(name) == [last]


def test_a_tag_starts_with_the_commit_it_leads_to(polled: Polled) -> None:
    name = polled.deploy({"tags": {"includes": ["v*"]}})
    polled.look()
    commit = polled.repository.git("rev-parse", "HEAD")
    polled.repository.git("tag", "-a", "-m", "Release", "v1")
    polled.repository.git("tag", "other")

    polled.look()

    assert polled.commits(name) == [commit]


def test_new_branches_start_and_those_that_go_do_not(polled: Polled) -> None:
    name = polled.deploy({"branches": {"includes": ["feature/**"]}})
    polled.look()
    polled.repository.git("branch", "feature/a/b")
    polled.look()
    polled.repository.git("branch", "-D", "feature/a/b")
    polled.look()

    assert polled.commits(name) == [polled.repository.git("rev-parse", "HEAD")]


def test_a_change_that_is_found_again_after_a_crash_starts_nothing_twice(polled: Polled) -> None:
    name = polled.deploy()
    polled.look()
    before = polled.state()
    first = polled.repository.commit(a="1")
    polled.look()
    # The process died before it could write down what it had seen.
    call("PATCH", f"/block_documents/{before['id']}", {"data": before["data"]})

    polled.look()

    assert polled.commits(name) == [first]


def test_the_same_push_a_second_time_starts_again(polled: Polled) -> None:
    name = polled.deploy()
    polled.look()
    commit = polled.repository.commit(a="1")
    polled.look()
    polled.repository.git("reset", "-q", "--hard", "HEAD~1")
    polled.look()
    polled.repository.git("reset", "-q", "--hard", commit)
    polled.look()

    found = polled.commits(name)
    assert (len(found), found[0], found[2]) == (3, commit, commit)


def test_one_repository_that_cannot_be_read_holds_up_no_other(polled: Polled) -> None:
    gone = polled.deploy(source=polled.source(repository="gone"))
    missing = polled.deploy(source=polled.source(ConnectionArn="nowhere"))
    name = polled.deploy()
    polled.look()
    commit = polled.repository.commit(a="1")

    said = polled.look()

    assert polled.commits(name) == [commit]
    assert any("/gone: there is no repository" in each for each in said)
    assert any(
        f"{missing!r}: source action 'Src' is not polled: there is no GitConnection" in each for each in said
    )
    assert polled.commits(gone) == []


def test_a_start_that_is_refused_is_said_with_the_reason(polled: Polled) -> None:
    name = polled.deploy(variables=[{"name": "Place"}])
    polled.look()
    polled.repository.commit(a="1")

    (said,) = polled.look()

    assert f"pipeline {name!r} was not started: " in said
    assert "variable 'Place' has no default" in said
    assert "for the push to branch 'main' of acme/app at " in said


@pytest.mark.long
def test_codecommit_is_polled_unless_it_says_otherwise(polled: Polled, save_codecommit: None) -> None:
    def source(**more: str) -> dict[str, Any]:
        configuration = {"RepositoryName": "app", "BranchName": "main", **more}
        return {**polled.source(), "actionTypeId": CODECOMMIT, "configuration": configuration}

    name, quiet = polled.deploy(source=source()), polled.deploy(source=source(PollForSourceChanges="false"))
    set_on = polled.deploy(source=source(PollForSourceChanges="false"))
    save_settings(set_on, PipelineSettings(overrides={"Source": ActionOverride(poll=True)}))
    polled.look()
    commit = polled.repository.commit(a="1")
    polled.look(connections=False)

    assert polled.starts(name) == [("PollForSourceChanges", f"branch main at {commit[:12]}", {"Src": commit})]
    assert polled.commits(quiet) == []
    assert polled.starts(set_on) == polled.starts(name)


@pytest.fixture
def save_codecommit(polled: Polled) -> Iterator[None]:
    GitConnection(url_template=str(polled.repository.path.parent / "{RepositoryName}")).save("codecommit")
    yield
    _, document = call("GET", "/block_types/slug/git-connection/block_documents/name/codecommit")
    client().delete_block_document(document["id"])


def test_where_webhooks_tell_of_pushes_connections_are_not_polled(polled: Polled) -> None:
    name = polled.deploy()
    polled.look(connections=False)
    polled.repository.commit(a="1")
    polled.look(connections=False)

    assert polled.commits(name) == []


def test_the_flow_says_what_it_started(polled: Polled) -> None:
    name = polled.deploy()
    polled.look(-3)
    polled.repository.commit(a="1")

    state = poll(return_state=True)

    assert f"pipeline {name!r}: execution " in str(state.message)
    assert len(polled.commits(name)) == 1


def test_claims_of_minutes_that_are_past_are_removed(polled: Polled) -> None:
    polled.deploy()
    for _ in range(4):
        polled.look()

    _, claims = call("POST", "/variables/filter", {"variables": {"name": {"like_": "codepipeline-poll-%"}}})
    own = int(polled.now.timestamp()) // 60  # the clocks of other tests may be ahead
    minutes = {claim["value"] for claim in claims if claim["value"] <= own}
    assert max(minutes) - min(minutes) <= 1
