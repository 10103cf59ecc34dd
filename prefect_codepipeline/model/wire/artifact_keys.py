"""Where an artifact is in the bucket of its pipeline, as the AWS API shows it and the S3 endpoint serves it.

https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts.html#concepts-artifacts
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.state import ExecutionState

_PIPELINE_LENGTH, _ARTIFACT_LENGTH, _RANDOM_LENGTH = 20, 10, 7


def artifact_key(pipeline_name: str, artifact_name: str, action_execution_id: str) -> str:
    """The key of an artifact: both names cut as AWS cuts them, and a part that differs for each action execution.

    Args:
        pipeline_name: the pipeline.
        artifact_name: the artifact.
        action_execution_id: the action execution that made the artifact; see `makers`.

    Example:
        >>> artifact_key("release", "SourceOutput", "b0a1")
        'release/SourceOutp/i4joxvr'
    """
    identity = f"{action_execution_id}\x00{artifact_name}".encode()
    random = base64.b32encode(hashlib.sha256(identity).digest()).decode().lower()[:_RANDOM_LENGTH]
    return f"{pipeline_name[:_PIPELINE_LENGTH]}/{artifact_name[:_ARTIFACT_LENGTH]}/{random}"


def bucket_of(declaration: PipelineDeclaration, region: str | None) -> str | None:
    """The bucket for the artifacts of an action in that region; None if the definition has no artifact store."""
    if declaration.artifact_store:
        return declaration.artifact_store.location
    stores = declaration.artifact_stores or {}
    store = stores.get(region or "") or next(iter(stores.values()), None)
    return store.location if store else None


def makers(state: ExecutionState) -> Mapping[str, str]:
    """The action execution that made each artifact that exists so far, by the artifact's name.

    The artifacts that a rollback takes over count as made by the execution that it rolls back to.
    """
    inherited = {
        artifact.name: state.pinned.rollback_target or "" for artifact in state.pinned.inherited.artifacts
    }
    own = {
        artifact.name: action.finished.action_execution_id
        for _, action in state.actions
        if action.status == "Succeeded" and action.finished
        for artifact in action.finished.output_artifacts
    }
    return {**inherited, **own}
