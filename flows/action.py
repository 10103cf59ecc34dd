"""One action as a flow run of its own, on the work pool that its pipeline's settings name."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort
from prefect.runtime import flow_run as this_run
from prefect.states import Failed

from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
from prefect_codepipeline.engine.approvals.decision import WAKE_ONLY
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.pool_runs.running import PoolAction, run_pool_action, take
from prefect_codepipeline.errors import ActionInterrupted, NewerRecord, PrefectUnavailable
from prefect_codepipeline.flows.newer import leave_to_newer
from prefect_codepipeline.model.record.pool_run_facts import PoolRunEnded
from prefect_codepipeline.prefect_api.client import flow_run, within
from prefect_codepipeline.prefect_api.leases import holding_lease
from prefect_codepipeline.prefect_api.runs import ended_state, log_returned_ends_once
from prefect_codepipeline.prefect_api.suspension import resume

# A process that is shut down has no more time than this.
_WAKE_SECONDS = 3.0


@flow(name="action", persist_result=False)
def action(pipeline_execution_id: str, action_execution_id: str) -> State[Any]:
    """Run the action that an execution has asked for, and record its result in the record of the execution.

    Args:
        pipeline_execution_id: the execution.
        action_execution_id: the action in it.
    """
    hide_environment()
    log_returned_ends_once()
    run_id, logger = str(this_run.id), get_run_logger()
    try:
        taken = take(RecordOf(pipeline_execution_id), action_execution_id, run_id, logger)
    except NewerRecord as error:
        return leave_to_newer(error)
    if taken is None:
        return Failed(
            message=f"execution {pipeline_execution_id} has ended, or has not asked for this action"
        )
    if isinstance(taken, PoolRunEnded):
        return _state_of(taken)
    logger.info(
        "Action %r of stage %r started on %s", taken.asked.action, taken.asked.stage, taken.taken.host
    )
    try:
        with holding_lease(run_id, taken.taken.number):
            return _state_of(_run(taken, run_id))
    finally:
        # A lost wake-up is repaired by reconcile, as for every fact that an execution waits for.
        with suppress(PrefectUnavailable), within(_WAKE_SECONDS):
            resume(pipeline_execution_id, WAKE_ONLY)


def _run(taken: PoolAction, run_id: str) -> PoolRunEnded:
    """Do the work in a thread: a signal that ends this process reaches only the main thread, which ends the work."""
    with ThreadPoolExecutor(1, "codepipeline-action") as thread:
        future = thread.submit(copy_context().run, run_pool_action, taken)
        try:
            return future.result()
        except ActionInterrupted:
            if taken.left.is_set():  # the state of the flow run is that of the other process now
                raise Abort("another process has taken this action, or a newer release has") from None
            raise
        except NewerRecord as error:
            # Its execution sees that this process ends, and has another one continue.
            raise Abort(str(error)) from error
        except BaseException:
            if not future.done():
                _interrupt(taken, run_id)
            raise


def _interrupt(taken: PoolAction, run_id: str) -> None:
    """End the work: as abandoned only if the flow run was cancelled by a user."""
    try:
        run = flow_run(run_id)
    except PrefectUnavailable:
        run = None
    if run and run["state_type"] in ("CANCELLING", "CANCELLED"):
        taken.cancellation.cancel()
    else:
        taken.cancellation.leave()


def _state_of(ended: PoolRunEnded) -> State[Any]:
    return ended_state(ended.status, ended.error_details.message if ended.error_details else ended.summary)
