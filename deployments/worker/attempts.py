"""Match a report about a flow run to the attempt that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.logging import get_logger

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

_logger = get_logger("codepipeline.worker")


def is_of_this_attempt(submitted: FlowRun, current: FlowRun) -> bool:
    """Whether a run is still in the submitted attempt: not ended, suspended, restarted or rescheduled."""
    if current.state is None or current.state.is_pending():
        return current.run_count == submitted.run_count
    if current.state.is_running():  # a resumed run keeps its count; any other start increments it
        return current.run_count - submitted.run_count in (0, 1)
    return False


async def may_be_crashed(client: PrefectClient, flow_run: FlowRun) -> bool:
    """Whether the attempt can be reported as crashed without overwriting a newer state."""
    try:
        return is_of_this_attempt(flow_run, await client.read_flow_run(flow_run.id))
    except Exception as error:  # the report will fail in the same way, and logs it
        _logger.debug("could not read flow run '%s': %r", flow_run.id, error)
        return True
