"""The facts of jobs: work that an action hands to a worker outside, which asks for it and answers it.

An action execution has one job after another: a worker that answers with a continuation token ends its job, and the next
one carries the token.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias
from uuid import UUID, uuid5

from pydantic import Field

from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.fact import Fact

JobOutcome = Literal["Succeeded", "Failed", "TimedOut", "Abandoned"]
_JOBS = UUID("0c5f2f0e-9a3c-5d7b-8a51-5b8d7d8f0a44")


def job_id_of(action_execution_id: str, number: int) -> str:
    """The id of a job. It follows from the action execution, so a call that is repeated creates no second job."""
    return str(uuid5(_JOBS, f"{action_execution_id}/{number}"))


def job_prefix(job: str) -> str:
    """What the keys of all facts of a job begin with."""
    return f"job-{job}-"


class JobFact(Fact):
    """What all facts of a job have: the action execution that it belongs to."""

    job: str
    stage: str
    action: str
    attempt: int
    action_execution_id: str


class JobCreated(JobFact):
    """A worker can ask for the job; `number` counts the jobs of the action execution from 1."""

    kind: Literal["job-created"] = "job-created"
    number: int
    continuation_token: str | None = None

    @cached_property
    def key(self) -> str:
        return f"{job_prefix(self.job)}created"


class JobHandedOut(JobFact):
    """A worker got the job, to acknowledge it with the nonce. If none does in time, it is handed out again."""

    kind: Literal["job-handed-out"] = "job-handed-out"
    number: int
    nonce: str

    @cached_property
    def key(self) -> str:
        return f"{job_prefix(self.job)}handed-{self.number}"


class JobTaken(JobFact):
    """The one worker that works on the job.

    `number` rises only when the lease of the worker before has ended; a worker without `lease` keeps its job until the
    end of its time. `request` is the request that took it: when it is repeated, the answer is the same.
    """

    kind: Literal["job-taken"] = "job-taken"
    number: int
    nonce: str
    by: str
    lease: str | None = None
    request: str | None = None

    @cached_property
    def key(self) -> str:
        return f"{job_prefix(self.job)}taken-{self.number}"


class JobProgressed(JobFact):
    """What the worker says about its work so far; the fact with the highest `number` is the current one."""

    kind: Literal["job-progressed"] = "job-progressed"
    number: int
    summary: str = ""
    percent_complete: int | None = None
    external_execution_id: str | None = None

    @cached_property
    def key(self) -> str:
        return f"{job_prefix(self.job)}progress-{self.number}"


class JobEnded(JobFact):
    """The only result of a job. With a continuation token the action continues, and the next job carries the token."""

    kind: Literal["job-ended"] = "job-ended"
    outcome: JobOutcome
    by: str
    number: int
    continuation_token: str | None = None
    summary: str = ""
    percent_complete: int | None = None
    external_execution_id: str | None = None
    source_revision: SourceRevision | None = None
    output_variables: dict[str, str] = Field(default_factory=dict)
    failure_type: str = ""
    message: str = ""
    request: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the action continues with another job."""
        return self.outcome == "Succeeded" and self.continuation_token is not None

    @cached_property
    def key(self) -> str:
        return result_key(self.job)


# What follows the creation of a job.
LaterJobFact: TypeAlias = JobHandedOut | JobTaken | JobProgressed | JobEnded


def result_key(job: str) -> str:
    """The key of the result of a job."""
    return f"{job_prefix(job)}result"


@dataclass(frozen=True)
class JobState:
    """A job as its facts tell: who has it, and how it ended."""

    created: JobCreated
    handed_out: JobHandedOut | None = None
    taken: JobTaken | None = None
    progress: JobProgressed | None = None
    ended: JobEnded | None = None

    @property
    def id(self) -> str:
        return self.created.job

    @property
    def status(self) -> str:
        """AWS's JobStatus."""
        if self.ended:
            return "Failed" if self.ended.outcome == "Abandoned" else self.ended.outcome
        if self.taken:
            return "InProgress"
        return "Dispatched" if self.handed_out else "Queued"

    @property
    def told(self) -> JobEnded | JobProgressed | None:
        """What the worker has said about its work last."""
        return self.ended or self.progress

    def after(self, fact: LaterJobFact) -> JobState:
        """The job after one more of its facts."""
        match fact:
            case JobHandedOut() if self.handed_out is None or fact.number > self.handed_out.number:
                return replace(self, handed_out=fact)
            case JobTaken() if self.taken is None or fact.number > self.taken.number:
                return replace(self, taken=fact)
            case JobProgressed() if self.progress is None or fact.number > self.progress.number:
                return replace(self, progress=fact)
            case JobEnded():
                return replace(self, ended=fact)
        return self


def fold_job(job_id: str, facts: Iterable[Fact]) -> JobState | None:
    """The job as facts of its execution tell; None if none of them created it."""
    job: JobState | None = None
    for fact in facts:
        if isinstance(fact, JobCreated) and fact.job == job_id:
            job = JobState(fact)
        elif isinstance(fact, LaterJobFact) and job and fact.job == job_id:
            job = job.after(fact)
    return job
