"""Prefect's flow runs and task runs: the current one of this process, and others by their id."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.context import TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.states import Running, Scheduled

from prefect_codepipeline.prefect_api.client import client

AnyLogger = logging.Logger | logging.LoggerAdapter[Any]


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


def schedule_again(execution_id: str) -> None:
    """Schedule a flow run that has ended, so that it starts again."""
    client().set_flow_run_state(UUID(execution_id), Scheduled(name="AwaitingRetry"))


def show_stopping(execution_id: str, why: str) -> None:
    """Display that a run is stopping. Only the name of its state changes; it runs until it ends itself."""
    client().set_flow_run_state(UUID(execution_id), Running(name="Stopping", message=why))
