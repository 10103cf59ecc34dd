"""Polling of objects in S3, on a real Prefect server and moto's S3: what starts, with which version, and how often."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from faulty_endpoint import Fault, FaultyEndpoint, refusal
from prefect.client.schemas.actions import WorkPoolCreate

from prefect_codepipeline.blocks.git_poll_state import GitPollState
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.triggers.object_polling import STATE_BLOCK
from prefect_codepipeline.engine.triggers.polling import poll_once
from prefect_codepipeline.model.definition.action_settings import ActionOverride
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.prefect_api.block_documents import find_block, save_block
from prefect_codepipeline.prefect_api.client import call, client

pytestmark = pytest.mark.live
S3 = {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"}
ECR = {**S3, "provider": "ECR"}
SCRIPTED = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
_HOURS = count(1)


class PolledObjects:
    """Pipelines of one test, whose executions have no worker, and a clock that moves on by a minute with each poll.

    Pipelines of other tests are polled too: a reconcile that still runs deploys them again after they were removed.
    """

    def __init__(self, aws: Callable[[str], Any], bucket: str) -> None:
        self.s3, self.bucket = aws("s3"), bucket
        self.pool = f"nobody-{uuid4().hex[:8]}"
        # All objects share one claim for each minute: each test has hours of its own.
        self.now = datetime.now(timezone.utc) + timedelta(hours=next(_HOURS))
        self.names: list[str] = []
        client().create_work_pool(WorkPoolCreate(name=self.pool, type="process"))

    def deploy(self, key: str = "app.zip", *, poll: bool | None = None, **more: str) -> str:
        given = {"S3Bucket": self.bucket, "S3ObjectKey": key}
        return self.deploy_source(S3, {**given, **more}, poll)

    def deploy_source(
        self, kind: dict[str, str], configuration: dict[str, str], poll: bool | None = None
    ) -> str:
        name = f"Poll.{uuid4().hex[:8]}"
        if poll is not None:
            overrides = {"Source/Src": ActionOverride(poll=poll)}
            save_settings(name, PipelineSettings(overrides=overrides))
        source = {
            "name": "Src",
            "actionTypeId": kind,
            "configuration": configuration,
            "outputArtifacts": [{"name": "Source"}],
        }
        wire = {
            "name": name,
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "pipelineType": "V2",
            "stages": [
                {"name": "Source", "actions": [source]},
                {"name": "Test", "actions": [{"name": "Test", "actionTypeId": SCRIPTED}]},
            ],
        }
        deploy_pipeline(PipelineDeclaration.model_validate(wire), self.pool)
        self.names.append(name)
        return name

    def put(self, content: str, key: str = "app.zip") -> str:
        return str(self.s3.put_object(Bucket=self.bucket, Key=key, Body=content.encode()).get("VersionId"))

    def poll(self) -> list[str]:
        """What is said of this test's own pipelines."""
        self.now += timedelta(minutes=1)
        return [said for said in poll_once(now=self.now) if any(name in said for name in self.names)]

    def starts(self, name: str) -> list[tuple[str, str, dict[str, str]]]:
        return [
            (
                run["labels"].get("codepipeline.trigger-type"),
                run["labels"]["codepipeline.started-by"],
                run["parameters"]["source_revisions"],
            )
            for run in reversed(find_runs(name))
        ]

    def remove(self) -> None:
        for name in self.names:
            # The executions are in flight for ever, so the pipeline cannot be deleted as users do.
            _, deployment = call("GET", f"/deployments/name/pipeline/{name}")
            call("DELETE", f"/deployments/{deployment['id']}")
        client().delete_work_pool(self.pool)


@pytest.fixture
def polled(prefect_server: str, aws: Any, make_bucket: Any) -> Iterator[PolledObjects]:
    made = PolledObjects(aws, make_bucket())
    yield made
    made.remove()


def test_a_new_version_starts_with_exactly_this_version_and_once(
    polled: PolledObjects, aws_endpoint: FaultyEndpoint
) -> None:
    polled.put("1")
    name = polled.deploy()
    off = polled.deploy(PollForSourceChanges="false")
    set_on = polled.deploy(PollForSourceChanges="false", poll=True)
    assert polled.poll() == []  # what is there already is nothing new
    version = polled.put("2")

    said = polled.poll()

    assert polled.starts(name) == [("PollForSourceChanges", "Src", {"Src": version})]
    assert polled.starts(off) == []
    assert polled.starts(set_on) == polled.starts(name)
    assert len(said) == 2
    assert any(f"pipeline {name!r}: execution " in each for each in said)
    assert polled.poll() == []
    assert len(polled.starts(name)) == 1
    ours = [each for each in aws_endpoint.requests if polled.bucket in each.path]
    assert [each.method for each in ours] == ["HEAD"] * 6


def test_a_new_image_starts_if_the_settings_say_so(polled: PolledObjects, aws: Callable[[str], Any]) -> None:
    repository, ecr = f"images-{uuid4().hex[:8]}", aws("ecr")
    ecr.create_repository(repositoryName=repository)
    name = polled.deploy_source(ECR, {"RepositoryName": repository, "ImageTag": "live"}, poll=True)
    off = polled.deploy_source(ECR, {"RepositoryName": repository, "ImageTag": "live"})
    assert polled.poll() == []  # there is no image yet

    digest = push(ecr, repository, "one")
    (said,) = polled.poll()
    assert polled.poll() == []
    push(ecr, repository, "two")
    polled.poll()

    assert polled.starts(name)[0] == ("PollForSourceChanges", "Src", {"Src": digest})
    assert len(polled.starts(name)) == 2
    assert polled.starts(off) == []
    assert f"version {digest} of {repository}:live" in said


def push(ecr: Any, repository: str, content: str) -> str:
    """Push an image with the tag `live`; its digest."""
    layer = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": len(content),
        "digest": f"sha256:{hashlib.sha256(content.encode()).hexdigest()}",
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": layer,
        "layers": [layer],
    }
    answer = ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag="live")
    return str(answer["image"]["imageId"]["imageDigest"])


def test_an_object_that_appears_starts_and_one_that_is_deleted_does_not(polled: PolledObjects) -> None:
    name = polled.deploy()
    assert polled.poll() == []
    first = polled.put("1")
    polled.poll()
    polled.s3.delete_object(Bucket=polled.bucket, Key="app.zip")
    assert polled.poll() == []
    second = polled.put("1")
    polled.poll()

    assert [revisions["Src"] for _, _, revisions in polled.starts(name)] == [first, second]


def test_a_poll_that_is_repeated_after_a_crash_starts_nothing_twice(polled: PolledObjects) -> None:
    polled.put("1")
    name = polled.deploy()
    polled.poll()
    before = find_block(GitPollState, STATE_BLOCK)
    assert before
    polled.put("2")
    polled.poll()
    # As if the process had died between the start and the new state.
    save_block(GitPollState(url=before.url, references=before.references, generation=0), STATE_BLOCK)

    polled.poll()

    assert len(polled.starts(name)) == 1


def test_many_processes_poll_an_object_once(polled: PolledObjects, aws_endpoint: FaultyEndpoint) -> None:
    polled.put("1")
    polled.deploy()
    now = polled.now + timedelta(minutes=1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: poll_once(now=now), range(4)))

    assert len(aws_endpoint.asked("HEAD", f"{polled.bucket}/app.zip")) == 1


def test_s3_that_does_not_answer_is_reported_and_the_change_is_found_later(
    polled: PolledObjects, aws_endpoint: FaultyEndpoint
) -> None:
    polled.put("1")
    name = polled.deploy()
    polled.poll()
    version = polled.put("2")
    aws_endpoint.faults = [Fault("HEAD", f"{polled.bucket}/app.zip", refusal(403, "AccessDenied"))]

    (said,) = polled.poll()

    assert f"pipeline {name!r}: polling 'Src': AWS refuses to show s3://{polled.bucket}/app.zip" in said
    assert polled.starts(name) == []
    polled.poll()
    assert polled.starts(name) == [("PollForSourceChanges", "Src", {"Src": version})]
