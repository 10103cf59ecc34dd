"""Leave a flow run to a worker of a newer release."""

from datetime import timedelta
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Abort
from prefect.states import Failed

from prefect_codepipeline.engine.executions.process import LeftToNewer, OutcomeUnknown
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import NewerRecord, PrefectUnavailable
from prefect_codepipeline.prefect_api.flow_runs import set_state

# When a worker that is too old for an execution may get it again.
NEWER_SECONDS = timedelta(seconds=60)


def leave_to_newer(error: NewerRecord | LeftToNewer) -> State[Any]:
    """Leave the flow run of an execution or action to a worker of the newer release that has written into its record.

    It is scheduled again, for later: until a worker of that release takes it, this one may get it again.

    Raises:
        Abort: so that the state of the flow run stays as it is.
        OutcomeUnknown: Prefect did not answer; reconcile resumes the execution when it answers again.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is None:
        return Failed(message=str(error))
    get_run_logger().warning("%s", error)
    later = {"scheduled_time": (utc_now() + NEWER_SECONDS).isoformat()}
    try:
        set_state(str(run.id), "SCHEDULED", "AwaitingRetry", str(error), later, force=True)
    except PrefectUnavailable as away:
        raise OutcomeUnknown(str(away)) from error
    raise Abort(str(error)) from error
