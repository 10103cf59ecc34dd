"""Repair what lost wake-ups and dead processes leave unfinished. Each step may run twice, and concurrently."""

import logging
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed, Scheduled

from prefect_codepipeline.engine.approvals.decision import WAKE_ONLY
from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import forget_pinned
from prefect_codepipeline.engine.executions.gate_state import Gates
from prefect_codepipeline.engine.executions.lookup import KnownExecution, find_all_runs, known_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.jobs.index import forget_ended_jobs
from prefect_codepipeline.engine.operations.deleting import finish_interrupted_deletions
from prefect_codepipeline.engine.operations.ending import (
    PREFECT_USER,
    Way,
    end_from_outside,
    has_work_elsewhere,
)
from prefect_codepipeline.engine.operations.first_execution import start_what_was_left
from prefect_codepipeline.engine.operations.projection import count_of_everything, project_missing
from prefect_codepipeline.engine.retention.prune import prune_when_due
from prefect_codepipeline.errors import (
    NewerRecord,
    PipelineNotFoundException,
    PrefectRefused,
    PrefectUnavailable,
)
from prefect_codepipeline.flows.approval_repair import repair_approvals, restore_forms
from prefect_codepipeline.model.record.facts import (
    AnyFact,
    ProcessLost,
    ProcessStarted,
    StopRequested,
)
from prefect_codepipeline.prefect_api.client import call, client, find_named, moment
from prefect_codepipeline.prefect_api.flow_runs import end_run, schedule_again
from prefect_codepipeline.prefect_api.leases import (
    STALE_SECONDS,
    Leases,
    drop_stale_leases,
    is_stale,
    leases_among,
    read_variables,
    server_time,
)
from prefect_codepipeline.prefect_api.suspension import resume

# A worker reports a crash twice, some seconds apart; the second report would undo a retry in between.
CRASH_SETTLES = timedelta(seconds=10)
# Between Running and the first lease a process reads its record.
START_GRACE = timedelta(seconds=STALE_SECONDS)
# How long after its end a run that was cancelled in Prefect is searched for.
CANCELLED_LATELY = timedelta(hours=1)
# How long a waiting execution is not read again when its state is the same.
LOOK_AGAIN = timedelta(minutes=1)
# How often the ids of jobs that ended long ago are forgotten.
FORGET_JOBS = timedelta(minutes=30)
# Other types of work pools may pull an image before a process starts.
OTHER_START_GRACE = timedelta(minutes=15)
_logger = logging.getLogger("codepipeline.reconcile")
_OPEN_STATES = ["RUNNING", "PAUSED", "CRASHED", "CANCELLING", "PENDING"]


# By flow run id: the id of the state that was read, and when to read again although it is the same. Under "woken" and
# that id: the wait for whose end the run was resumed, and when it may be resumed again for the same. Under "deployments":
# how many deployments and definitions there were, and when to count again. Under "jobs": when to forget ended ones. Under "open": the ids of the open runs, and
# when to search for cancelled ones although none has ended. Under "approvals" and a run: how many it waits for, the oldest.
Memory = dict[str, tuple[str, datetime]]
Runs = list[dict[str, Any]]


@flow(name="reconcile", persist_result=False)
def reconcile() -> State[Any]:
    """Repair once, as a flow with a schedule, and remove once a day what is old. `codepipeline up` does it by itself."""
    repaired = [*reconcile_once(), *prune_when_due()]
    for sentence in repaired:
        get_run_logger().warning("%s", sentence)
    return Completed(message="; ".join(repaired) or "nothing to repair")


def reconcile_once(
    now: datetime | None = None,
    memory: Memory | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Repair everything once. What was done and what could not be repaired, as sentences.

    Args:
        now: the server's time, which is requested when it is not given.
        memory: what earlier calls of the same loop have seen. A waiting execution is then read again when something
            about it can have changed, and after a minute at the latest.
        is_stopped: asked before each step; no further step begins once it is true.

    Raises:
        PrefectUnavailable: Prefect does not answer.
    """
    now = now or server_time()
    done: list[str] = []
    for what, step in _steps(now, {} if memory is None else memory):
        if is_stopped():
            break
        done += _done_by(what, step)
    return done


def open_approvals(memory: Memory) -> tuple[int, datetime | None]:
    """How many approvals the suspended executions of the last round wait for, and since when the oldest is open."""
    run_ids = memory.get("open", ("",))[0].split()
    found = [memory[key] for key in (f"approvals {run_id}" for run_id in run_ids) if key in memory]
    counted = [(int(count), oldest) for count, oldest in found if count != "0"]
    return sum(count for count, _ in counted), min((oldest for _, oldest in counted), default=None)


def _done_by(what: str, step: Callable[[], list[str]]) -> list[str]:
    """What one step did. Whatever is wrong with one execution, the others are repaired all the same."""
    try:
        return step()
    except NewerRecord as error:
        return [str(error)]
    except Exception as error:
        if isinstance(error, PrefectUnavailable) and not isinstance(error, PrefectRefused):
            raise
        _logger.exception("%s failed; it will be tried again", what)
        return [f"{what} failed: {type(error).__name__}: {error}"]


def _steps(now: datetime, memory: Memory) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """The steps of one round, each with the words for it. Each may run twice, and concurrently."""
    # When nothing has to be repaired, these two are the only requests.
    runs = find_all_runs(state_types=_OPEN_STATES)
    variables = read_variables()
    leases = leases_among(variables, now)
    for run in runs:  # resume those whose wait has ended, or that are stopped
        if run["state_type"] == "PAUSED":
            yield f"execution {run['id']}: its repair", partial(_wake, run, now, memory)
        else:
            memory.pop(f"approvals {run['id']}", None)
    for run in runs:  # schedule those again whose worker died before their process started
        if run["state_type"] == "PENDING":
            yield f"execution {run['id']}: its repair", partial(_reschedule, run, now, leases.fresh)
    for run in runs:  # resume those whose process died from their record; fail those that cannot be resumed
        if _is_orphaned(run, now, leases.fresh):
            yield f"execution {run['id']}: its repair", partial(_resume_or_end, run)
    yield "the look for cancelled executions", partial(_conclude_cancelled, runs, now, memory)
    alive = frozenset(run["id"] for run in runs if run["state_type"] != "PENDING")
    yield "the look for stale leases", partial(_drop_leases, leases, alive)
    for pipeline_name, gates in gate.gates_among(variables).items():
        yield f"pipeline {pipeline_name!r}: its gates", partial(_open_gates, pipeline_name, gates, alive)
    yield "the look for missing deployments", partial(_recreate_deployments, now, memory)
    yield "the look for ended jobs", partial(_forget_jobs, now, memory)


def _drop_leases(leases: Leases, alive: Collection[str]) -> list[str]:
    drop_stale_leases(leases, alive)
    return []


def _open_gates(pipeline_name: str, gates: Gates, alive: frozenset[str]) -> list[str]:
    """Free the locks of a pipeline's ended executions, and resume the executions that may enter."""
    freed = gate.tidy(pipeline_name, gates, alive)
    gate.wake_waiting(pipeline_name, None if freed else gates)
    return freed


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
            repaired += _done_by(f"execution {run['id']}: its end", partial(_conclude_known, run))
            memory[run["id"]] = (run["state_id"], now)
    return repaired


def _conclude_known(run: dict[str, Any]) -> list[str]:
    known = _known(run)
    return _conclude(known) if known else []


def _recreate_deployments(now: datetime, memory: Memory) -> list[str]:
    """Recreate deployments that were deleted, and update those that an interrupted deploy left outdated; each minute."""
    before, look_again = memory.get("deployments", ("", now))
    if now < look_again:
        return []
    count = count_of_everything()
    repairs = (finish_interrupted_deletions, project_missing, start_what_was_left)
    done = []
    if count != before:
        forget_pinned()  # some may have been deleted
        done = [sentence for repair in repairs for sentence in _done_by(repair.__name__, repair)]
    memory["deployments"] = ("" if done else count, now + (timedelta(0) if done else LOOK_AGAIN))
    return done


def _resume_or_end(run: dict[str, Any]) -> list[str]:
    known = _known(run)
    return _resume_or_fail(known) if known else _end_of_deleted(run)


def _known(run: dict[str, Any]) -> KnownExecution | None:
    """The execution of a run; None if its definition was deleted with its pipeline."""
    try:
        return known_execution(run)
    except PipelineNotFoundException:
        return None


def _end_of_deleted(run: dict[str, Any]) -> list[str]:
    """End the run of an execution that nothing can continue."""
    end_run(run["id"], Way.DELETED.status, Way.DELETED.sentence)
    return [f"execution {run['id']}: {Way.DELETED.sentence}, and it is Stopped now"]


def _forget_jobs(now: datetime, memory: Memory) -> list[str]:
    """Forget the ids of jobs that ended long ago; every half an hour."""
    _, look_again = memory.get("jobs", ("", now))
    if now >= look_again:
        memory["jobs"] = ("", now + FORGET_JOBS)
        forget_ended_jobs(now)
    return []


def _wake(run: dict[str, Any], now: datetime, memory: Memory) -> list[str]:
    state_id, look_again = memory.get(run["id"], ("", now))
    if state_id == run["state_id"] and now < look_again:
        return []
    try:
        execution = _known(run)
    except NewerRecord:
        memory[run["id"]] = (run["state_id"], now + LOOK_AGAIN)
        raise
    if execution is None:
        return _end_of_deleted(run)
    if execution.state is None:
        return []
    requests = [action.request.at for _, action in execution.state.open_approvals if action.request]
    memory[f"approvals {run['id']}"] = (str(len(requests)), min(requests, default=now))
    look_again = now + _share_of(LOOK_AGAIN, execution.id)
    memory[run["id"]] = (run["state_id"], min([look_again, *(wait.until for wait in execution.state.waits)]))
    done = [*restore_forms(execution), *repair_approvals(execution, now)]
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
    if state.final is None and execution.run["deployment_id"] and has_work_elsewhere(state):
        reason = Way.CANCELLED_IN_PREFECT.sentence
        stop = StopRequested(at=utc_now(), epoch=state.epoch, how="abandon", reason=reason, by=PREFECT_USER)
        RecordOf(execution.id).write(stop)
        schedule_again(execution.id)
        return [
            f"execution {execution.id}: was cancelled in Prefect, and starts once more to stop its work elsewhere"
        ]
    end_from_outside(execution, Way.CANCELLED_IN_PREFECT, PREFECT_USER)
    return [f"execution {execution.id}: was cancelled in Prefect, and is Stopped now"]


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
    message = None
    if execution.state is None and (
        said := run["state"]["message"]
    ):  # no process has begun: the worker says why
        message = f"no process of it could be started: {said}"
    end_from_outside(execution, way, message=message)
    return [f"execution {execution.id}: {message or way.sentence}"]


def _was_taken_over(execution_id: str, lost_at: datetime) -> bool:
    """Whether a worker took the run after its process was lost. If not, the lost process reported its crash late."""
    _, states = call("GET", f"/flow_run_states/?flow_run_id={execution_id}")
    return any(
        state["type"] in ("PENDING", "RUNNING") and moment(state["timestamp"]) > lost_at for state in states
    )
