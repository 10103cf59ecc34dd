"""The jobs that have no result yet, and why each one waits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.jobs.handing_out import details
from prefect_codepipeline.engine.jobs.index import read_open_jobs, read_taken_jobs
from prefect_codepipeline.engine.jobs.known import KnownJob, read_job
from prefect_codepipeline.engine.jobs.waiting import why_it_waits
from prefect_codepipeline.errors import JobNotFoundException
from prefect_codepipeline.prefect_api.together import together


@dataclass(frozen=True)
class ListedJob:
    """A job, and why it has no result yet, or how it ended."""

    known: KnownJob
    why: str


def list_jobs(kind: str | None = None, pipeline: str | None = None) -> list[ListedJob]:
    """The jobs without a result, oldest first; only those of an action type, or of a pipeline."""
    indexed = [
        job
        for job in (*read_open_jobs(), *read_taken_jobs())
        if kind in (None, job.kind) and pipeline in (None, job.pipeline)
    ]
    indexed.sort(key=lambda job: (job.created, job.id))
    found = together([partial(read_job, job) for job in indexed])
    return [_listed(known) for known in found if known and known.is_open(utc_now())]


def find_listed_job(job_id: str) -> ListedJob:
    """The job with that id. Raises `JobNotFoundException`."""
    try:
        return _listed(details(job_id))
    except JobNotFoundException:
        raise JobNotFoundException(
            f"there is no job {job_id!r}; list the jobs without a result with: codepipeline jobs list"
        ) from None


def _listed(known: KnownJob) -> ListedJob:
    ended = known.job.ended
    if ended:
        return ListedJob(
            known, f"{ended.outcome} by {ended.by}: {ended.message or ended.summary}".removesuffix(": ")
        )
    if not known.is_open(utc_now()):
        return ListedJob(known, "its action has ended without a result of the job")
    return ListedJob(known, why_it_waits(known.indexed.kind, known.job))
