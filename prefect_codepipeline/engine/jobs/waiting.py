"""Why a job waits, for people."""

from __future__ import annotations

from datetime import timedelta

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.jobs.index import last_poll
from prefect_codepipeline.model.record.job_facts import JobState

# Workers ask at least this often.
ASK_EVERY = timedelta(minutes=1)


def why_it_waits(kind: str, job: JobState, *, is_early: bool = False) -> str:
    """What a job waits for. `is_early`: no worker can be expected to have asked for it yet."""
    if job.taken:
        return f"a worker has its job since {job.taken.at:%H:%M} UTC: {job.taken.by}"
    if is_early:
        return "its job waits for a worker"
    asked = last_poll(kind)
    if asked is None:
        return f"its job waits: no worker has ever asked for {kind}"
    if utc_now() - asked > ASK_EVERY:
        day = "" if asked.date() == utc_now().date() else f"{asked:%Y-%m-%d} "
        return f"its job waits: no worker has asked for {kind} since {day}{asked:%H:%M} UTC"
    return "its job waits for a worker"
