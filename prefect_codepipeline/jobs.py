"""Workers of custom action types in Python, without the AWS API.

Example:
    ```python
    from prefect_codepipeline.jobs import Job, Success, worker


    def release(job: Job) -> Success:
        job.report("copying", percent=10)
        ...
        return Success(summary="released", output_variables={"Url": "https://site.test"})


    worker("Deploy/Custom/Acme/1", release)
    ```
"""

from __future__ import annotations

from prefect_codepipeline.engine.jobs.handling import Handler, Job
from prefect_codepipeline.engine.jobs.results import Success
from prefect_codepipeline.engine.jobs.worker import Worker, work
from prefect_codepipeline.errors import ActionFailed

# Raised by a handler, it fails the job with that message: `JobFailed("the site is down")`.
JobFailed = ActionFailed
worker = work

__all__ = ("Handler", "Job", "JobFailed", "Success", "Worker", "worker")
