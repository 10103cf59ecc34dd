"""Repair what a lost wake-up or a dead process left behind. Each step may run twice, and at the same time."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Crashed, Failed, Scheduled

from prefect_codepipeline.errors import ApprovalAlreadyCompletedException
from prefect_codepipeline.flows.approval import form_of
from prefect_codepipeline.model.execution import ApprovalRequested, ProcessLost, ProcessStarted
from prefect_codepipeline.model.state import ActionState
from prefect_codepipeline.tasks import gate
from prefect_codepipeline.tasks.approval_messages import (
    is_reminded,
    remind,
    reminder_due,
    withdraw_buttons,
)
from prefect_codepipeline.tasks.decision import (
    WAKE_ONLY,
    answer_of,
    approval_policy,
    expire_approval,
    settle_votes,
)
from prefect_codepipeline.tasks.executions import KnownExecution, find_all_runs, known_execution
from prefect_codepipeline.tasks.lease import (
    STALE_SECONDS,
    drop_stale_leases,
    is_stale,
    leases_among,
    read_variables,
    server_time,
)
from prefect_codepipeline.tasks.prefect_api import call, client, moment
from prefect_codepipeline.tasks.projection import count_of_everything, project_missing
from prefect_codepipeline.tasks.record import RecordOf, utc_now
from prefect_codepipeline.tasks.report import tell_the_end
from prefect_codepipeline.tasks.stopping import give_up, wind_up
from prefect_codepipeline.tasks.suspension import restore_form, resume

# A worker reports a crash twice, some seconds apart; the second report would undo a retry in between.
CRASH_SETTLES = timedelta(seconds=10)
# Between Running and the first lease a process reads its record.
START_GRACE = timedelta(seconds=STALE_SECONDS)
# How long a run that was cancelled in Prefect is looked for, and a waiting one left alone.
CANCELLED_LATELY = timedelta(hours=1)
LOOK_AGAIN = timedelta(minutes=1)
OTHER_START_GRACE = timedelta(minutes=15)
_CANCELLER, _CANCELLED = "Prefect UI or API", "cancelled in Prefect"
_OPEN_STATES = ["RUNNING", "PAUSED", "CRASHED", "CANCELLING", "PENDING"]


# Of each waiting execution: the state that was looked at, and when to look again though it is the same. Of the
# deployments: how many there were, of how many definitions, and when to look again. Of the open runs: their ids, and
# when to look for cancelled ones though none has ended.
Memory = dict[str, tuple[str, datetime]]


@flow(name="reconcile", persist_result=False)
def reconcile() -> State[Any]:
    """Repair once; for a schedule where neither `codepipeline up` nor another loop runs it."""
    repaired = reconcile_once()
    for sentence in repaired:
        get_run_logger().warning("%s", sentence)
    return Completed(message="; ".join(repaired) or "nothing to repair")


def reconcile_once(now: datetime | None = None, memory: Memory | None = None) -> list[str]:
    """Expire approvals, wake who need not wait, take lost executions on, open gates, make lost deployments anew.

    Says what was done, as sentences.

    Args:
        now: the server's time when nothing else is said.
        memory: what the call before has seen, for a loop: executions that wait are then looked at when something
            about them can have changed, and after a minute at the latest.
    """
    now = now or server_time()
    memory = {} if memory is None else memory
    repaired: list[str] = []
    # Where nothing is to be repaired, these two are all that is asked of the server.
    open_runs = find_all_runs(state_types=_OPEN_STATES)
    variables = read_variables()
    leases = leases_among(variables, now)
    for run in open_runs:
        if run["state_type"] == "PAUSED":
            repaired += _look_at_waiting(run, now, memory)
        elif run["state_type"] == "PENDING":
            repaired += _schedule_again(run, now, leases.fresh)
        elif _may_be_lost(run, now, leases.fresh):
            repaired += _take_on(known_execution(run))
    repaired += _look_at_cancelled(open_runs, now, memory)
    alive = frozenset(run["id"] for run in open_runs if run["state_type"] != "PENDING")
    drop_stale_leases(leases, alive)
    for pipeline_name, gates in gate.gates_among(variables).items():
        freed = gate.tidy(pipeline_name, gates, alive)
        repaired += freed
        gate.wake_waiting(pipeline_name, None if freed else gates)
    return repaired + _repair_deployments(now, memory)


def _look_at_cancelled(open_runs: list[dict[str, Any]], now: datetime, memory: Memory) -> list[str]:
    """Name the ends of runs that were cancelled in Prefect: asked for when a run has ended, or a minute has gone."""
    still_open = " ".join(sorted(run["id"] for run in open_runs))
    before, look_again = memory.get("open", ("", now))
    if now < look_again and set(before.split()) <= set(still_open.split()):
        memory["open"] = (still_open, look_again)
        return []
    memory["open"] = (still_open, now + LOOK_AGAIN)
    repaired: list[str] = []
    for run in find_all_runs(state_names=["Cancelled"], ended_after=now - CANCELLED_LATELY):
        if memory.get(run["id"], ("",))[0] != run["state_id"]:
            repaired += _name_its_end(known_execution(run))
            memory[run["id"]] = (run["state_id"], now)
    return repaired


def _repair_deployments(now: datetime, memory: Memory) -> list[str]:
    """Make the deployments anew that somebody deleted, or that a deploy which was cut off left; asked every minute."""
    before, look_again = memory.get("deployments", ("", now))
    if now < look_again:
        return []
    count = count_of_everything()
    done = project_missing() if count != before else []
    memory["deployments"] = ("" if done else count, now + (timedelta(0) if done else LOOK_AGAIN))
    return done


def _look_at_waiting(run: dict[str, Any], now: datetime, memory: Memory) -> list[str]:
    """Wake a suspended execution whose time has come, or whose wake-up was lost."""
    state_id, look_again = memory.get(run["id"], ("", now))
    if state_id == run["state_id"] and now < look_again:
        return []
    execution = known_execution(run)
    if execution.state is None:
        return []
    expiries = [action.request.expires_at for _, action in execution.state.open_approvals if action.request]
    waits = [wait.at for wait in execution.state.open_waits]
    memory[run["id"]] = (run["state_id"], min([now + LOOK_AGAIN, *expiries, *waits]))
    done = [*_restore_form(execution), *_repair_approvals(execution, now)]
    if waits and min(waits) <= now and resume(execution.id):
        done.append(f"execution {execution.id}: woken, a rule is to be asked again")
    if execution.state.stop and resume(execution.id, WAKE_ONLY):
        done.append(f"execution {execution.id}: woken, it is to stop")
    return done


def _name_its_end(execution: KnownExecution) -> list[str]:
    """Give a run that somebody cancelled in Prefect the end that a stop has."""
    state = execution.state
    if state is None:
        return []
    if state.final is None:
        if not is_stale(execution.id, server_time()):
            return []  # its process still ends it
        wind_up(state, _CANCELLER, _CANCELLED)
    elif state.final.status != "Stopped":
        return []
    message = state.final.summary if state.final else f"{_CANCELLER}: {_CANCELLED}"
    client().set_flow_run_state(UUID(execution.id), Cancelled(name="Stopped", message=message), force=True)
    withdraw_buttons(execution)
    tell_the_end(execution.id)
    return [f"execution {execution.id}: it was cancelled in Prefect and is Stopped"]


def _restore_form(execution: KnownExecution) -> list[str]:
    """Write the form of an approval whose process died between the suspension and the form; first, as nothing else wakes it."""
    assert execution.state, "looked at before"
    for stage, action in execution.state.actions:
        if action.request and restore_form(
            execution.run, form_of(execution.state, stage.name, action.request)
        ):
            return [f"execution {execution.id}: the form of approval {action.name!r} was missing"]
    return []


def _repair_approvals(execution: KnownExecution, now: datetime) -> list[str]:
    assert execution.state, "looked at before"
    done: list[str] = []
    for _, action in execution.state.open_approvals:
        request = action.request
        if request and (action.votes or request.expires_at <= now):
            done += _end_approval(execution, action, request, now)
        elif request and not is_reminded(execution, request.token):
            done += _remind(execution, action, request, now)
    for _, action in execution.state.actions:
        if action.decision and not action.finished and resume(execution.id, answer_of(action.decision)):
            done.append(f"execution {execution.id}: woken, approval {action.name!r} was decided")
    return done


def _end_approval(
    execution: KnownExecution, action: ActionState, request: ApprovalRequested, now: datetime
) -> list[str]:
    """Decide what its votes have decided, and what nobody did in time."""
    assert execution.state, "looked at before"
    what = f"execution {execution.id}: approval {action.name!r}"
    policy = approval_policy(execution.state, action)
    try:
        if settle_votes(execution.id, request.token, policy):
            return [f"{what} has the votes that it needs"]
        if request.expires_at <= now:
            expire_approval(execution.id, request.token, policy)
            return [f"{what} expired"]
    except ApprovalAlreadyCompletedException:
        pass
    return []


def _remind(
    execution: KnownExecution, action: ActionState, request: ApprovalRequested, now: datetime
) -> list[str]:
    assert execution.state, "looked at before"
    due = reminder_due(request, approval_policy(execution.state, action))
    if due and due <= now and remind(execution, request):
        return [f"execution {execution.id}: reminded of approval {action.name!r}"]
    return []


def _schedule_again(run: dict[str, Any], now: datetime, leased: Collection[str]) -> list[str]:
    """Have a run taken anew whose worker died after it had taken it, before there was a process."""
    changed = moment(run["state"]["timestamp"])
    # Another type of work pool may pull an image first, and that takes what it takes.
    grace = START_GRACE if _starts_at_once(run["work_pool_name"]) else OTHER_START_GRACE
    if not run["deployment_id"] or now - changed <= grace or run["id"] in leased:
        return []
    client().set_flow_run_state(UUID(run["id"]), Scheduled(name="AwaitingRetry"), force=True)
    return [f"execution {run['id']}: the worker that had taken it is gone; it is scheduled again"]


def _starts_at_once(work_pool_name: str | None) -> bool:
    status, pool = call("GET", f"/work_pools/{work_pool_name}", expected=(404,))
    return status == 200 and pool["type"] == "codepipeline"


def _may_be_lost(run: dict[str, Any], now: datetime, leased: Collection[str]) -> bool:
    """Whether nobody works on a run that should go on."""
    changed = moment(run["state"]["timestamp"])
    if run["state_type"] == "CRASHED":
        return now - changed > CRASH_SETTLES
    return now - changed > START_GRACE and run["id"] not in leased and run["state_type"] == "RUNNING"


def _take_on(execution: KnownExecution) -> list[str]:
    """Let an execution whose process died go on from its record; its action in flight then fails."""
    run = execution.run
    if run["state_type"] != "CRASHED":
        client().set_flow_run_state(UUID(execution.id), Crashed(message="its process died"), force=True)
    # 0: it died before it could write anything down.
    process = max((fact.process for fact in execution.facts if isinstance(fact, ProcessStarted)), default=0)
    lost = ProcessLost(at=utc_now(), process=process)
    known = RecordOf(execution.id).write_or_read(lost)
    if run["deployment_id"] and (known == lost or not _was_taken_over(execution.id, known.at)):
        client().set_flow_run_state(UUID(execution.id), Scheduled(name="AwaitingRetry"))
        return [f"execution {execution.id}: its process died; it goes on from its record"]
    message = _why_it_ends(bool(run["deployment_id"]))
    if execution.state and execution.state.final is None:
        give_up(execution.state, message)
    client().set_flow_run_state(UUID(execution.id), Failed(message=message), force=True)
    tell_the_end(execution.id)
    return [f"execution {execution.id}: {message}"]


def _was_taken_over(execution_id: str, lost_at: datetime) -> bool:
    """Whether a worker took the run after its process was lost; if not, the crash is that process's own last word."""
    _, states = call("GET", f"/flow_run_states/?flow_run_id={execution_id}")
    return any(
        state["type"] in ("PENDING", "RUNNING") and moment(state["timestamp"]) > lost_at for state in states
    )


def _why_it_ends(is_deployed: bool) -> str:
    if is_deployed:
        return "its process died, and so did the one that took it over; the worker's log says why"
    # Run in the foreground by somebody's terminal: nothing else could go on with it.
    return "the process that ran it died; start it again with `codepipeline run`"
