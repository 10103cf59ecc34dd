"""The process that runs an execution: take it over, pass the gates of its stages, record how it ended."""

import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal

from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.attempt import failure, worker_died
from prefect_codepipeline.engine.executions.definitions import newest_version, read_definition_block
from prefect_codepipeline.engine.executions.gate_state import Visit
from prefect_codepipeline.engine.executions.lookup import check_limit_before
from prefect_codepipeline.engine.executions.process import (
    Execution,
    claim_process,
    set_current_execution,
)
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.executions.stop_watch import watching_for_stop
from prefect_codepipeline.engine.notifications.commit_statuses import CommitStatuses
from prefect_codepipeline.engine.notifications.event_webhooks import EventPublisher
from prefect_codepipeline.engine.notifications.events import PrefectEventPublisher
from prefect_codepipeline.engine.notifications.report import Reporter
from prefect_codepipeline.engine.operations.ending import PREFECT_USER, Way, conclusion, end_record, ended
from prefect_codepipeline.engine.operations.retrying import write_retry
from prefect_codepipeline.engine.operations.rollback import inherited_from
from prefect_codepipeline.engine.operations.schedules import rule_of
from prefect_codepipeline.engine.pool_runs.provider import may_restart
from prefect_codepipeline.flows.waiting import IN_PROCESS_SECONDS
from prefect_codepipeline.model.record.artifacts import Inherited
from prefect_codepipeline.model.record.facts import (
    AnyFact,
    ExecutionPinned,
    ProcessLost,
    ProcessStarted,
    RetryRequested,
    StageEntered,
    StageExecutionStatus,
    StageFinished,
)
from prefect_codepipeline.model.record.state import StageState
from prefect_codepipeline.model.stored.definition import StoredDefinition
from prefect_codepipeline.prefect_api.client import call, flow_run
from prefect_codepipeline.prefect_api.leases import holding_lease
from prefect_codepipeline.prefect_api.runs import ended_state, log_returned_ends_once
from prefect_codepipeline.prefect_api.suspension import Wake, suspend


@contextmanager
def taking_over(variables: dict[str, str], source_revisions: dict[str, str]) -> Iterator[Execution]:
    """Make this process the one that runs the execution, and repair what an earlier process left unfinished."""
    hide_environment()  # our worker has done so before, Prefect's own workers have not
    log_returned_ends_once()
    context = FlowRunContext.get()
    assert context, "only the pipeline flow takes an execution over"
    assert context.flow_run, "a flow run context has a flow run"
    run = context.flow_run
    record = RecordOf(str(run.id))
    facts, labelled = _read_both(record, run.labels.get("codepipeline.definition"))
    pinned = next((fact for fact in facts if isinstance(fact, ExecutionPinned)), None)
    if pinned is None:
        labelled = labelled or _newest_definition(run)
        pinned = record.write_or_read(_pin(run, *labelled, variables, source_revisions))
        facts = [pinned, *facts]  # it may have been stopped before it began
    is_pinned = labelled is not None and labelled[0] == pinned.definition_id
    definition = labelled[1] if labelled and is_pinned else read_definition_block(pinned.definition_id)
    process = claim_process(record, facts, run.run_count, socket.gethostname(), os.getpid())
    execution = Execution(
        record,
        definition.whole(),
        [*facts, process],
        process.process,
        can_suspend=run.deployment_id is not None,
        started=_started(run),
    )
    if process.process > 1 and f"process-{process.process - 1}-ended" not in {fact.key for fact in facts}:
        execution.refresh()  # the process before may have written facts until it was replaced
    _repair_after_earlier_process(execution, facts, run.run_count)
    set_current_execution(execution)
    # The lease is taken first and released last: without it reconcile treats this process as dead. Next comes the watch
    # for stop requests. The publishers follow; on the way out each sends what is left before the lease is released.
    with (
        holding_lease(execution.id, process.process),
        watching_for_stop(execution),
        Reporter(execution),
        PrefectEventPublisher(execution),
        EventPublisher(execution),
        CommitStatuses(execution),
    ):
        try:
            yield execution
        except TerminationSignal:
            _end_as_cancelled(execution)
            raise
        finally:
            execution.end_process()


def enter_stage(execution: Execution, stage_name: str) -> bool:
    """Pass the gate of the stage, however long that takes. False if the execution ends at the gate."""
    stage = execution.state.stage(stage_name)
    if stage.entered:
        return True
    if execution.state.stop:  # looked for after the last group, and again before the first one of this stage
        return False
    if not execution.has_passed(stage) and not _pass_gate(execution, stage_name):
        return False
    execution.write(StageEntered(at=utc_now(), stage=stage.name, attempt=stage.attempt))
    return True


def _pass_gate(execution: Execution, stage_name: str) -> bool:
    visit = execution.visit(stage_name)
    entered, newer = gate.try_enter(visit)
    if not entered and not newer:
        message = _reason_to_wait(visit)
        get_run_logger().info("%s", message[0].upper() + message[1:])
        seconds = IN_PROCESS_SECONDS if execution.can_suspend else None
        waited = gate.wait_in_process(visit, seconds, lambda: execution.look_for_stop() is not None)
        if waited is None and not execution.look_for_stop():
            execution.begin_suspension()
            suspend(execution.id, message, lambda: Wake(_is_wait_over(execution, visit)))
        entered, newer = waited or (False, None)
    if newer:
        execution.write(ended(execution.state, Way.SUPERSEDED, newer=newer, stage=stage_name))
    return entered


def _is_wait_over(execution: Execution, visit: Visit) -> bool:
    """Whether the run, just suspended, must be resumed at once. It enters after that: a suspended run must not hold a lock."""
    current = gate.read_gates(visit.pipeline).gate(visit)
    return (
        current.may_enter(visit.execution)
        or current.holder == visit.execution
        or current.superseded_by(visit.execution) is not None
        or execution.look_for_stop() is not None
    )


def _reason_to_wait(visit: Visit) -> str:
    gates = gate.read_gates(visit.pipeline)
    where = f"to enter stage {visit.stage!r}"
    inbound = gates.transition(visit.stage, "Inbound")
    outbound = gates.transition(visit.previous_stage, "Outbound") if visit.previous_stage else None
    for kind, closed in (("inbound", inbound), ("outbound", outbound)):
        if closed and not closed.enabled:
            return f"waiting {where}: its {kind} transition was disabled by {closed.changed_by} ({closed.reason})"
    return f"waiting {where} behind execution {gates.holder(visit.stage) or 'before it'}"


def finish_stage(execution: Execution, stage: StageState, status: StageExecutionStatus, summary: str) -> None:
    """Record how the attempt of the stage ended."""
    execution.write(
        StageFinished(at=utc_now(), stage=stage.name, attempt=stage.attempt, status=status, summary=summary)
    )


def leave_stage(execution: Execution, stage_name: str) -> None:
    """Get in line for the next stage, and let the next execution into this one."""
    if execution.declaration.execution_mode == "PARALLEL":
        return
    finished = execution.state.stage(stage_name).finished
    assert finished, "a stage is left after its end was recorded"
    is_done = finished.status in ("Succeeded", "Skipped")
    following = _next_stage(execution, stage_name) if is_done else None
    visit = execution.visit(following) if following else None
    if gate.leave(execution.visit(stage_name), visit, may_be_retried=not is_done) and visit:
        execution.passed = visit


def _next_stage(execution: Execution, stage_name: str) -> str | None:
    """The stage that the execution continues with, or None if it ends here."""
    state = execution.state
    if state.stop:
        return None
    names = [stage.name for stage in state.stages]
    following = names[names.index(stage_name) + 1 :][:1]
    return following[0] if following and not state.stage(following[0]).entered else None


def _release_finished_stage(execution: Execution) -> None:
    """Release a finished stage whose previous process may have crashed before releasing it."""
    finished = [stage.name for stage in execution.state.stages if stage.finished]
    if finished and not execution.state.final:
        leave_stage(execution, finished[-1])


def finish_execution(execution: Execution) -> State[Any]:
    """Record how the execution ended and release its gates. The state of the flow run."""
    final = execution.state.final or execution.write(conclusion(execution.state))
    # An execution that succeeded has left each of its stages.
    if execution.declaration.execution_mode != "PARALLEL" and final.status != "Succeeded":
        gate.leave_all(execution.declaration.name, execution.id)
    level = {"Succeeded": logging.INFO, "Failed": logging.ERROR}.get(final.status, logging.WARNING)
    get_run_logger().log(level, "Execution %s: %s", final.status, final.summary)
    return ended_state(final.status, final.summary)


def _end_as_cancelled(execution: Execution) -> None:
    """Abandon the execution if its flow run was cancelled in Prefect. A worker that is shut down cancels nothing."""
    run = flow_run(execution.id)
    if run and run["state_type"] in ("CANCELLING", "CANCELLED"):
        end_record(execution.refresh(), Way.CANCELLED_IN_PREFECT, PREFECT_USER)
        execution.refresh()


def _started(run: Any) -> str:
    """The start time of the run by the server's clock, the same for all of its processes."""
    times = run.model_dump(mode="json", include={"start_time", "expected_start_time"})
    return str(times["start_time"] or times["expected_start_time"] or "")


def _read_both(
    record: RecordOf, definition_id: Any
) -> tuple[list[AnyFact], tuple[str, StoredDefinition] | None]:
    """The record and, at the same time, the definition with that id."""
    if not definition_id:
        return record.read(), None
    with ThreadPoolExecutor(1) as beside:
        definition = beside.submit(copy_context().run, read_definition_block, definition_id)
        facts = record.read()
        return facts, (definition_id, definition.result())


def _newest_definition(run: Any) -> tuple[str, StoredDefinition]:
    """For a run that was started in Prefect, not by this package."""
    _, deployment = call("GET", f"/deployments/{run.deployment_id}")
    found_id, definition = newest_version(deployment["name"], int(deployment["version"] or 1))
    return str(found_id), definition


def _pin(
    run: Any,
    definition_id: str,
    definition: StoredDefinition,
    variables: dict[str, str],
    source_revisions: dict[str, str],
) -> ExecutionPinned:
    labels = run.labels
    declaration = definition.masked()
    target, stage = labels.get("codepipeline.rollback-target"), labels.get("codepipeline.rollback-stage")
    is_limited = declaration.execution_mode != "SUPERSEDED" and run.deployment_id
    if is_limited and not target:  # a rollback repairs, so no limit may hold it up
        check_limit_before(definition.pipeline_name, declaration.execution_mode, _started(run))
    declared = declaration.variables or []
    defaults = {variable.name: variable.default_value for variable in declared if variable.default_value}
    return ExecutionPinned(
        at=utc_now(),
        pipeline_name=definition.pipeline_name,
        pipeline_version=definition.version,
        definition_id=definition_id,
        settings_id=labels.get("codepipeline.settings"),
        variables={**defaults, **variables},
        source_revisions=source_revisions,
        trigger_type=labels.get("codepipeline.trigger-type")
        or ("CloudWatchEvent" if run.auto_scheduled else "StartPipelineExecution"),
        trigger_detail=str(
            labels.get("codepipeline.started-by") or (rule_of(run) if run.auto_scheduled else "Prefect")
        ),
        execution_type="ROLLBACK" if target else "STANDARD",
        rollback_target=target,
        rollback_stage=stage,
        inherited=inherited_from(target, stage) if target and stage else Inherited(),
    )


def _repair_after_earlier_process(execution: Execution, known: list[AnyFact], run_count: int) -> None:
    """Fail the actions that the last process ran when it died, and record a retry that was asked for in Prefect's UI.

    An action that may run again decides about that itself, in `tasks.action`.
    """
    for stage, action in execution.state.actions:
        if action.status != "InProgress" or action.waits:
            continue
        if not may_restart(execution, stage.name, action):
            assert action.started, "what is in progress was started"
            execution.write(action.started.finished(utc_now(), **failure(worker_died())))
    if _is_retried_in_prefect(known, run_count):
        write_retry(execution.record, execution.state, PREFECT_USER)
        execution.refresh()
    if execution.process > 1 and execution.declaration.execution_mode != "PARALLEL":
        _release_finished_stage(execution)


def _is_retried_in_prefect(known: list[AnyFact], run_count: int) -> bool:
    """Whether Retry was pressed in Prefect: its run count rose, and no other retry was recorded since the last process."""
    started = [fact for fact in known if isinstance(fact, ProcessStarted)]
    if not started or run_count <= started[-1].run_count:
        return False
    if any(isinstance(fact, ProcessLost) and fact.process == started[-1].process for fact in known):
        return False
    end = next(
        (n for n, f in enumerate(known) if f.key == f"process-{started[-1].process}-ended"), len(known)
    )
    return not any(isinstance(fact, RetryRequested) for fact in known[end:])
