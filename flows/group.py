"""The actions of one run order: each in a thread, until all have ended or only waits are left."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from functools import partial

from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.flows.task_run import run_action_step
from prefect_codepipeline.model.definition.execution_modes import MAX_PARALLEL_ACTIONS
from prefect_codepipeline.model.definition.plan import Group
from prefect_codepipeline.model.record.state import ActionState, ExecutionState
from prefect_codepipeline.prefect_api.suspension import Wake, suspend
from prefect_codepipeline.tasks.action import run_action

# A wait shorter than this is done in the process: a suspension and a resumption cost more.
IN_PROCESS_SECONDS = 5.0
# How often a process looks whether a wait has ended, and how often an action is called again at most.
LOOK_SECONDS = 1.0


def run_group(execution: Execution, stage_name: str, group: Group) -> bool:
    """Run the actions of a group until all have ended. False if only waits are left, for which no process is needed.

    After a stop request nothing starts, but what an earlier process started is continued, so that it ends properly.
    """
    called: dict[str, int] = {}  # by the name of an action, the number of the wait after which it was called
    running: dict[str, Future[None]] = {}
    with _threads(execution, len(group)) as threads:
        while True:
            for action in _to_call(execution, stage_name, group, called):
                called[action.name] = action.waits.number if action.waits else 0
                step = partial(run_action_step, run_action, execution, stage_name, action.name)
                running[action.name] = threads.submit(copy_context().run, step)
            waiting = [
                action
                for action in _states(execution, stage_name, group)
                if action.is_waiting and action.name not in running
            ]
            if running:
                wait(running.values(), LOOK_SECONDS if waiting else None, FIRST_COMPLETED)
                running = {name: future for name, future in running.items() if not future.done()}
            elif not waiting:
                return True
            elif execution.can_suspend and _is_long(waiting):
                return False
            else:
                time.sleep(min(LOOK_SECONDS, IN_PROCESS_SECONDS / 10))
            if waiting:
                execution.refresh()
                execution.look_for_stop()


def suspend_until_due(execution: Execution) -> None:
    """Suspend the run until one of the actions that wait is due, or a stop is requested. Raises `Pause`."""
    known_stop = execution.state.stop

    def is_over() -> bool:
        execution.refresh()
        stop = execution.look_for_stop()
        return stop != known_stop or are_due(execution.state, (fact.key for fact in execution.facts))

    suspend(execution.id, what_is_waited_for(execution.state), lambda: Wake(is_over()))


def are_due(state: ExecutionState, keys: Iterable[str]) -> bool:
    """Whether an action that waits is due, or must end, with these facts."""
    waiting, now, known = state.waiting_actions, utc_now(), set(keys)
    abandoned = bool(state.stop and state.stop.how == "abandon")
    return any(abandoned or (action.waits and action.waits.is_due(now, known)) for action in waiting)


def what_is_waited_for(state: ExecutionState) -> str:
    """The actions that wait, each with what it waits for, for users."""
    return "; ".join(
        f"action {action.name!r} waits" + (f": {action.summary}" if action.summary else "")
        for action in state.waiting_actions
    )


def _to_call(
    execution: Execution, stage_name: str, group: Group, called: dict[str, int]
) -> Iterator[ActionState]:
    """The actions that have not been called yet, and those whose wait has ended."""
    keys, now = {fact.key for fact in execution.facts}, utc_now()
    for action in _states(execution, stage_name, group):
        if action.waits and not action.finished:
            is_new = called.get(action.name, -1) < action.waits.number
            rested = now >= action.waits.at + timedelta(seconds=LOOK_SECONDS)
            is_due = execution.cancellation.cancelled or (rested and action.waits.is_due(now, keys))
            if is_new and is_due:
                yield action
        elif action.name not in called and action.status != "Succeeded":
            may_start = action.status == "InProgress" or not execution.state.stop
            if may_start:
                yield action


def _states(execution: Execution, stage_name: str, group: Group) -> list[ActionState]:
    state = execution.state.stage(stage_name)
    return [state.action(action.name) for action in group]


def _is_long(waiting: list[ActionState]) -> bool:
    """Whether the next look at an action is worth a suspension. A fact may be written at any time."""
    times = [action.waits.until for action in waiting if action.waits and action.waits.until]
    return min(times) - utc_now() > timedelta(seconds=IN_PROCESS_SECONDS)


@contextmanager
def _threads(execution: Execution, size: int) -> Iterator[ThreadPoolExecutor]:
    most = MAX_PARALLEL_ACTIONS if execution.declaration.execution_mode == "PARALLEL" else size
    with ThreadPoolExecutor(min(most, size), "codepipeline-action") as threads:
        try:
            yield threads
        except BaseException:
            # The threads do not get the signal that ended the wait for them. This ends them, so that the executor does
            # not block when it is closed.
            execution.interrupt()
            raise
