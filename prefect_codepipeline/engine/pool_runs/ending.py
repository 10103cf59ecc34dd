"""End a pool run in place of the process that runs its action."""

from __future__ import annotations

from typing import Literal

from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.pool_runs.asking import forget_secrets
from prefect_codepipeline.model.record.pool_run_facts import PoolRunAsked, PoolRunEnded, PoolRunState
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.flow_runs import find_run_of_key, set_state

Status = Literal["Abandoned", "Failed"]


def end_of(asked: PoolRunAsked, status: Status, message: str, code: str) -> PoolRunEnded:
    """The fact that it ended without a result of its own; the code is that of a failure."""
    return PoolRunEnded(
        stage=asked.stage,
        action=asked.action,
        attempt=asked.attempt,
        action_execution_id=asked.action_execution_id,
        at=utc_now(),
        ended_by="codepipeline",
        status=status,
        summary=message,
        error_details=None if status == "Abandoned" else ErrorDetails(code=code, message=message),
    )


def cancel(run: dict[str, object], message: str) -> None:
    """Cancel the flow run of an action, unless it has ended."""
    if run["state_type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "CANCELLING"):
        # Prefect makes it Cancelled at once if no process has begun, else its worker ends the process.
        set_state(str(run["id"]), "CANCELLING", "Cancelling", message)


def end_with_execution(record: RecordOf, pool_run: PoolRunState, status: Status, message: str) -> None:
    """End it because its execution was ended from outside: else a worker that comes later would begin the action."""
    asked = pool_run.asked
    if pool_run.ended is None:
        record.write(end_of(asked, status, message, "JobFailed"))
    forget_secrets(asked)
    if run := find_run_of_key(asked.action_execution_id):
        cancel(run, message)
