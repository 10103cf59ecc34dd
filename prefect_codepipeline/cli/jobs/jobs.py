"""`codepipeline jobs list|show`: the jobs of custom actions, and why they wait."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.cli.output import Style, answer, print_json, print_line, print_table
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.engine.jobs.listing import ListedJob, find_listed_job, list_jobs


def list_open_jobs(*, type: str | None = None, pipeline: str | None = None, json: AsJson = False) -> int:
    """List the jobs that have no result yet, oldest first, and why each one waits.

    Parameters
    ----------
    type:
        Only jobs of this action type, such as Deploy/Custom/Acme/1.
    pipeline:
        Only jobs of this pipeline.
    """
    connect()
    found = list_jobs(type, pipeline)
    if json:
        print_json([_as_json(job) for job in found])
    elif found:
        print_table(
            ("job", "type", "pipeline", "action", "since", "state", "why"),
            [
                (
                    job.known.job.id,
                    job.known.indexed.kind,
                    job.known.indexed.pipeline,
                    f"{job.known.indexed.stage}/{job.known.indexed.action}",
                    f"{job.known.job.created.at:%Y-%m-%d %H:%M} UTC",
                    job.known.job.status,
                    job.why,
                )
                for job in found
            ],
        )
    else:
        print_line("no job waits for a worker or its result")
    return 0


def show_job(job_id: str, *, json: AsJson = False) -> int:
    """Show a job: where it belongs, who has it, and why it waits.

    Parameters
    ----------
    job_id:
        The id of the job.
    """
    connect()
    found = find_listed_job(job_id)
    known = found.known
    data = known.data()
    lines: list[str | tuple[str, Style]] = [
        (f"{known.indexed.kind}: {known.job.status}", "bold"),
        f"why        {found.why}",
        f"pipeline   {known.indexed.pipeline}, execution {known.indexed.execution_id}",
        f"action     {known.indexed.action} of stage {known.indexed.stage}",
        f"created    {known.job.created.at:%Y-%m-%d %H:%M:%S} UTC",
        f"time ends  {known.ends:%Y-%m-%d %H:%M:%S} UTC",
        *(f"input      {each.name} s3://{each.bucket}/{each.key}" for each in data.inputs),
        *(f"output     {each.name} s3://{each.bucket}/{each.key}" for each in data.outputs),
    ]
    answer(json, _as_json(found), *lines)
    return 0


def _as_json(found: ListedJob) -> dict[str, Any]:
    known = found.known
    taken, told = known.job.taken, known.job.told
    return {
        "id": known.job.id,
        "actionType": known.indexed.kind,
        "status": known.job.status,
        "why": found.why,
        "pipelineName": known.indexed.pipeline,
        "pipelineExecutionId": known.indexed.execution_id,
        "stageName": known.indexed.stage,
        "actionName": known.indexed.action,
        "actionExecutionId": known.job.created.action_execution_id,
        "created": known.job.created.at,
        "timeEnds": known.ends,
        "takenBy": taken.by if taken else None,
        "takenAt": taken.at if taken else None,
        "summary": told.summary if told else "",
        "percentComplete": told.percent_complete if told else None,
        "externalExecutionId": told.external_execution_id if told else None,
        "query": known.indexed.query,
    }
