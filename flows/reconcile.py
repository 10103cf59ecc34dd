"""Repair what a lost wake-up or a dead process left behind. Each step may run twice, and at the same time."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed, Failed, Scheduled

from prefect_codepipeline.errors import ApprovalAlreadyCompletedException
from prefect_codepipeline.model.execution import ProcessLost, ProcessStarted
from prefect_codepipeline.tasks import gate
from prefect_codepipeline.tasks.decision import answer_of, put_approval_result
from prefect_codepipeline.tasks.executions import KnownExecution, find_runs, known_execution
from prefect_codepipeline.tasks.lease import STALE_SECONDS, is_stale, server_time
from prefect_codepipeline.tasks.prefect_api import client
from prefect_codepipeline.tasks.record import RecordOf, utc_now
from prefect_codepipeline.tasks.suspension import resume

# A worker reports a crash twice, some seconds apart; the second report would undo a retry in between.
CRASH_SETTLES = timedelta(seconds=10)
# Between Running and the first lease a process reads its record.
START_GRACE = timedelta(seconds=STALE_SECONDS)
_OPEN_STATES = ["RUNNING", "PAUSED", "CRASHED", "CANCELLING"]


@flow(name="reconcile", persist_result=False)
def reconcile() -> State[Any]:
    """Repair once; for a schedule where neither `codepipeline up` nor another loop runs it."""
    repaired = reconcile_once()
    for sentence in repaired:
        get_run_logger().warning("%s", sentence)
    return Completed(message="; ".join(repaired) or "nothing to repair")


def reconcile_once(now: datetime | None = None) -> list[str]:
    """Expire approvals, wake decided ones, take lost executions on, open gates; what was done, as sentences.

    `now` is the server's time when nothing else is said.
    """
    now = now or server_time()
    repaired: list[str] = []
    pipelines: set[str] = set()
    for run in find_runs(state_types=_OPEN_STATES, limit=200):
        execution = known_execution(run)
        if execution.state is None:
            continue
        pipelines.add(execution.state.pinned.pipeline_name)
        repaired += _repair_approvals(execution, now) if execution.is_suspended else []
        repaired += _take_on_when_lost(execution, now)
    for pipeline_name in pipelines | gate.pipelines_with_gates():
        repaired += _open_gate(pipeline_name)
    return repaired


def _repair_approvals(execution: KnownExecution, now: datetime) -> list[str]:
    assert execution.state, "looked at before"
    done: list[str] = []
    for _, action in execution.state.open_approvals:
        request = action.request
        if request and request.expires_at <= now:
            try:
                put_approval_result(execution.id, request.token, "Expired", by="codepipeline")
            except ApprovalAlreadyCompletedException:
                continue
            done.append(f"execution {execution.id}: approval {action.name!r} expired")
    for _, action in execution.state.actions:
        if action.decision and not action.finished and resume(execution.id, answer_of(action.decision)):
            done.append(f"execution {execution.id}: woken, approval {action.name!r} was decided")
    return done


def _take_on_when_lost(execution: KnownExecution, now: datetime) -> list[str]:
    """Let an execution whose process died go on from its record; its action in flight then fails."""
    run = execution.run
    if not _is_lost(execution, now):
        return []
    if run["state_type"] != "CRASHED":
        client().set_flow_run_state(UUID(execution.id), Crashed(message="its process died"), force=True)
    process = [fact.process for fact in execution.facts if isinstance(fact, ProcessStarted)][-1]
    is_first_try = RecordOf(execution.id).write(ProcessLost(at=utc_now(), process=process))
    if is_first_try and run["deployment_id"]:
        client().set_flow_run_state(UUID(execution.id), Scheduled(name="AwaitingRetry"))
        return [f"execution {execution.id}: its process died; it goes on from its record"]
    message = _why_it_ends(bool(run["deployment_id"]))
    client().set_flow_run_state(UUID(execution.id), Failed(message=message), force=True)
    return [f"execution {execution.id}: {message}"]


def _why_it_ends(is_deployed: bool) -> str:
    if is_deployed:
        return "its process died, and so did the one that took it over; the worker's log says why"
    # Run in the foreground by somebody's terminal: nothing else could go on with it.
    return "the process that ran it died; start it again with `codepipeline run`"


def _is_lost(execution: KnownExecution, now: datetime) -> bool:
    run = execution.run
    if execution.state is None or run["state_type"] not in ("RUNNING", "CRASHED"):
        return False
    changed = datetime.fromisoformat(run["state"]["timestamp"].replace("Z", "+00:00"))
    if run["state_type"] == "CRASHED":
        return now - changed > CRASH_SETTLES
    return now - changed > START_GRACE and is_stale(execution.id, now)


def _open_gate(pipeline_name: str) -> list[str]:
    done: list[str] = []
    if dead := gate.free_dead_lock(pipeline_name):
        done.append(f"pipeline {pipeline_name!r}: the lock of execution {dead}, which is over, was freed")
    if gate.holder_of(pipeline_name) is None:
        gate.admit(pipeline_name)
    return done
