"""Create jobs. The record of the execution has them first, then the index, from which workers get them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.model.record.job_facts import JobCreated, job_id_of

# Writes a fact, or returns the one that is under its key.
Write = Callable[[JobCreated], JobCreated]


def create_job(
    write: Write, identity: dict[str, Any], number: int, continuation_token: str | None = None
) -> JobCreated:
    """Create a job of an action execution, or find it if it was created before.

    Args:
        write: writes to the record of the execution.
        identity: the fields that all facts of the action execution share.
        number: counts the jobs of the action execution.
        continuation_token: what the worker of the job before left for the next one.
    """
    job = job_id_of(identity["action_execution_id"], number)
    return write(
        JobCreated(**identity, at=utc_now(), job=job, number=number, continuation_token=continuation_token)
    )


def identity_of(created: JobCreated) -> dict[str, Any]:
    """The fields that all facts of the action execution share."""
    return {
        "stage": created.stage,
        "action": created.action,
        "attempt": created.attempt,
        "action_execution_id": created.action_execution_id,
    }
