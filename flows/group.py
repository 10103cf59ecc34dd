"""The actions of one run order, each in a thread, until all have ended or nothing but waits is left.

Actions that work, actions that wait and approvals run side by side. What waits has no thread: while others work, the
process looks whether the wait has ended.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from functools import partial

from prefect_codepipeline.engine.executions.process import Execution, OutcomeUnknown
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.flows.approval import take_answers
from prefect_codepipeline.flows.task_run import run_step
from prefect_codepipeline.flows.waiting import (
    IDLE_LOOK_SECONDS,
    IN_PROCESS_SECONDS,
    LOOK_SECONDS,
    ends_soon,
    has_ended,
    look_for_ends,
)
from prefect_codepipeline.model.definition.execution_modes import MAX_PARALLEL_ACTIONS
from prefect_codepipeline.model.definition.plan import Group
from prefect_codepipeline.model.record.state import ActionState
from prefect_codepipeline.model.record.waiting_facts import Wait

_logger = logging.getLogger(__name__)


def run_group(execution: Execution, stage_name: str, group: Group) -> bool:
    """Run the actions of a group until all have ended. False if only waits are left, for which no process is needed.

    After a stop request nothing starts, but what an earlier process started is continued, so that it ends properly.
    """
    take_answers(execution, states_of(execution, stage_name, group))
    patience = _Patience(resumed=bool(_waits(states_of(execution, stage_name, group), {})))
    called: dict[str, int] = {}  # by the name of an action, how often it had begun to wait when it was called
    running: dict[str, Future[None]] = {}
    with _threads(execution, len(group)) as threads:
        while True:
            for action in _to_call(execution, states_of(execution, stage_name, group), called):
                if not _may_have_a_thread(
                    action, states_of(execution, stage_name, group), running, _most_at_once(execution)
                ):
                    continue  # so that a stop reaches what has no thread yet, and an approval never waits for one
                if action.name not in called and not action.waits:
                    patience.renew()
                called[action.name] = action.looks
                step = partial(run_step, execution, stage_name, action.action)
                running[action.name] = threads.start(step)
            waits = _waits(states_of(execution, stage_name, group), running)
            if running:
                wait(running.values(), LOOK_SECONDS if waits else None, FIRST_COMPLETED)
                for name in [name for name, future in running.items() if future.done()]:
                    if error := running.pop(name).exception():
                        _logger.warning("action %r ended without a result: %r", name, error)
            else:
                threads.rest()
                _check_all_said(execution, states_of(execution, stage_name, group), called)
                if not waits:
                    return True
                if execution.can_suspend and not ends_soon(execution, waits, patience.seconds_left()):
                    return False
                time.sleep(IDLE_LOOK_SECONDS)
            if waits:
                look_for_ends(execution, waits)
                take_answers(execution, states_of(execution, stage_name, group), only_votes=True)


class _Patience:
    """How long the process is kept while only waits are left. One that was started for a look has none."""

    def __init__(self, resumed: bool) -> None:
        self._seconds = 0.0 if resumed else IN_PROCESS_SECONDS
        self._since: float | None = None

    def renew(self) -> None:
        """Something new has started."""
        self._seconds, self._since = IN_PROCESS_SECONDS, None

    def seconds_left(self) -> float:
        """Counted from the first call: then nothing but waits is left."""
        self._since = self._since or time.monotonic()
        return self._seconds - (time.monotonic() - self._since)


def _to_call(
    execution: Execution, actions: Iterable[ActionState], called: dict[str, int]
) -> Iterator[ActionState]:
    """The actions that have not been called yet, and those whose wait has ended. Approvals are asked for first."""
    for action in sorted(actions, key=lambda action: not action.action.is_approval):
        if action.wait:
            is_new = called.get(action.name, -1) < action.looks
            if is_new and has_ended(execution, action.wait) and _has_rested(execution, action):
                yield action
        elif action.name not in called and not action.finished:
            may_start = action.status == "InProgress" or not execution.state.stop
            if may_start:
                yield action


def _may_have_a_thread(
    action: ActionState, group: Iterable[ActionState], running: Collection[str], most: float
) -> bool:
    """Whether an action may be called beside the others. One that waits for work elsewhere is in progress too."""
    if action.action.is_approval or action.started:
        return True
    in_progress = (other for other in group if other.status == "InProgress" or other.name in running)
    return sum(not other.action.is_approval for other in in_progress) < most


def _most_at_once(execution: Execution) -> float:
    return MAX_PARALLEL_ACTIONS if execution.declaration.execution_mode == "PARALLEL" else float("inf")


def _has_rested(execution: Execution, action: ActionState) -> bool:
    """Whether the provider was not called just now, or has not been called with the fact that it waits for.

    The end of an approval calls no provider.
    """
    if not action.waits or action.waits.has_been_answered(execution.facts):
        return True
    rested = abs(utc_now() - action.waits.at)  # the clock may have been put back
    return rested >= timedelta(seconds=LOOK_SECONDS)


def _waits(actions: Iterable[ActionState], running: dict[str, Future[None]]) -> list[Wait]:
    return [action.wait for action in actions if action.wait and action.name not in running]


def _check_all_said(execution: Execution, actions: Iterable[ActionState], called: dict[str, int]) -> None:
    """Raise if an action was called, but its record has neither its end nor that it waits (again).

    Raises:
        OutcomeUnknown: so that reconcile resumes the execution, and the next process calls the action again.
        TakenOver: another process has taken over the execution, which explains it.
    """
    for action in actions:
        if action.name in called and not action.finished and action.looks <= called[action.name]:
            execution.look_for_stop()
            raise OutcomeUnknown(f"what became of action {action.name!r} is not recorded")


def states_of(execution: Execution, stage_name: str, group: Group) -> list[ActionState]:
    """The actions of a group as they are now."""
    state = execution.state.stage(stage_name)
    return [state.action(action.name) for action in group]


class _Threads:
    """The threads of the actions that work, at most as many as there are actions."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool: ThreadPoolExecutor | None = None

    def start(self, step: Callable[[], None]) -> Future[None]:
        self._pool = self._pool or ThreadPoolExecutor(self._most, "codepipeline-action")
        return self._pool.submit(copy_context().run, step)

    def rest(self) -> None:
        """End the threads: what is left only waits, maybe for days."""
        if self._pool:
            self._pool.shutdown()
            self._pool = None


@contextmanager
def _threads(execution: Execution, most: int) -> Iterator[_Threads]:
    threads = _Threads(most)
    try:
        yield threads
    except BaseException:
        # The threads do not get the signal that ended the wait for them. This ends them, so that the pool does not block
        # when it is closed.
        execution.interrupt()
        raise
    finally:
        threads.rest()
