"""Take the results of jobs: the first one counts, and the execution continues."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prefect_codepipeline.engine.approvals.decision import WAKE_ONLY
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.jobs.creating import create_job, identity_of
from prefect_codepipeline.engine.jobs.handing_out import EVERYTHING, Scope, job_not_found, visible_job
from prefect_codepipeline.engine.jobs.index import close_job, put_job
from prefect_codepipeline.engine.jobs.known import KnownJob, read_job
from prefect_codepipeline.errors import (
    InvalidJobStateException,
    OutputVariablesSizeExceededException,
    PrefectUnavailable,
)
from prefect_codepipeline.model.definition.variables import MAX_OUTPUT_VARIABLES_BYTES, bytes_of
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.job_facts import JobEnded
from prefect_codepipeline.prefect_api.suspension import resume

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Success:
    """What a worker says about its work. With a continuation token the action continues with another job."""

    continuation_token: str | None = None
    summary: str = ""
    percent_complete: int | None = None
    external_execution_id: str | None = None
    source_revision: SourceRevision | None = None
    output_variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why a job failed: one of AWS's types, such as `JobFailed`, and a message for people."""

    failure_type: str
    message: str
    external_execution_id: str | None = None


def put_result(
    job_id: str,
    result: Success | Failure,
    by: str,
    *,
    request: str | None = None,
    scope: Scope = EVERYTHING,
) -> str:
    """Record the result of a job, and let its action continue. The name of its pipeline.

    Args:
        job_id: the job.
        result: how it ended.
        by: who says so, for people.
        request: an id of the request, so that a repeated one gets the same answer.
        scope: which jobs the worker may see.

    Raises:
        JobNotFoundException: there is no such job.
        InvalidJobStateException: no worker has taken the job, it has ended, or its execution was stopped.
        OutputVariablesSizeExceededException: the variables are too large.
    """
    _check_size(result)
    indexed = visible_job(job_id, scope)
    known = read_job(indexed)
    if known is None:
        raise job_not_found()
    if known.job.ended and request and known.job.ended.request == request:
        _go_on(known, known.job.ended)
        return indexed.pipeline
    if known.job.taken is None or not known.is_open(utc_now()):
        raise _wrong_state(known)
    ended = JobEnded(
        **identity_of(known.job.created),
        at=utc_now(),
        job=job_id,
        number=known.job.created.number,
        by=by,
        request=request,
        **_fields(result),
    )
    if not RecordOf(indexed.execution_id).write(ended):
        raise _wrong_state(known)
    _go_on(known, ended)
    return indexed.pipeline


def _check_size(result: Success | Failure) -> None:
    if isinstance(result, Success):
        size = bytes_of(result.output_variables)
        if size > MAX_OUTPUT_VARIABLES_BYTES:
            raise OutputVariablesSizeExceededException(
                f"The output variables have {size} bytes. The limit is {MAX_OUTPUT_VARIABLES_BYTES} bytes."
            )


def _fields(result: Success | Failure) -> dict[str, Any]:
    if isinstance(result, Success):
        return {**vars(result), "outcome": "Succeeded", "output_variables": dict(result.output_variables)}
    return {**vars(result), "outcome": "Failed"}


def _wrong_state(known: KnownJob) -> InvalidJobStateException:
    job = known.job
    if job.ended:
        why = f"its result was recorded: {job.ended.outcome}"
    elif not known.is_open(utc_now()):
        why = "its action has ended"
    elif job.taken is None:
        why = "no worker has acknowledged it"
    else:
        why = "it has a result"
    return InvalidJobStateException(f"Job {job.id} cannot take a result: {why}.")


def _go_on(known: KnownJob, ended: JobEnded) -> None:
    """Make the next job at once, or wake the execution. The result stands whether this works or not: reconcile does it too."""
    record = RecordOf(known.indexed.execution_id)
    try:
        if ended.goes_on:
            before = known.job.created
            following = create_job(
                record.write_or_read, identity_of(before), before.number + 1, ended.continuation_token
            )
            put_job(replace(known.indexed, id=following.job, created=following.at))
        close_job(known.indexed)
        if not ended.goes_on or ended.summary or ended.percent_complete or ended.external_execution_id:
            resume(known.indexed.execution_id, WAKE_ONLY)  # also to show what the worker says
    except PrefectUnavailable as error:
        _logger.warning(
            "job %s: its result is recorded, but execution %s could not go on; reconcile will do it: %s",
            ended.job,
            known.indexed.execution_id,
            error,
        )
