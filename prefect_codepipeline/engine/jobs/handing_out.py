"""Hand out jobs to workers, and let one worker take each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from uuid import uuid4

from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.jobs.creating import identity_of
from prefect_codepipeline.engine.jobs.index import (
    IndexedJob,
    close_job,
    find_job,
    note_poll,
    open_jobs,
    take_job,
)
from prefect_codepipeline.engine.jobs.known import KnownJob, read_job
from prefect_codepipeline.errors import (
    InvalidNonceException,
    JobNotFoundException,
    PipelineExecutionNotFoundException,
)
from prefect_codepipeline.model.record.job_facts import (
    JobHandedOut,
    JobTaken,
)
from prefect_codepipeline.numbers_set import number_set
from prefect_codepipeline.prefect_api.leases import STALE_SECONDS, is_stale, server_time

# A job that no worker acknowledges is handed out again after this time.
UNACKNOWLEDGED = timedelta(seconds=number_set("PREFECT_CODEPIPELINE_ACKNOWLEDGE_SECONDS", 60.0))
# How often it is looked whether the worker that took a job is alive, if it has a lease.
LOOK_AT_LEASE_SECONDS = STALE_SECONDS / 3


@dataclass(frozen=True)
class Scope:
    """Which jobs a worker may see: those of pipelines whose names fit, and of types of that owner."""

    pipelines: Sequence[str] = ("*",)
    owner: str | None = None

    def has(self, indexed: IndexedJob) -> bool:
        """Whether the worker may see that job."""
        if self.owner not in (None, owner_of(indexed)):
            return False
        return any(fnmatchcase(indexed.pipeline, pattern) for pattern in self.pipelines)


EVERYTHING = Scope()


def owner_of(indexed: IndexedJob) -> str:
    """The owner of the action type of a job."""
    return indexed.kind.split("/")[1]


def poll(
    kind: str, most: int = 1, query: Mapping[str, str] | None = None, scope: Scope = EVERYTHING
) -> list[tuple[KnownJob, str]]:
    """Hand out open jobs of an action type, oldest first: each with the nonce that acknowledges it.

    Args:
        kind: the action type, `Build/Custom/Acme/1`.
        most: how many at most.
        query: what the queryable property of the action must be.
        scope: which jobs the worker may see.
    """
    note_poll(kind)
    handed_out: list[tuple[KnownJob, str]] = []
    for indexed in open_jobs.read():
        if len(handed_out) == most:
            break
        fits = indexed.kind == kind and scope.has(indexed) and _has(indexed, query or {})
        if fits and open_jobs.claim(indexed.id) and (found := _hand_out(indexed)):
            handed_out.append(found)
    return handed_out


def _has(indexed: IndexedJob, query: Mapping[str, str]) -> bool:
    return all(indexed.query.get(name) == value for name, value in query.items())


def _hand_out(indexed: IndexedJob) -> tuple[KnownJob, str] | None:
    """The job and its new nonce; None if another worker has it."""
    known = read_job(indexed)
    now = utc_now()
    if known is None or not known.is_open(now):
        close_job(indexed)
        return None
    job = known.job
    if job.taken and is_taken(job.taken):
        _leave(indexed, job.taken)
        return None
    handed = job.handed_out
    if handed and not (job.taken and job.taken.nonce == handed.nonce) and now - handed.at < UNACKNOWLEDGED:
        open_jobs.rest(indexed.id, (handed.at + UNACKNOWLEDGED - now).total_seconds())
        return None
    handed = JobHandedOut(
        **identity_of(job.created),
        at=now,
        job=job.id,
        number=handed.number + 1 if handed else 1,
        nonce=uuid4().hex,
    )
    open_jobs.rest(indexed.id, UNACKNOWLEDGED.total_seconds())
    return (known, handed.nonce) if RecordOf(indexed.execution_id).write(handed) else None


def _leave(indexed: IndexedJob, taken: JobTaken) -> None:
    """Look at a job that a worker has taken no more, or later whether the worker lives."""
    if taken.lease is None:
        take_job(indexed)
    else:
        open_jobs.rest(indexed.id, LOOK_AT_LEASE_SECONDS)


def is_taken(taken: JobTaken) -> bool:
    """Whether the worker that took a job still has it. One without a lease has it until the end of the job's time."""
    return taken.lease is None or not is_stale(taken.lease, server_time())


def acknowledge(
    job_id: str,
    nonce: str,
    by: str,
    *,
    lease: str | None = None,
    request: str | None = None,
    scope: Scope = EVERYTHING,
) -> str:
    """Let this worker take the job, and no other one. The name of its pipeline.

    Args:
        job_id: the job.
        nonce: from `poll`.
        by: who takes it, for people.
        lease: of a worker whose death is noticed by it; then another one may take the job.
        request: an id of the request, so that a repeated one gets the same answer.
        scope: which jobs the worker may see.

    Raises:
        JobNotFoundException: there is no such job.
        InvalidNonceException: another worker has the job, the nonce was replaced by a new one, or the job has ended.
    """
    indexed = visible_job(job_id, scope)
    known = read_job(indexed)
    if known is None:
        raise job_not_found()
    job = known.job
    # The work of an execution that was stopped meanwhile must not begin.
    if job.handed_out is None or job.handed_out.nonce != nonce or not known.is_open(utc_now()):
        raise invalid_nonce()
    taken = job.taken
    if taken and is_taken(taken):
        if request and (taken.request, taken.nonce) == (request, nonce):
            _leave(indexed, taken)
            return indexed.pipeline
        raise invalid_nonce()
    if taken and taken.nonce == nonce:  # the worker that has died since took it by that nonce
        raise invalid_nonce()
    number = taken.number + 1 if taken else 1
    took = JobTaken(
        **identity_of(job.created),
        at=utc_now(),
        job=job_id,
        number=number,
        nonce=nonce,
        by=by,
        lease=lease,
        request=request,
    )
    if not _write(RecordOf(indexed.execution_id), took):
        raise invalid_nonce()
    _leave(indexed, took)
    return indexed.pipeline


def visible_job(job_id: str, scope: Scope = EVERYTHING) -> IndexedJob:
    """The job with that id, if the worker may see it. Raises `JobNotFoundException`."""
    indexed = find_job(job_id)
    if indexed is None or not scope.has(indexed):
        raise job_not_found()
    return indexed


def details(job_id: str, scope: Scope = EVERYTHING) -> KnownJob:
    """The job with that id, and what its worker gets. Raises `JobNotFoundException`."""
    known = read_job(visible_job(job_id, scope))
    if known is None:
        raise job_not_found()
    return known


def job_not_found() -> JobNotFoundException:
    """The error for an unknown job."""
    return JobNotFoundException("The specified job does not exist.")


def invalid_nonce() -> InvalidNonceException:
    """The error for a worker that may not have the job."""
    return InvalidNonceException(
        "The nonce is not valid: another worker has the job, it was handed out again, or it has ended."
    )


def _write(record: RecordOf, fact: JobTaken) -> bool:
    try:
        return record.write(fact)
    except PipelineExecutionNotFoundException:
        raise job_not_found() from None
