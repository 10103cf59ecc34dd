"""The index of jobs: which are open, of which type, and in which execution each one is.

One Prefect variable for each job. The record of the execution decides everything; what the index says more or less than
the record is corrected by the process that finds it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    create_variable,
    delete_variable,
    put_variable,
    read_variable,
    variables_with_tags,
)

# The longest time for which a process does not ask again which jobs are open, however many workers ask it.
FRESH_SECONDS = 0.25
_CLAIM_SECONDS = 1.0
# How exactly it is known when a worker last asked for a type.
POLLED_SECONDS = 10.0
# How long the id of a job that has ended is known.
_KNOWN_FOR = timedelta(hours=36)
# Not `codepipeline-`: reconcile reads all variables that begin so, in each round.
_JOB = "codepipeline_job_"
_POLLED = "codepipeline_polled_"
_OPEN, _TAKEN, _ENDED = "codepipeline-open-job", "codepipeline-taken-job", "codepipeline-ended-job"
_POLLS = "codepipeline-polled"


@dataclass(frozen=True)
class IndexedJob:
    """Where a job is: `kind` is its action type (`Build/Custom/Acme/1`), `query` what PollForJobs can ask for."""

    id: str
    kind: str
    execution_id: str
    pipeline: str
    stage: str
    action: str
    created: datetime
    query: dict[str, str] = field(default_factory=dict)
    entry: str = ""  # the id of its variable

    @classmethod
    def of(cls, variable: Variable) -> IndexedJob:
        """The job that a variable is about."""
        value = variable["value"]
        return cls(
            **{**value, "created": datetime.fromisoformat(value["created"])}, entry=str(variable["id"])
        )

    @property
    def value(self) -> dict[str, Any]:
        """The value of its variable."""
        values = {**asdict(self), "created": self.created.isoformat()}
        return {name: value for name, value in values.items() if name != "entry"}


def put_job(job: IndexedJob) -> None:
    """Add an open job. One that is there already, open or ended, stays as it is."""
    create_variable(f"{_JOB}{job.id}", job.value, [_OPEN])


def find_job(job_id: str) -> IndexedJob | None:
    """The job with that id, also if it has ended in the last day and a half."""
    variable = read_variable(f"{_JOB}{job_id}")
    return IndexedJob.of(variable) if variable else None


def close_job(job: IndexedJob) -> None:
    """No worker asks for the job any more. Its id stays known for a while."""
    _mark(job, _ENDED)


def take_job(job: IndexedJob) -> None:
    """A worker has the job, and no other one asks for it any more."""
    _mark(job, _TAKEN)


def _mark(job: IndexedJob, tag: str) -> None:
    open_jobs.forget(job.id)
    call("PATCH", f"/variables/{job.entry}", {"tags": [tag]}, expected=(404,))


def read_taken_jobs() -> list[IndexedJob]:
    """The jobs that workers have, oldest first, without those of workers with a lease."""
    return _sorted(variables_with_tags(_TAKEN))


def read_open_jobs() -> list[IndexedJob]:
    """The open jobs, oldest first."""
    return _sorted(variables_with_tags(_OPEN))


def _sorted(variables: list[Variable]) -> list[IndexedJob]:
    return sorted(map(IndexedJob.of, variables), key=lambda job: (job.created, job.id))


def forget_ended_jobs(now: datetime | None = None) -> None:
    """Delete what the index knows of jobs that ended long ago."""
    now = now or utc_now()
    for variable in (*variables_with_tags(_ENDED), *variables_with_tags(_TAKEN)):
        if now - IndexedJob.of(variable).created > _KNOWN_FOR:
            delete_variable(variable)


class OpenJobs:
    """The open jobs, as all workers that ask this process see them: one question to Prefect answers many of theirs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._jobs: list[IndexedJob] = []
        self._rests: dict[str, float] = {}  # until when a job is not looked at

    def read(self) -> list[IndexedJob]:
        """The open jobs as they were at most `FRESH_SECONDS` ago, oldest first."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                asked_at = time.monotonic()
                self._jobs = read_open_jobs()
                self._read_at = asked_at
            return self._jobs

    def claim(self, job_id: str) -> bool:
        """Whether the caller may look at a job now; then no other thread does for the next second."""
        with self._lock:
            now = time.monotonic()
            if self._rests.get(job_id, now) > now:
                return False
            self._rests = {each: until for each, until in self._rests.items() if until > now}
            self._rests[job_id] = now + _CLAIM_SECONDS
            return True

    def rest(self, job_id: str, seconds: float) -> None:
        """The job need not be looked at for a while."""
        with self._lock:
            self._rests[job_id] = time.monotonic() + seconds

    def forget(self, job_id: str) -> None:
        """Leave out a job that no worker can get any more."""
        with self._lock:
            self._jobs = [job for job in self._jobs if job.id != job_id]


open_jobs = OpenJobs()
_polls_written: dict[str, float] = {}


def note_poll(kind: str) -> None:
    """Remember that a worker asked for jobs of that type, to the nearest `POLLED_SECONDS`."""
    now = time.monotonic()
    if now - _polls_written.get(kind, float("-inf")) >= POLLED_SECONDS:
        _polls_written[kind] = now
        put_variable(f"{_POLLED}{slug(kind)}", {"type": kind, "at": utc_now().isoformat()}, [_POLLS])


def last_poll(kind: str) -> datetime | None:
    """When a worker last asked for jobs of that type; None if none ever did."""
    variable = read_variable(f"{_POLLED}{slug(kind)}")
    return datetime.fromisoformat(variable["value"]["at"]) if variable else None
