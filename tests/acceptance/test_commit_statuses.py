"""A commit shows how the pipeline fares with it: real runs from a real repository, a git host on loopback."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from git_host_server import TOKEN, GitHostServer
from prefect.states import Cancelled
from waiting import until

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.prefect_api.client import call_all, client

pytestmark = pytest.mark.live
WHO = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@b.c",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@b.c",
}
TOLD, CONNECTION = "acme/site", "site-of-statuses"


@pytest.fixture
def host() -> Iterator[GitHostServer]:
    server = GitHostServer()
    yield server
    server.stop()


@pytest.fixture
def declare(world: Any, host: GitHostServer, tmp_path: Path) -> Callable[..., Any]:
    """A pipeline that reads a repository through a connection whose API is the host."""
    folder = tmp_path / "site"
    folder.mkdir()
    for command in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        subprocess.run(["git", "-C", str(folder), *command], env={**os.environ, **WHO}, check=True)
    connection = GitConnection(
        url_template=str(folder), token=TOKEN, host_kind="github", api_url=f"{host.address}/github"
    )
    connection.save(CONNECTION, overwrite=True)

    def declared(*stages: Any, **more: Any) -> Any:
        declaration = world.declare(*stages, **more)
        wire = declaration.to_wire()
        wire["stages"][0]["actions"][0] |= {
            "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"},
            "configuration": {
                "ConnectionArn": CONNECTION, "FullRepositoryId": TOLD, "BranchName": "main",
                "DetectChanges": "false",
            },
            "outputArtifacts": [{"name": "Source"}],
        }  # fmt: skip
        return type(declaration).model_validate(wire)

    return declared


def test_a_commit_goes_from_pending_to_success(world: Any, declare: Any, host: GitHostServer) -> None:
    execution = world.start(declare([world.action("Test", SleepSeconds=1.5)]))

    known = world.ended(execution)

    commit = known.state.source_revisions["Src"].revision_id
    assert {(kind, name, sha) for kind, name, sha, _ in host.statuses} == {("github", TOLD, commit)}
    assert host.states()[0][0] == "pending"
    assert host.states()[-1] == ("success", "All 2 stages succeeded")
    last = host.statuses[-1][3]
    assert last["context"] == f"codepipeline/{world.name}"
    assert last["target_url"].endswith(f"/runs/flow-run/{execution}")
    assert host.problems == []


def test_a_failure_says_where(world: Any, declare: Any, host: GitHostServer, tmp_path: Path) -> None:
    world.ended(world.start(declare([world.action("Test", FailUnless=tmp_path / "nothing")])))

    assert host.states()[-1][0] == "failure"
    assert host.states()[-1][1].startswith("Failed in S1/Test")


def test_a_suspended_execution_says_what_it_waits_for_and_a_cancelled_one_that_it_is(
    world: Any, declare: Any, host: GitHostServer
) -> None:
    execution = world.start(declare([world.action("Ok", category="Approval")]))
    world.suspended(execution)
    # The process says so after it suspended the run, before it leaves.
    until(lambda: host.states()[-1:] == [("pending", "Waiting for approval S1/Ok")])

    client().set_flow_run_state(UUID(execution), Cancelled(), force=True)
    reconcile_once()

    assert host.states()[-1] == ("error", "Stopped by Prefect UI or API: cancelled in Prefect")


def test_a_token_that_may_not_is_said_in_the_runs_log_and_holds_nothing_up(
    world: Any, declare: Any, host: GitHostServer
) -> None:
    host.refuse(100, 403)

    known = world.ended(world.start(declare([world.action("Test")])))

    assert known.status == "Succeeded"
    assert host.attempts == 1
    # Prefect sends a run's log in batches, the last one after its end.
    said = world.wait(known.id, lambda _: warnings_of(known.id)) and warnings_of(known.id)
    assert len(said) == 1
    assert f"'{CONNECTION}'" in said[0]


def test_a_host_that_was_away_gets_the_end(world: Any, declare: Any, host: GitHostServer) -> None:
    host.refuse(2, 503)

    known = world.ended(world.start(declare([world.action("Test")])))

    assert known.status == "Succeeded"
    assert host.states()[-1][0] == "success"


def warnings_of(flow_run_id: str) -> list[str]:
    wanted = {"logs": {"flow_run_id": {"any_": [flow_run_id]}, "level": {"ge_": logging.WARNING}}}
    return [entry["message"] for entry in call_all("/logs/filter", wanted)]
