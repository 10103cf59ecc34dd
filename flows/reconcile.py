"""Repair what lost wake-ups and dead processes leave unfinished. Each step may run twice, and concurrently."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed, Scheduled

from prefect_codepipeline.actions.rule_registry import can_abandon
from prefect_codepipeline.engine.approvals.decision import (
    WAKE_ONLY,
    approval_policy,
    expire_approval,
    settle_votes,
)
from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.lookup import KnownExecution, find_all_runs, known_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.notifications.approval_messages import (
    is_reminded,
    remind,
    reminder_due,
)
from prefect_codepipeline.engine.operations.ending import PREFECT_USER, Way, end_from_outside
from prefect_codepipeline.engine.operations.projection import count_of_everything, project_missing
from prefect_codepipeline.errors import ApprovalAlreadyCompletedException
from prefect_codepipeline.flows.approval import form_of
from prefect_codepipeline.model.record.facts import (
    AnyFact,
    ApprovalRequested,
    ProcessLost,
    ProcessStarted,
    StopRequested,
)
from prefect_codepipeline.model.record.state import ActionState, ExecutionState
from prefect_codepipeline.prefect_api.client import call, client, find_named, moment
from prefect_codepipeline.prefect_api.flow_runs import schedule_again
from prefect_codepipeline.prefect_api.leases import (
    STALE_SECONDS,
    Leases,
    drop_stale_leases,
    is_stale,
    leases_among,
    read_variables,
    server_time,
)
from prefect_codepipeline.prefect_api.suspension import restore_form, resume

# A worker reports a crash twice, some seconds apart; the second report would undo a retry in between.
CRASH_SETTLES = timedelta(seconds=10)
# Between Running and the first lease a process reads its record.
START_GRACE = timedelta(seconds=STALE_SECONDS)
# How long after its end a run that was cancelled in Prefect is searched for.
CANCELLED_LATELY = timedelta(hours=1)
# How long a waiting execution is not read again when its state is the same.
LOOK_AGAIN = timedelta(minutes=1)
# Other types of work pools may pull an image before a process starts.
OTHER_START_GRACE = timedelta(minutes=15)
_OPEN_STATES = ["RUNNING", "PAUSED", "CRASHED", "CANCELLING", "PENDING"]


# By flow run id: the id of the state that was read, and when to read again although it is the same. Under "woken" and
# that id: the wait for whose end the run was resumed, and when it may be resumed again for the same. Under "deployments":
# how many deployments and definitions there were, and when to count again. Under "open": the ids of the open runs, and
# when to search for cancelled ones although none has ended.
Memory = dict[str, tuple[str, datetime]]
Runs = list[dict[str, Any]]


@flow(name="reconcile", persist_result=False)
def reconcile() -> State[Any]:
    """Repair once, as a flow with a schedule. `codepipeline up` and the gateway reconcile by themselves."""
    repaired = reconcile_once()
    for sentence in repaired:
        get_run_logger().warning("%s", sentence)
    return Completed(message="; ".join(repaired) or "nothing to repair")


def reconcile_once(now: datetime | None = None, memory: Memory | None = None) -> list[str]:
    """Repair everything once. What was done, as sentences.

    Args:
        now: the server's time, which is requested when it is not given.
        memory: what earlier calls of the same loop have seen. A waiting execution is then read again when something
            about it can have changed, and after a minute at the latest.
    """
    now = now or server_time()
    memory = {} if memory is None else memory
    # When nothing has to be repaired, these two are the only requests.
    runs = find_all_runs(state_types=_OPEN_STATES)
    variables = read_variables()
    leases = leases_among(variables, now)
    return [
        *_wake_suspended(runs, now, memory),
        *_reschedule_unstarted(runs, now, leases.fresh),
        *_resume_orphaned(runs, now, leases.fresh),
        *_conclude_cancelled(runs, now, memory),
        *_open_gates(runs, variables, leases),
        *_recreate_deployments(now, memory),
    ]


def _wake_suspended(runs: Runs, now: datetime, memory: Memory) -> list[str]:
    """Resume suspended executions whose wait has ended, or that are stopped."""
    suspended = [run for run in runs if run["state_type"] == "PAUSED"]
    return [sentence for run in suspended for sentence in _wake(run, now, memory)]


def _reschedule_unstarted(runs: Runs, now: datetime, leased: Collection[str]) -> list[str]:
    """Schedule runs again whose worker died after it had taken them, before their process started."""
    pending = [run for run in runs if run["state_type"] == "PENDING"]
    return [sentence for run in pending for sentence in _reschedule(run, now, leased)]


def _resume_orphaned(runs: Runs, now: datetime, leased: Collection[str]) -> list[str]:
    """Resume executions whose process died from their record; fail those that cannot be resumed."""
    orphaned = [run for run in runs if _is_orphaned(run, now, leased)]
    return [sentence for run in orphaned for sentence in _resume_or_fail(known_execution(run))]


def _open_gates(runs: Runs, variables: list[dict[str, Any]], leases: Leases) -> list[str]:
    """Free the locks of ended executions, drop leases of dead processes, and resume the executions that may enter."""
    alive = frozenset(run["id"] for run in runs if run["state_type"] != "PENDING")
    drop_stale_leases(leases, alive)
    repaired: list[str] = []
    for pipeline_name, gates in gate.gates_among(variables).items():
        freed = gate.tidy(pipeline_name, gates, alive)
        repaired += freed
        gate.wake_waiting(pipeline_name, None if freed else gates)
    return repaired


def _conclude_cancelled(runs: Runs, now: datetime, memory: Memory) -> list[str]:
    """Record the end of executions that were cancelled in Prefect. Searched when a run has ended, and each minute."""
    still_open = " ".join(sorted(run["id"] for run in runs))
    before, look_again = memory.get("open", ("", now))
    if now < look_again and set(before.split()) <= set(still_open.split()):
        memory["open"] = (still_open, look_again)
        return []
    memory["open"] = (still_open, now + LOOK_AGAIN)
    repaired: list[str] = []
    for run in find_all_runs(state_names=["Cancelled"], ended_after=now - CANCELLED_LATELY):
        if memory.get(run["id"], ("",))[0] != run["state_id"]:
            repaired += _conclude(known_execution(run))
            memory[run["id"]] = (run["state_id"], now)
    return repaired


def _recreate_deployments(now: datetime, memory: Memory) -> list[str]:
    """Recreate deployments that were deleted, and update those that an interrupted deploy left outdated; each minute."""
    before, look_again = memory.get("deployments", ("", now))
    if now < look_again:
        return []
    count = count_of_everything()
    done = project_missing() if count != before else []
    memory["deployments"] = ("" if done else count, now + (timedelta(0) if done else LOOK_AGAIN))
    return done


def _wake(run: dict[str, Any], now: datetime, memory: Memory) -> list[str]:
    state_id, look_again = memory.get(run["id"], ("", now))
    if state_id == run["state_id"] and now < look_again:
        return []
    execution = known_execution(run)
    if execution.state is None:
        return []
    look_again = now + _share_of(LOOK_AGAIN, execution.id)
    memory[run["id"]] = (run["state_id"], min([look_again, *(wait.until for wait in execution.state.waits)]))
    done = [*_restore_form(execution), *_repair_approvals(execution, now)]
    done += _resume_waiting(execution, now, memory)
    if _has_new_stop(execution.facts) and resume(execution.id, WAKE_ONLY):
        done.append(f"execution {execution.id}: resumed, it was asked to stop")
    return done


def _share_of(most: timedelta, execution_id: str) -> timedelta:
    """Half of a time or more, by the execution: so that many executions are not all read in one round."""
    return most * (0.5 + UUID(execution_id).int % 1000 / 2000)


def _resume_waiting(execution: KnownExecution, now: datetime, memory: Memory) -> list[str]:
    """Resume an execution if something that it waits for has come: a time, a decision, another fact."""
    assert execution.state, "checked by the caller"
    is_inside = any(stage.entered and not stage.finished for stage in execution.state.stages)
    if is_inside and not execution.state.waits:  # a process that was replaced has ended its wait
        is_resumed = resume(execution.id, WAKE_ONLY)
        return [f"execution {execution.id}: resumed, it waits for nothing"] if is_resumed else []
    keys = {fact.key for fact in execution.facts}
    stopped = execution.state.stop.how if execution.state.stop else None
    over = [wait for wait in execution.state.waits if wait.has_ended(utc_now(), keys, stopped)]
    if not over:
        return []
    # A process whose clock is behind suspends the execution again. It is not resumed in each round for that.
    mark, woken = f"{over[0].what} {over[0].until}", f"woken {execution.id}"
    before, not_before = memory.get(woken, ("", now))
    if (before == mark and now < not_before) or not resume(execution.id, WAKE_ONLY):
        return []
    memory[woken] = (mark, now + LOOK_AGAIN)
    return [f"execution {execution.id}: resumed, a wait has ended: {over[0].what}"]


def _has_new_stop(facts: list[AnyFact]) -> bool:
    """Whether a stop was requested after the last process began. That process knew of earlier ones."""
    started = max((n for n, fact in enumerate(facts) if isinstance(fact, ProcessStarted)), default=-1)
    return any(isinstance(fact, StopRequested) for fact in facts[started + 1 :])


def _conclude(execution: KnownExecution) -> list[str]:
    """Give an execution that was cancelled in Prefect the same end as a stop."""
    state = execution.state
    if state is None:
        return []
    if state.final is None:
        if not is_stale(execution.id, server_time()):
            return []  # its process is alive and ends it
    elif state.final.status != "Stopped":
        return []
    if state.final is None and execution.run["deployment_id"] and _has_work_elsewhere(state):
        reason = Way.CANCELLED_IN_PREFECT.sentence
        stop = StopRequested(at=utc_now(), epoch=state.epoch, how="abandon", reason=reason, by=PREFECT_USER)
        RecordOf(execution.id).write(stop)
        schedule_again(execution.id)
        return [
            f"execution {execution.id}: was cancelled in Prefect, and starts once more to stop its work elsewhere"
        ]
    end_from_outside(execution, Way.CANCELLED_IN_PREFECT, PREFECT_USER)
    return [f"execution {execution.id}: was cancelled in Prefect, and is Stopped now"]


def _has_work_elsewhere(state: ExecutionState) -> bool:
    """Whether an action or a rule has work that continues without a process, and that only its provider can stop.

    The process of a worker stops it: this one may have no credentials for it.
    """
    actions = (action for _, action in state.actions if action.status == "InProgress")
    conditions = (condition for stage in state.stages for condition in stage.conditions)
    rules = (condition.next_rule for condition in conditions if condition.status == "InProgress")
    return any(action.waits or action.kept for action in actions) or any(
        rule and can_abandon(rule) for rule in rules
    )


def _restore_form(execution: KnownExecution) -> list[str]:
    """Write the form of an approval if its process died before it wrote it. Prefect resumes no run without its form."""
    assert execution.state, "checked by the caller"
    for stage, action in execution.state.actions:
        if action.request and restore_form(
            execution.run, form_of(execution.state, stage.name, action.request)
        ):
            return [f"execution {execution.id}: the form of approval {action.name!r} was missing"]
    return []


def _repair_approvals(execution: KnownExecution, now: datetime) -> list[str]:
    assert execution.state, "checked by the caller"
    done: list[str] = []
    for _, action in execution.state.open_approvals:
        request = action.request
        if request and (action.votes or request.expires_at <= now):
            done += _end_approval(execution, action, request, now)
        elif request and not is_reminded(execution, request.token):
            done += _remind(execution, action, request, now)
    return done


def _end_approval(
    execution: KnownExecution, action: ActionState, request: ApprovalRequested, now: datetime
) -> list[str]:
    """Record the decision that its votes amount to, or its expiry."""
    assert execution.state, "checked by the caller"
    what = f"execution {execution.id}: approval {action.name!r}"
    policy = approval_policy(execution.state, action)
    try:
        if settle_votes(execution.id, request.token, policy):
            return [f"{what} has enough votes"]
        if request.expires_at <= now:
            expire_approval(execution.id, request.token, policy)
            return [f"{what} expired"]
    except ApprovalAlreadyCompletedException:
        pass
    return []


def _remind(
    execution: KnownExecution, action: ActionState, request: ApprovalRequested, now: datetime
) -> list[str]:
    assert execution.state, "checked by the caller"
    due = reminder_due(request, approval_policy(execution.state, action))
    if due and due <= now and remind(execution, request):
        return [f"execution {execution.id}: a reminder of approval {action.name!r} was sent"]
    return []


def _reschedule(run: dict[str, Any], now: datetime, leased: Collection[str]) -> list[str]:
    changed = moment(run["state"]["timestamp"])
    grace = START_GRACE if _starts_at_once(run["work_pool_name"]) else OTHER_START_GRACE
    if not run["deployment_id"] or now - changed <= grace or run["id"] in leased:
        return []
    client().set_flow_run_state(UUID(run["id"]), Scheduled(name="AwaitingRetry"), force=True)
    return [f"execution {run['id']}: the worker that had taken it died; it is scheduled again"]


def _starts_at_once(work_pool_name: str | None) -> bool:
    pool = find_named("/work_pools", work_pool_name or "")
    return pool is not None and pool["type"] == "codepipeline"


def _is_orphaned(run: dict[str, Any], now: datetime, leased: Collection[str]) -> bool:
    """Whether an unfinished run has no process."""
    changed = moment(run["state"]["timestamp"])
    if run["state_type"] == "CRASHED":
        return now - changed > CRASH_SETTLES
    return now - changed > START_GRACE and run["id"] not in leased and run["state_type"] == "RUNNING"


def _resume_or_fail(execution: KnownExecution) -> list[str]:
    """Resume an execution from its record; the action that was running fails. The second death in a row is final."""
    run = execution.run
    if run["state_type"] != "CRASHED":
        client().set_flow_run_state(UUID(execution.id), Crashed(message="its process died"), force=True)
    # 0: it died before it wrote its first fact.
    process = max((fact.process for fact in execution.facts if isinstance(fact, ProcessStarted)), default=0)
    lost = ProcessLost(at=utc_now(), process=process)
    known = RecordOf(execution.id).write_or_read(lost)
    if run["deployment_id"] and (known == lost or not _was_taken_over(execution.id, known.at)):
        client().set_flow_run_state(UUID(execution.id), Scheduled(name="AwaitingRetry"))
        return [f"execution {execution.id}: its process died; it is resumed from its record"]
    way = Way.DIED_TWICE if run["deployment_id"] else Way.DIED_IN_FOREGROUND
    end_from_outside(execution, way)
    return [f"execution {execution.id}: {way.sentence}"]


def _was_taken_over(execution_id: str, lost_at: datetime) -> bool:
    """Whether a worker took the run after its process was lost. If not, the lost process reported its crash late."""
    _, states = call("GET", f"/flow_run_states/?flow_run_id={execution_id}")
    return any(
        state["type"] in ("PENDING", "RUNNING") and moment(state["timestamp"]) > lost_at for state in states
    )
