"""Wait for what actions and rules wait for: in the process if that has ended soon, else suspended, without a process.

What ends a wait is recorded or is a time, so any process, and reconcile, finds out by the same facts that it has ended.
"""

import logging
import time
from collections.abc import Sequence

from prefect_codepipeline.engine.approvals.decision import WAKE_ONLY
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.model.record.waiting_facts import Wait
from prefect_codepipeline.numbers_set import number_set
from prefect_codepipeline.prefect_api.suspension import Form, Wake, suspend

# So long an execution keeps its process while it does nothing but wait. After that it is suspended.
IN_PROCESS_SECONDS = number_set("PREFECT_CODEPIPELINE_WAIT_SECONDS", 30.0)
# A wait shorter than this is always done in the process: a suspension and a resumption cost more.
SHORT_SECONDS = 5.0
# How often a process looks for the facts that end a wait, and how often an action is called again at most.
LOOK_SECONDS = 1.0
# The same where nothing else is left to do.
IDLE_LOOK_SECONDS = 0.5
_logger = logging.getLogger(__name__)


def wait_for(execution: Execution, waits: Sequence[Wait], form: Form | None = None) -> None:
    """Return when the first of these waits has ended. Raises `Pause` if the run is suspended until then.

    The form is that of Prefect's Resume button, while the run is suspended.
    """
    known_stop = execution.state.stop

    def is_needed() -> bool:
        look_for_ends(execution, waits)
        return execution.state.stop != known_stop or has_any_ended(execution, waits)

    if execution.can_suspend and not ends_soon(execution, waits):
        message = "; ".join(wait.what for wait in waits)
        execution.begin_suspension()
        suspend(execution.id, message, lambda: Wake(is_needed(), WAKE_ONLY if form else None), form)
    while not is_needed():
        time.sleep(IDLE_LOOK_SECONDS)


def look_for_ends(execution: Execution, waits: Sequence[Wait]) -> None:
    """Read whether a stop was requested, and the facts that end these waits. What cannot be read is read the next time.

    Raises:
        TakenOver: another process has taken over the execution.
    """
    try:
        execution.look_for_stop()
        for prefix in dict.fromkeys(wait.fact_prefix for wait in waits if wait.fact_prefix):
            execution.look_for(prefix)
    except PrefectUnavailable as error:
        _logger.warning("could not check whether a wait has ended; it will be tried again: %s", error)


def has_any_ended(execution: Execution, waits: Sequence[Wait]) -> bool:
    """Whether one of these waits has ended, as far as this process knows."""
    return any(has_ended(execution, wait) for wait in waits)


def has_ended(execution: Execution, wait: Wait) -> bool:
    """Whether a wait has ended, as far as this process knows."""
    stop = execution.state.stop
    return wait.has_ended(utc_now(), {fact.key for fact in execution.facts}, stop.how if stop else None)


def ends_soon(execution: Execution, waits: Sequence[Wait], seconds: float = 0.0) -> bool:
    """Whether the first of these waits ends within so many seconds, or so soon that a suspension would cost more."""
    first = min(wait.until for wait in waits)
    left = (first - utc_now()).total_seconds()
    return left <= max(seconds, SHORT_SECONDS) or has_any_ended(execution, waits)
