"""The flow run and task run that this process runs, and the states in which they end."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.exceptions import CancelledRun, FailedRun, MissingContextError
from prefect.states import Cancelled, Completed, Failed

AnyLogger = logging.Logger | logging.LoggerAdapter[Any]
RunState = State[Any]


def run_logger(otherwise: AnyLogger) -> AnyLogger:
    """The logger of the current run, or `otherwise` outside of a run."""
    try:
        return get_run_logger()
    except MissingContextError:
        return otherwise


class _NoReturnedEnds(logging.Filter):
    """Leaves out what Prefect's engine logs about a run that returned a state that is no success.

    It raises the state of a flow run as an exception, and logs that of a task run with an exception that is none. A run
    that waits it takes for one that has failed.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.exc_info:
            said = record.getMessage()
            return not (said.startswith("Finished in state") and said.endswith("type=PAUSED)"))
        kind = record.exc_info[0]
        return kind is not None and not issubclass(kind, FailedRun | CancelledRun)


_no_returned_ends = _NoReturnedEnds()


def log_returned_ends_once() -> None:
    """Leave to the execution's own sentences why it ended without success; Prefect's engine adds tracebacks of itself."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_no_returned_ends)


def count_from(started_at: datetime) -> None:
    """Have the current task run begin at that time: Prefect's engine takes each of its steps for the start."""
    context = TaskRunContext.get()
    if context:
        context.task_run.start_time = started_at  # type: ignore[assignment]  # as Prefect's own models have it


def ids_of_task_run() -> dict[str, UUID | None]:
    """The ids of the current task run and of its flow run; None outside of a task."""
    context = TaskRunContext.get()
    if context is None:
        return {}
    return {"task_run_id": context.task_run.id, "flow_run_id": context.task_run.flow_run_id}


def ended_state(status: str, message: str, name: str | None = None) -> RunState:
    """The state of a run whose execution, action or rule ended with this status, which may be shown by another name."""
    if status == "Succeeded":
        return Completed(name=name or status, message=message)
    if status == "Failed":
        return Failed(name=name, message=message)
    return Cancelled(name=status, message=message)
