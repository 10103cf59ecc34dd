"""Prefect's flow runs and task runs: the current one of this process, and others by their id."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.states import Cancelled, Completed, Failed, Running, Scheduled

from prefect_codepipeline.prefect_api.client import client

AnyLogger = logging.Logger | logging.LoggerAdapter[Any]
RunState = State[Any]


def run_logger(otherwise: AnyLogger) -> AnyLogger:
    """The logger of the current run, or `otherwise` outside of a run."""
    try:
        return get_run_logger()
    except MissingContextError:
        return otherwise


def ids_of_task_run() -> dict[str, UUID | None]:
    """The ids of the current task run and of its flow run; None outside of a task."""
    context = TaskRunContext.get()
    if context is None:
        return {}
    return {"task_run_id": context.task_run.id, "flow_run_id": context.task_run.flow_run_id}


def ended_state(status: str, message: str) -> RunState:
    """The state of a run whose execution, action or rule ended with this status."""
    if status == "Succeeded":
        return Completed(name=status, message=message)
    if status == "Failed":
        return Failed(message=message)
    return Cancelled(name=status, message=message)


def end_run(execution_id: str, status: str, message: str) -> None:
    """Give a run, whatever its state, the state of an execution that ended with this status."""
    client().set_flow_run_state(UUID(execution_id), ended_state(status, message), force=True)


def schedule_again(execution_id: str) -> None:
    """Schedule a flow run that has ended, so that it starts again."""
    client().set_flow_run_state(UUID(execution_id), Scheduled(name="AwaitingRetry"))


def show_stopping(execution_id: str, why: str) -> None:
    """Display that a run is stopping. Only the name of its state changes; it runs until it ends itself."""
    client().set_flow_run_state(UUID(execution_id), Running(name="Stopping", message=why))
