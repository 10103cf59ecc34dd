"""Jobs of the action types of partners: the same as custom ones, but each worker shows the token of its client.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PollForThirdPartyJobs.html
"""

from __future__ import annotations

import hmac

from prefect_codepipeline.engine.jobs import handing_out
from prefect_codepipeline.engine.jobs.action_types import find_known_type, parse_type
from prefect_codepipeline.engine.jobs.known import KnownJob
from prefect_codepipeline.errors import InvalidClientTokenException, InvalidJobException
from prefect_codepipeline.gateway.aws.operations.job_calls import (
    acknowledge,
    data_of,
    failure_of,
    put,
    scope_of,
    success_of,
)
from prefect_codepipeline.gateway.aws.operations.jobs import type_to_poll
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations

OWNER = "ThirdParty"


def poll_for_third_party_jobs(call: Call) -> Members:
    """The ids of open jobs of a partner's type, oldest first."""
    kind = type_to_poll(call, OWNER)
    found = handing_out.poll(str(kind.id), call.members.get("maxBatchSize", 1), scope=scope_of(call, OWNER))
    return {"jobs": [{"clientId": kind.client_id, "jobId": known.job.id} for known, _ in found]}


def get_third_party_job_details(call: Call) -> Members:
    """The data of a job, and the nonce that acknowledges it."""
    known = _authorized(call)
    if known.job.handed_out is None:
        raise InvalidJobException("The job was not handed out to a worker.")
    data = data_of(known, call, third_party=True)
    return {"jobDetails": {"id": known.job.id, "data": data, "nonce": known.job.handed_out.nonce}}


def acknowledge_third_party_job(call: Call) -> Members:
    """Give the job to this worker, and to no other one."""
    _authorized(call)
    return acknowledge(call, scope_of(call, OWNER))


def put_third_party_job_success_result(call: Call) -> None:
    """End a job with success; with a continuation token, its action continues with another job."""
    _authorized(call)
    put(call, success_of(call.members), scope_of(call, OWNER))


def put_third_party_job_failure_result(call: Call) -> None:
    """End a job and its action with a failure."""
    _authorized(call)
    put(call, failure_of(call.members), scope_of(call, OWNER))


def _authorized(call: Call) -> KnownJob:
    """The job, if the request has the token of its client.

    Raises:
        JobNotFoundException: there is no such job of a partner.
        InvalidClientTokenException: the token is wrong.
    """
    known = handing_out.details(call.members["jobId"], scope_of(call, OWNER))
    kind = find_known_type(parse_type(known.indexed.kind))
    if kind is None:
        raise handing_out.job_not_found()
    token = kind.client_token.get_secret_value() if kind.client_token else ""
    given = call.members["clientToken"]
    if not hmac.compare_digest(token.encode(), given.encode()) or not token:
        raise InvalidClientTokenException("The client token is not that of the job's action type.")
    return known


OPERATIONS: Operations = {
    "PollForThirdPartyJobs": poll_for_third_party_jobs,
    "GetThirdPartyJobDetails": get_third_party_job_details,
    "AcknowledgeThirdPartyJob": acknowledge_third_party_job,
    "PutThirdPartyJobSuccessResult": put_third_party_job_success_result,
    "PutThirdPartyJobFailureResult": put_third_party_job_failure_result,
}
