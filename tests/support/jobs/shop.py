"""A pipeline with actions of a custom type of its own, and what its workers do."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from botocore.config import Config
from waiting import until
from world import World

from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
from prefect_codepipeline.engine.operations.action_types import create_type
from prefect_codepipeline.model.definition.own_types import CustomActionType
from prefect_codepipeline.model.stored.action_type import StoredActionType

# A busy machine may need a second request.
PATIENT = Config(retries={"total_max_attempts": 5, "mode": "standard"})


class Shop:
    """A pipeline with actions of a custom type of its own, and its workers."""

    def __init__(self, world: World, client: Any) -> None:
        self.world = world
        self.client = client
        self.provider = f"Acme-{uuid4().hex[:8]}"

    def kind(self, category: str = "Build", owner: str = "Custom") -> dict[str, str]:
        return {"category": category, "owner": owner, "provider": self.provider, "version": "1"}

    def create_type(self, category: str = "Build", owner: Any = "Custom", **other: Any) -> None:
        """A type with a queryable and a secret key, and up to five artifacts."""
        counts = {"minimumCount": 0, "maximumCount": 5}
        given = {
            "category": category,
            "provider": self.provider,
            "version": "1",
            "inputArtifactDetails": counts,
            "outputArtifactDetails": counts,
            "configurationProperties": [
                {"name": "Project", "required": True, "key": True, "secret": False, "queryable": True},
                {"name": "Password", "required": False, "key": False, "secret": True},
            ],
        }
        create_type(StoredActionType.of(CustomActionType.model_validate(given), owner, **other))

    def action(self, name: str = "Make", category: str = "Build", **more: Any) -> dict[str, Any]:
        configuration = {"Project": "site", "Password": "whisper-7"}
        return {"name": name, "actionTypeId": self.kind(category), "configuration": configuration, **more}

    def start(self, *stages: list[dict[str, Any]]) -> str:
        deploy_pipeline(self.world.declare(*stages))
        return start_pipeline_execution(self.world.name, {}, {}, "tester")

    def poll(self, category: str = "Build", **more: Any) -> dict[str, Any]:
        """The next job, once there is one."""
        asked = {"actionTypeId": self.kind(category), **more}
        jobs = until(lambda: self.client.poll_for_jobs(**asked)["jobs"], longest_pause=0.1)
        assert len(jobs) == 1
        return dict(jobs[0])

    def take(self, category: str = "Build") -> dict[str, Any]:
        """The next job, acknowledged."""
        job = self.poll(category)
        answer = self.client.acknowledge_job(jobId=job["id"], nonce=job["nonce"])
        assert answer["status"] == "InProgress"
        return job

    def s3(self, aws: Callable[..., Any], job: dict[str, Any]) -> Any:
        """A client with the credentials of a job."""
        own = job["data"]["artifactCredentials"]
        return aws(
            "s3",
            aws_access_key_id=own["accessKeyId"],
            aws_secret_access_key=own["secretAccessKey"],
            aws_session_token=own["sessionToken"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )


def put_files(s3: Any, artifact: dict[str, Any], files: dict[str, str]) -> None:
    """Upload an output artifact, as a ZIP."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    place = artifact["location"]["s3Location"]
    s3.put_object(Bucket=place["bucketName"], Key=place["objectKey"], Body=packed.getvalue())


def files_of(s3: Any, artifact: dict[str, Any]) -> dict[str, str]:
    """The files of an input artifact."""
    place = artifact["location"]["s3Location"]
    body = s3.get_object(Bucket=place["bucketName"], Key=place["objectKey"])["Body"].read()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
