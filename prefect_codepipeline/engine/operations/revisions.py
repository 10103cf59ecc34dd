"""Start a pipeline for a new revision of a source that is reported.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PutActionRevision.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.operations.starting import REQUEST_LABEL, start_pipeline_execution
from prefect_codepipeline.prefect_api.client import flow_run


def put_action_revision(
    executions: Iterable[KnownExecution],
    pipeline_name: str,
    action_name: str,
    revision_id: str,
    override: str,
    by: str,
    request_id: str,
) -> tuple[bool, str]:
    """Start an execution for a revision, unless one has used it. Whether it is new, and the execution.

    Args:
        executions: the latest executions of the pipeline, one of which may have found the revision itself.
        pipeline_name: the pipeline.
        action_name: its source action.
        revision_id: the revision.
        override: the revision as the source action takes it.
        by: the user who reports it.
        request_id: identifies the request.

    Raises:
        PipelineNotFoundException, ValidationException, ConcurrentPipelineExecutionsLimitExceededException: as for a start.
    """
    for known in executions:
        if _has_used(known, action_name, revision_id, override):
            return False, known.id
    # Of several reports of one revision, the first starts the execution: Prefect creates one run for each key.
    identity = f"{action_name}\x00{revision_id}"
    token = f"revision-{hashlib.sha256(identity.encode()).hexdigest()}"
    execution_id = start_pipeline_execution(
        pipeline_name, {}, {action_name: override}, by, token, "PutActionRevision", request_id
    )
    run = flow_run(execution_id) or {}
    return (run.get("labels") or {}).get(REQUEST_LABEL) == request_id, execution_id


def _has_used(known: KnownExecution, action_name: str, revision_id: str, override: str) -> bool:
    if known.state and known.state.pinned.execution_type == "ROLLBACK":  # with the revisions of its target
        return False
    pinned = known.state.source_revisions.get(action_name) if known.state else None
    asked = (known.run["parameters"].get("source_revisions") or {}).get(action_name)
    return asked in (revision_id, override) or (pinned is not None and pinned.revision_id == revision_id)
