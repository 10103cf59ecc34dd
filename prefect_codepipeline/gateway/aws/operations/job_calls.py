"""What custom and third-party jobs have in common: their data, their results, and whose they are."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.jobs import handing_out
from prefect_codepipeline.engine.jobs.handing_out import Scope
from prefect_codepipeline.engine.jobs.known import KnownJob
from prefect_codepipeline.engine.jobs.results import Failure, Success, put_result
from prefect_codepipeline.gateway.aws.mirror import mirror
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members
from prefect_codepipeline.gateway.aws.signing.job_credentials import JobGrant, issue
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.wire.jobs import JobData

# How long the credentials of a job hold; GetJobDetails gives new ones.
CREDENTIALS_HOLD = timedelta(hours=1)


def data_of(known: KnownJob, call: Call, *, third_party: bool = False) -> Members:
    """`JobData` with fresh credentials for the artifacts of the job. Those of a job that has ended write nothing."""
    data, now = known.data(), utc_now()
    grant = _grant(data, now, may_write=known.is_open(now))
    return data.to_wire(call.account, issue(grant), third_party=third_party)


def _grant(data: JobData, now: datetime, *, may_write: bool) -> JobGrant:
    return JobGrant(
        job_id=data.id,
        reads={each.path: each.stored.model_dump(mode="json") for each in data.inputs if each.stored},
        writes={each.path: each.name for each in data.outputs if may_write},
        expires=now + CREDENTIALS_HOLD,
        pipeline_name=data.pipeline.name,
        settings_id=data.settings_id,
    )


def success_of(members: Members) -> Success:
    """The result in a request of PutJobSuccessResult or PutThirdPartyJobSuccessResult."""
    details: dict[str, Any] = members.get("executionDetails") or {}
    return Success(
        continuation_token=members.get("continuationToken"),
        summary=details.get("summary") or "",
        percent_complete=details.get("percentComplete"),
        external_execution_id=details.get("externalExecutionId"),
        source_revision=_revision_of(members.get("currentRevision")),
        output_variables=members.get("outputVariables") or {},
    )


def _revision_of(given: Members | None) -> SourceRevision | None:
    if given is None:
        return None
    return SourceRevision(
        revision_id=given["revision"],
        revision_change_identifier=given["changeIdentifier"],
        revision_summary=given.get("revisionSummary") or "",
        created=given.get("created"),
    )


def request_of(call: Call) -> str | None:
    """The same text when the same caller repeats the same request."""
    return f"{call.caller.name}/{call.invocation}" if call.invocation else None


def scope_of(call: Call, owner: str = "Custom") -> Scope:
    """The jobs that the caller may see: custom ones, or those whose workers also show a client token."""
    return Scope(call.caller.pipelines, owner)


def acknowledge(call: Call, scope: Scope) -> Members:
    """Give the job to this worker, and to no other one; this gateway shows it at once."""
    job_id, nonce = call.members["jobId"], call.members["nonce"]
    pipeline = handing_out.acknowledge(job_id, nonce, call.caller.arn, request=request_of(call), scope=scope)
    mirror().forget(pipeline)
    return {"status": "InProgress"}


def put(call: Call, result: Success | Failure, scope: Scope) -> None:
    """Record the result of a job; this gateway shows it at once."""
    by = call.caller.arn
    pipeline = put_result(call.members["jobId"], result, by, request=request_of(call), scope=scope)
    mirror().forget(pipeline)


def failure_of(members: Members) -> Failure:
    """The result in a request of PutJobFailureResult or PutThirdPartyJobFailureResult."""
    details = members["failureDetails"]
    return Failure(details["type"], details["message"], details.get("externalExecutionId"))
