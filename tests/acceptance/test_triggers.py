"""From a push to a running execution, on a real server and worker."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.triggers.polling import poll_once
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live
ADA = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "a@b.c"}  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **ADA, "GIT_CONFIG_GLOBAL": os.devnull},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    return folder


def test_a_push_runs_the_pushed_commit_though_the_branch_has_moved_on(world: Any, repository: Path) -> None:
    GitConnection(url_template=str(repository)).save("shop-of-test", overwrite=True)
    declaration = world.declare([world.action("Test")])
    wire = declaration.to_wire()
    configuration = {"ConnectionArn": "shop-of-test", "FullRepositoryId": "acme/shop", "BranchName": "main"}
    wire["stages"][0]["actions"][0] |= {
        "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"},
        "configuration": configuration,
        "outputArtifacts": [{"name": "Source"}],
    }  # fmt: skip
    filters = {"sourceActionName": "Src", "push": [{"branches": {"includes": ["release/*"]}}]}
    wire["triggers"] = [{"providerType": "CodeStarSourceConnection", "gitConfiguration": filters}]
    deploy_pipeline(type(declaration).model_validate(wire))
    now = server_time()
    poll_once(now=now + timedelta(minutes=10))
    git(repository, "checkout", "--quiet", "-b", "release/1")
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "Release")
    pushed = git(repository, "rev-parse", "HEAD")

    (said,) = [each for each in poll_once(now=now + timedelta(minutes=11)) if world.name in each]
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "Later")

    (run,) = find_runs(world.name)
    assert run["id"] in said
    known = world.ended(run["id"])
    assert known.status == "Succeeded"
    assert known.state.pinned.trigger_type == "PollForSourceChanges"
    assert known.state.pinned.trigger_detail == f"branch release/1 at {pushed[:12]}"
    listed = world.cli("trigger", "list", "--limit", "1000").stdout
    assert (
        f"polling  push to branch 'release/1' of acme/shop at {pushed[:12]}: {world.name} started" in listed
    )
    assert known.state.source_revisions["Src"].revision_id == pushed


def test_a_deployed_pipelines_filters_can_be_tried_by_its_name(world: Any, tmp_path: Path) -> None:
    deploy_pipeline(world.declare([world.action("Test")]))
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"repository": "acme/shop", "commit": "a" * 40, "branch": "main"}))

    done = world.cli("trigger", "test", world.name, "--event", str(event))

    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [
        f"{world.name} does not start",
        "  it has no source action that reads a git repository",
    ]
