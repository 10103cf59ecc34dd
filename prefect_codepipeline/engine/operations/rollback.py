"""Roll a stage back: a new execution runs only this stage, with the artifacts and variables of an earlier execution.

https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-rollback.html
"""

from __future__ import annotations

from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.executions.lookup import (
    KnownExecution,
    find_runs,
    known_executions,
    pipeline_tag,
    read_execution,
)
from prefect_codepipeline.errors import (
    PipelineExecutionNotFoundException,
    PipelineExecutionOutdatedException,
    StageNotFoundException,
    UnableToRollbackStageException,
)
from prefect_codepipeline.model.record.artifacts import Inherited
from prefect_codepipeline.model.record.facts import TriggerType
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.prefect_api.flow_runs import create_flow_run

_PAGE = 50


def rollback_stage(pipeline_name: str, stage_name: str, target_execution_id: str, by: str) -> str:
    """Start a rollback of a stage; the new execution's id.

    Args:
        pipeline_name: the pipeline.
        stage_name: the stage, not the source stage.
        target_execution_id: an execution of the pipeline's newest version that succeeded in the stage.
        by: the user who rolls back.

    Raises:
        PipelineNotFoundException, StageNotFoundException, PipelineExecutionNotFoundException: it does not exist.
        PipelineExecutionOutdatedException: the target execution ran another version of the pipeline.
        UnableToRollbackStageException: the stage cannot be rolled back to that execution, or an execution runs in it.
    """
    newest_id, newest = newest_version(pipeline_name)
    declaration = newest.masked()
    names = [stage.name for stage in declaration.stages]
    what = f"stage {stage_name!r} of pipeline {pipeline_name!r} cannot be rolled back"
    if stage_name not in names:
        raise StageNotFoundException(
            f"pipeline {pipeline_name!r} has no stage {stage_name!r}; it has: {', '.join(names)}"
        )
    if declaration.execution_mode == "PARALLEL":
        raise UnableToRollbackStageException(f"{what}: the pipeline's execution mode is PARALLEL")
    if stage_name == names[0]:
        raise UnableToRollbackStageException(f"{what}: it is the source stage")
    target = read_execution(target_execution_id)
    if target.state is None and pipeline_tag(pipeline_name) in target.run["tags"]:
        raise UnableToRollbackStageException(f"{what} to execution {target.id}: that has not begun")
    if target.state is None or target.state.pinned.pipeline_name != pipeline_name:
        raise PipelineExecutionNotFoundException(
            f"pipeline {pipeline_name!r} has no execution {target_execution_id}"
        )
    is_newest = target.state.pinned.definition_id == str(newest_id)
    if not is_newest and target.state.pinned.pipeline_version == newest.version:
        raise PipelineExecutionNotFoundException(
            f"pipeline {pipeline_name!r} has no execution {target_execution_id}: that is of a deleted pipeline of this name"
        )
    if not is_newest:
        raise PipelineExecutionOutdatedException(
            f"{what} to execution {target.id}: that ran version {target.state.pinned.pipeline_version} of the "
            f"pipeline, the newest version is {newest.version}"
        )
    if target.state.pinned.execution_type == "ROLLBACK":
        raise UnableToRollbackStageException(f"{what} to execution {target.id}: that is a rollback itself")
    if not _succeeded_in(target.state, stage_name):
        raise UnableToRollbackStageException(
            f"{what} to execution {target.id}: its status in the stage is "
            f"{target.state.stage(stage_name).status or 'none'}, not Succeeded"
        )
    if holder := gate.read_gates(pipeline_name).holder(stage_name):
        raise UnableToRollbackStageException(f"{what} now: execution {holder} runs in it")
    return start_rollback(target, stage_name, "ManualRollback", by)


def start_rollback(
    target: KnownExecution,
    stage_name: str,
    trigger_type: TriggerType,
    detail: str,
    idempotency_key: str | None = None,
) -> str:
    """Create the execution of a rollback; its id. The same idempotency key creates only one."""
    state = target.state
    assert state, "the target of a rollback has started"
    return create_flow_run(
        target.run["deployment_id"],
        {"variables": state.pinned.variables, "source_revisions": {}},
        {
            "codepipeline.started-by": detail,
            "codepipeline.trigger-type": trigger_type,
            "codepipeline.definition": state.pinned.definition_id,
            "codepipeline.rollback-target": target.id,
            "codepipeline.rollback-stage": stage_name,
        },
        idempotency_key,
    )


def latest_success(pipeline_name: str, stage_name: str, version: int, not_this: str) -> KnownExecution | None:
    """The newest execution of that version that succeeded in the stage and is not a rollback, or None."""
    offset = 0
    while runs := find_runs(pipeline_name, limit=_PAGE, offset=offset):
        for run in runs:
            if run["id"] == not_this or not run["run_count"] or not run["deployment_id"]:
                continue
            known = next(iter(known_executions([run])), None)
            state = known.state if known else None
            if known is None or state is None or state.pinned.execution_type == "ROLLBACK":
                continue
            if state.pinned.pipeline_version < version:
                return None
            if state.pinned.pipeline_version == version and _succeeded_in(state, stage_name):
                return known
        offset += len(runs)
    return None


def inherited_from(target_id: str, stage_name: str) -> Inherited:
    """The input of a rollback: artifacts, variables and revisions that the target had when it entered the stage."""
    state = read_execution(target_id).state
    assert state, "the target of a rollback has started"
    before = [stage for stage in state.stages if stage.name != stage_name]
    done = [action for stage in before for action in stage.actions if action.status == "Succeeded"]
    finished = [(action, action.finished) for action in done if action.finished]
    return Inherited(
        artifacts=[artifact for _, end in finished for artifact in end.output_artifacts],
        namespaces={
            action.action.namespace: end.output_variables
            for action, end in finished
            if action.action.namespace
        },
        source_revisions=state.source_revisions,
    )


def _succeeded_in(state: ExecutionState, stage_name: str) -> bool:
    stage = next((stage for stage in state.stages if stage.name == stage_name), None)
    return stage is not None and stage.status == "Succeeded"
