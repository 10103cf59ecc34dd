"""What a request names: its pipeline, a stage or an action of it, an execution; or AWS's exception for what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import Any

from prefect_codepipeline.engine.executions.lookup import pipeline_tag
from prefect_codepipeline.engine.operations.projection import DEPLOYMENTS_BY_NAME
from prefect_codepipeline.errors import PipelineNotFoundException, PipelineServiceError
from prefect_codepipeline.gateway.aws.mirror import mirror
from prefect_codepipeline.gateway.aws.mirror.pipelines import KnownPipeline
from prefect_codepipeline.gateway.aws.operations.wording import (
    busy,
    no_action,
    no_pipeline,
    no_pipeline_to_start,
    no_stage,
)
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operation
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    PipelineDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.prefect_api.client import find_named, flow_run, moment

_MAY_CONFLICT = {
    "OverrideStageCondition",
    "RetryStageExecution",
    "RollbackStage",
    "StartPipelineExecution",
    "StopPipelineExecution",
}


@dataclass(frozen=True)
class NamedPipeline:
    """The pipeline that a call names."""

    call: Call
    known: KnownPipeline

    @property
    def name(self) -> str:
        return self.known.name

    @property
    def declaration(self) -> PipelineDeclaration:
        """The newest version, its secrets masked."""
        return self.known.declaration

    def stage(self, name: str) -> StageDeclaration:
        """A stage of the newest version. Raises `StageNotFoundException`."""
        found = next((stage for stage in self.declaration.stages if stage.name == name), None)
        if found is None:
            raise no_stage(self.name, name)
        return found

    def action(self, stage_name: str, name: str) -> ActionDeclaration:
        """An action of the newest version. Raises `StageNotFoundException`, `ActionNotFoundException`."""
        found = next((action for action in self.stage(stage_name).actions if action.name == name), None)
        if found is None:
            raise no_action(self.name, stage_name, name)
        return found

    def run(self, execution_id: str) -> dict[str, Any] | None:
        """The flow run of an execution of this pipeline, not of a deleted one of that name, or None."""
        run = flow_run(execution_id)
        is_own = run is not None and pipeline_tag(self.name) in run["tags"]
        return run if run and is_own and moment(run["created"]) >= self.known.created else None


def missing(call: Call, name: str) -> PipelineNotFoundException:
    """The operation's error for a pipeline that does not exist."""
    if call.operation == "StartPipelineExecution":
        return no_pipeline_to_start(call.account, name)
    return no_pipeline(call.account, name)


def changing(operation: Operation) -> Operation:
    """The operation, after which this process reads everything about the pipeline again, unless it was refused."""

    @wraps(operation)
    def changed(call: Call) -> Members | None:
        is_refused = False
        try:
            return operation(call)
        except (PipelineServiceError, ApiError):
            is_refused = True
            raise
        finally:
            if not is_refused:
                mirror().forget(call.members.get("pipelineName") or call.members["name"])

    return changed


def known_pipeline(call: Call, name: str) -> KnownPipeline:
    """The pipeline of that name, for operations that only read. Raises `PipelineNotFoundException`."""
    known = mirror().pipeline(name)
    if known is None:
        raise no_pipeline(call.account, name)
    return known


def named_pipeline(call: Call, name: str) -> NamedPipeline:
    """The pipeline of that name, for operations that change something.

    Raises:
        PipelineNotFoundException: there is none.
        ConflictException: it is being created at the moment, or its deployment was deleted in Prefect. Reconcile repairs
            both within a minute. Operations that AWS gives no such exception continue.
    """
    known = mirror().pipeline(name)
    if known is None:
        mirror().forget(name)  # another gateway may have created it within the last second
        known = mirror().pipeline(name)
    if known is None:
        raise missing(call, name)
    if call.operation in _MAY_CONFLICT and find_named(DEPLOYMENTS_BY_NAME, name) is None:
        raise busy(f"Pipeline '{name}' has no deployment in Prefect yet.")
    return NamedPipeline(call, known)
