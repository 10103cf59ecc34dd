"""Jobs of custom action types: poll for them, acknowledge them and send their results."""

from __future__ import annotations

from prefect_codepipeline.engine.jobs import handing_out
from prefect_codepipeline.engine.jobs.polled_types import polled_type
from prefect_codepipeline.engine.operations.action_types import not_found
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.gateway.aws.operations.job_calls import (
    acknowledge,
    data_of,
    failure_of,
    put,
    scope_of,
    success_of,
)
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.stored.action_type import StoredActionType


def poll_for_jobs(call: Call) -> Members:
    """Open jobs of a custom type, oldest first."""
    kind = type_to_poll(call, "Custom")
    query = call.members.get("queryParam") or {}
    if unknown := query.keys() - {kind.queryable}:
        raise ValidationException(
            f"queryParam has {', '.join(sorted(unknown))}, which is not the queryable property of the action type"
        )
    found = handing_out.poll(str(kind.id), call.members.get("maxBatchSize", 1), query, scope_of(call))
    account = call.account.id
    return {
        "jobs": [
            {"id": known.job.id, "data": data_of(known, call), "nonce": nonce, "accountId": account}
            for known, nonce in found
        ]
    }


def type_to_poll(call: Call, owner: str) -> StoredActionType:
    """The action type that a worker asks for. Raises `ActionTypeNotFoundException`."""
    wanted = ActionTypeId.model_validate(call.members["actionTypeId"])
    found = polled_type(wanted) if wanted.owner == owner else None
    if found is None:
        raise not_found(wanted)
    return found


def acknowledge_job(call: Call) -> Members:
    """Give the job to this worker, and to no other one."""
    return acknowledge(call, scope_of(call))


def get_job_details(call: Call) -> Members:
    """The data of a job again, with fresh credentials."""
    known = handing_out.details(call.members["jobId"], scope_of(call))
    return {"jobDetails": {"id": known.job.id, "data": data_of(known, call), "accountId": call.account.id}}


def put_job_success_result(call: Call) -> None:
    """End a job with success; with a continuation token, its action continues with another job."""
    put(call, success_of(call.members), scope_of(call))


def put_job_failure_result(call: Call) -> None:
    """End a job and its action with a failure."""
    put(call, failure_of(call.members), scope_of(call))


OPERATIONS: Operations = {
    "PollForJobs": poll_for_jobs,
    "AcknowledgeJob": acknowledge_job,
    "GetJobDetails": get_job_details,
    "PutJobSuccessResult": put_job_success_result,
    "PutJobFailureResult": put_job_failure_result,
}
