"""Jobs as the AWS API shows them to workers.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_JobData.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    ArtifactStoreDeclaration,
    PipelineDeclaration,
)
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.wire.arns import Account
from prefect_codepipeline.model.wire.artifact_keys import artifact_key, bucket_of, makers


@dataclass(frozen=True)
class PlacedArtifact:
    """An artifact of a job and its address in S3. What a worker has to upload is not `stored` yet."""

    name: str
    bucket: str
    key: str
    stored: StoredArtifact | None = None
    revision: str | None = None

    @property
    def path(self) -> str:
        """Where the S3 endpoint has it."""
        return f"/{self.bucket}/{self.key}"

    def to_wire(self) -> dict[str, Any]:
        location = {"type": "S3", "s3Location": {"bucketName": self.bucket, "objectKey": self.key}}
        return {"name": self.name, "revision": self.revision, "location": location}


@dataclass(frozen=True)
class JobData:
    """Everything that a worker learns about its job. The configuration has its secrets."""

    id: str
    pipeline: PipelineDeclaration
    execution_id: str
    settings_id: str | None
    stage: str
    action: ActionDeclaration
    action_execution_id: str
    inputs: tuple[PlacedArtifact, ...]
    outputs: tuple[PlacedArtifact, ...]
    continuation_token: str | None = None

    def to_wire(
        self, account: Account, credentials: Mapping[str, str], *, third_party: bool = False
    ) -> dict[str, Any]:
        """`JobData` of the API, or `ThirdPartyJobData`, whose context has no ids."""
        context: dict[str, Any] = {
            "pipelineName": self.pipeline.name,
            "stage": {"name": self.stage},
            "action": {"name": self.action.name, "actionExecutionId": self.action_execution_id},
        }
        if not third_party:
            context["pipelineArn"] = account.pipeline(self.pipeline.name)
            context["pipelineExecutionId"] = self.execution_id
        store = _store_of(self.pipeline, self.action)
        key = store.encryption_key if store else None
        return {
            "actionTypeId": self.action.action_type_id.to_wire(),
            "actionConfiguration": {"configuration": self.action.configuration},
            "pipelineContext": context,
            "inputArtifacts": [artifact.to_wire() for artifact in self.inputs],
            "outputArtifacts": [artifact.to_wire() for artifact in self.outputs],
            "artifactCredentials": dict(credentials),
            "continuationToken": self.continuation_token,
            "encryptionKey": key.to_wire() if key else None,
        }


def _store_of(pipeline: PipelineDeclaration, action: ActionDeclaration) -> ArtifactStoreDeclaration | None:
    stores = [pipeline.artifact_store, *(pipeline.artifact_stores or {}).values()]
    bucket = bucket_of(pipeline, action.region)
    return next((store for store in stores if store and store.location == bucket), None)


def inputs_of(
    pipeline: PipelineDeclaration, state: ExecutionState, action: ActionDeclaration
) -> tuple[PlacedArtifact, ...]:
    """The input artifacts of an action, without those that do not exist."""
    bucket = bucket_of(pipeline, action.region) or ""
    made_by = makers(state)
    return tuple(
        PlacedArtifact(
            artifact.name,
            bucket,
            artifact_key(pipeline.name, artifact.name, made_by[artifact.name]),
            stored,
            stored.revision_id,
        )
        for artifact in action.input_artifacts
        if (stored := state.artifacts.get(artifact.name))
    )


def outputs_of(
    pipeline: PipelineDeclaration,
    action: ActionDeclaration,
    action_execution_id: str,
    revision: str | None = None,
) -> tuple[PlacedArtifact, ...]:
    """Where a worker has to put the output artifacts of an action; of a source, from which revision if one is wanted."""
    bucket = bucket_of(pipeline, action.region) or ""
    return tuple(
        PlacedArtifact(
            artifact.name,
            bucket,
            artifact_key(pipeline.name, artifact.name, action_execution_id),
            revision=revision,
        )
        for artifact in action.output_artifacts
    )
