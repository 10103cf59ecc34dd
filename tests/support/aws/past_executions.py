"""Executions that have ended, written as workers would have left them: as many as a test or a benchmark needs, in short time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.operations.starting import find_deployment
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import SourceRevision, StoredArtifact
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.record.facts import (
    ActionStarted,
    ExecutionFinished,
    ExecutionPinned,
    ProcessStarted,
    StageEntered,
    StageFinished,
)
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.flow_runs import set_state
from prefect_codepipeline.prefect_api.together import together

_STEP = timedelta(milliseconds=1)


def write_past_executions(pipeline_name: str, count: int) -> list[str]:
    """So many executions of a deployed pipeline that started just now and succeeded; their ids."""
    deployment = find_deployment(pipeline_name)
    definition_id, definition = newest_version(pipeline_name)
    declaration = definition.masked()
    return together(
        [partial(_write, str(deployment["id"]), str(definition_id), declaration) for _ in range(count)]
    )


def _write(deployment_id: str, definition_id: str, declaration: PipelineDeclaration) -> str:
    # A run that a worker would take is none of those that have ended.
    state = {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}
    body = {
        "parameters": {}, "idempotency_key": str(uuid4()), "state": state,
        "labels": {"codepipeline.definition": definition_id},
    }  # fmt: skip
    run = call("POST", f"/deployments/{deployment_id}/create_flow_run", body)[1]
    execution_id = str(run["id"])
    record = RecordOf(execution_id)
    for fact in past_facts(execution_id, definition_id, declaration, utc_now()):
        record.write(fact)
    set_state(execution_id, "COMPLETED", "Succeeded", force=True)
    return execution_id


def past_facts(
    execution_id: str, definition_id: str, declaration: PipelineDeclaration, start: datetime
) -> Iterator[Fact]:
    """The facts of an execution that has succeeded, a millisecond apart."""
    at = start
    yield ExecutionPinned(
        at=at,
        pipeline_name=declaration.name,
        pipeline_version=declaration.version,
        definition_id=definition_id,
        variables={},
        source_revisions={},
        trigger_type="StartPipelineExecution",
        trigger_detail="arn:aws:iam::123456789012:user/anonymous",
    )
    yield ProcessStarted(at=at, process=1, run_count=1, host="worker", pid=1)
    for stage in declaration.stages:
        yield StageEntered(at=at, stage=stage.name, attempt=1)
        for action in stage.actions:
            at += _STEP
            yield from _facts_of_action(stage.name, action, at)
        at += _STEP
        yield StageFinished(at=at, stage=stage.name, attempt=1, status="Succeeded")
    yield ExecutionFinished(at=at, epoch=0, status="Succeeded", summary="all stages succeeded")


def _facts_of_action(stage: str, action: ActionDeclaration, at: datetime) -> Iterator[Fact]:
    started = ActionStarted(
        at=at,
        stage=stage,
        action=action.name,
        attempt=1,
        action_execution_id=str(uuid4()),
        resolved_configuration=action.configuration,
        input_artifacts=[artifact.name for artifact in action.input_artifacts],
    )
    yield started
    is_source = action.action_type_id.category == "Source"
    yield started.finished(
        at + _STEP / 2,
        "Succeeded",
        summary="done",
        output_variables={"CommitId": "0" * 40} if is_source else {},
        output_artifacts=[
            StoredArtifact(name=artifact.name, sha256="0" * 64, size=1, files=1)
            for artifact in action.output_artifacts
        ],
        source_revision=SourceRevision(revision_id="0" * 40, revision_summary="a change")
        if is_source
        else None,
    )
