"""How a process takes an execution over, how the execution enters and leaves, and how it ends."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from prefect_codepipeline.model.execution import (
    ActionFinished,
    AnyFact,
    ErrorDetails,
    ExecutionFinished,
    ExecutionPinned,
    ProcessLost,
    RetryRequested,
    StageEntered,
    StageFinished,
)
from prefect_codepipeline.model.state import StageState
from prefect_codepipeline.tasks import gate
from prefect_codepipeline.tasks.definitions import newest_version, read_definition_block
from prefect_codepipeline.tasks.execution import Execution, claim_process, set_current_execution
from prefect_codepipeline.tasks.lease import holding_lease
from prefect_codepipeline.tasks.prefect_api import call
from prefect_codepipeline.tasks.record import RecordOf, utc_now
from prefect_codepipeline.tasks.registry import providers
from prefect_codepipeline.tasks.report import Reporter
from prefect_codepipeline.tasks.suspension import Wake, suspend

IN_PROCESS_WAIT_SECONDS = 30.0
WORKER_DIED = "the worker died while it ran; what it had done by then is not known"


@contextmanager
def taking_over(variables: dict[str, str], source_revisions: dict[str, str]) -> Iterator[Execution]:
    """Make this process the one that runs the execution, and settle what an earlier one left behind."""
    context = FlowRunContext.get()
    assert context, "only the pipeline flow takes an execution over"
    assert context.flow_run, "a flow run context has a flow run"
    run = context.flow_run
    record = RecordOf(str(run.id))
    facts = record.read()
    pinned = next((fact for fact in facts if isinstance(fact, ExecutionPinned)), None)
    if pinned is None:
        pinned = record.write_or_read(_pin(run, variables, source_revisions))
        facts = [pinned]
    declaration = read_definition_block(pinned.definition_id).whole()
    process = claim_process(record, facts, run.run_count, socket.gethostname(), os.getpid())
    execution = Execution(
        record, declaration, [*facts, process], process.process, can_suspend=run.deployment_id is not None
    )
    _settle(execution, facts, run.run_count)
    set_current_execution(execution)
    with holding_lease(execution.id, process.process), Reporter(execution):
        try:
            yield execution
        finally:
            execution.end_process()


def enter_pipeline(execution: Execution) -> None:
    """Wait until no other execution of the pipeline is in progress: here for a while, then suspended."""
    name = execution.declaration.name
    if gate.try_enter(name, execution.id):
        return
    gate.take_ticket(name, execution.id)
    if gate.try_enter(name, execution.id):
        return
    message = f"waiting for execution {gate.holder_of(name) or 'before it'} of pipeline {name!r} to end"
    get_run_logger().info("%s", message[0].upper() + message[1:])
    seconds = IN_PROCESS_WAIT_SECONDS if execution.can_suspend else None
    if not gate.wait_in_process(name, execution.id, seconds, execution.check_is_ours):
        suspend(execution.id, message, lambda: Wake(gate.try_enter(name, execution.id)))


def enter_stage(execution: Execution, stage: StageState) -> None:
    """Write down that the execution is in the stage."""
    execution.check_is_ours()
    if not stage.entered:
        execution.write(StageEntered(at=utc_now(), stage=stage.name, attempt=stage.attempt))


def finish_stage(
    execution: Execution, stage: StageState, status: Literal["Succeeded", "Failed", "Stopped"], summary: str
) -> str:
    """Write down how the attempt of the stage ended; the status that counts."""
    fact = StageFinished(
        at=utc_now(), stage=stage.name, attempt=stage.attempt, status=status, summary=summary
    )
    return execution.write(fact).status


def finish_execution(execution: Execution) -> State[Any]:
    """Write down how the execution ended, let the next one in, and give Prefect the state that says so."""
    execution.check_is_ours()
    final = execution.state.final or execution.write(_conclusion(execution))
    gate.leave(execution.declaration.name, execution.id)
    if final.status == "Succeeded":
        return Completed(name="Succeeded", message=final.summary)
    if final.status == "Failed":
        return Failed(message=final.summary)
    return Cancelled(name=final.status, message=final.summary)


def _conclusion(execution: Execution) -> ExecutionFinished:
    state = execution.state
    for stage in state.stages:
        if stage.finished and stage.finished.status != "Succeeded":
            status: Literal["Failed", "Stopped"] = (
                "Stopped" if stage.finished.status == "Stopped" else "Failed"
            )
            return ExecutionFinished(
                at=utc_now(), epoch=state.epoch, status=status, summary=stage.finished.summary
            )
    summary = f"all {len(state.stages)} stages succeeded"
    return ExecutionFinished(at=utc_now(), epoch=state.epoch, status="Succeeded", summary=summary)


def _pin(run: Any, variables: dict[str, str], source_revisions: dict[str, str]) -> ExecutionPinned:
    labels = run.labels
    if definition_id := labels.get("codepipeline.definition"):
        definition = read_definition_block(definition_id)
    else:
        _, deployment = call("GET", f"/deployments/{run.deployment_id}")
        found_id, definition = newest_version(deployment["name"], int(deployment["version"] or 1))
        definition_id = str(found_id)
    declared = definition.masked().variables or []
    defaults = {variable.name: variable.default_value for variable in declared if variable.default_value}
    return ExecutionPinned(
        at=utc_now(),
        pipeline_name=definition.pipeline_name,
        pipeline_version=definition.version,
        definition_id=str(definition_id),
        settings_id=labels.get("codepipeline.settings"),
        variables={**defaults, **variables},
        source_revisions=source_revisions,
        trigger_type="CloudWatchEvent" if run.auto_scheduled else "StartPipelineExecution",
        trigger_detail=str(
            labels.get("codepipeline.started-by", "schedule" if run.auto_scheduled else "Prefect")
        ),
    )


def _settle(execution: Execution, known: list[AnyFact], run_count: int) -> None:
    """End what the last process was doing when it died, and go on after a retry that a person asked for."""
    for stage, action in execution.state.actions:
        provider = providers().get(action.action.action_type_id)
        if action.status == "InProgress" and not (provider and provider.restartable):
            assert action.started, "what is in progress was started"
            execution.write(
                ActionFinished(
                    at=utc_now(),
                    stage=stage.name,
                    action=action.name,
                    attempt=action.started.attempt,
                    action_execution_id=action.started.action_execution_id,
                    status="Failed",
                    error_details=ErrorDetails(code="InternalError", message=WORKER_DIED),
                )
            )
    if _is_retried_by_a_person(known, run_count):
        _begin_retry(execution)


def _is_retried_by_a_person(known: list[AnyFact], run_count: int) -> bool:
    """Prefect counts a run up with each retry; reconcile leaves a note when it was the one who did it."""
    processes = [fact for fact in known if fact.kind == "process-started"]
    if not processes or run_count <= processes[-1].run_count:
        return False
    return not any(isinstance(fact, ProcessLost) and fact.process == processes[-1].process for fact in known)


def _begin_retry(execution: Execution) -> None:
    state = execution.state
    if state.final and state.final.status not in ("Failed", "Stopped"):
        return
    if failure := state.failure:
        stage, _ = failure
        execution.write(
            RetryRequested(
                at=utc_now(),
                epoch=state.epoch + 1,
                stage=stage.name,
                retry_mode="FAILED_ACTIONS",
                by="Prefect UI or API",
            )
        )
