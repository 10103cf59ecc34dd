"""`codepipeline setup`: prepare a Prefect server of your own."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect, job_variables
from prefect_codepipeline.errors import CodePipelineError

OWN_POOL = "codepipeline"  # which the worker of the embedded set-up serves


def setup(
    *,
    pool: str = OWN_POOL,
    kind: Annotated[str | None, Parameter(name="--type")] = None,
    job_variable: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006
    json: AsJson = False,
) -> int:
    """Create what pipelines need on a Prefect server of your own: a work pool, its queues, and two deployments.

    May be repeated: what exists stays, what is missing or wrong is corrected. The embedded set-up needs it only for another
    work pool than its own; there it creates nothing but the pool.

    Parameters
    ----------
    pool:
        Name of the work pool.
    kind:
        Type of the work pool if it does not exist: codepipeline (the default), process, docker, kubernetes, ...
    job_variable:
        KEY=VALUE of a job variable of the two deployments, such as image=IMAGE; VALUE may be JSON, and null removes it.
        May be repeated.
    """
    from prefect_codepipeline.deployments.local.api_url import PROFILES_VARIABLE, configured_api_url

    variables = job_variables(job_variable)
    is_embedded = configured_api_url() is None
    connect()
    from prefect_codepipeline.deployments.setup import make_pool, set_up

    worker: str | None = f"prefect worker start --pool {shlex.quote(pool)}"
    if not is_embedded:
        parts = set_up(pool, kind, variables)
    elif variables:
        raise CodePipelineError(
            "--job-variable is for the deployments of reconcile and poll, which the embedded set-up does not have; use "
            "`codepipeline deploy --job-variable`"
        )
    else:
        parts = [make_pool(pool, kind)]
        worker = f"{PROFILES_VARIABLE}={shlex.quote(os.environ[PROFILES_VARIABLE])} {worker}"
    last = f"now start a worker, where the executions run: {worker}"
    if is_embedded and pool == OWN_POOL:
        last = "nothing more to do: the embedded set-up has a worker, and reconciles and polls by itself"
        worker = None
    value = {"isEmbedded": is_embedded, "parts": [asdict(part) for part in parts], "workerCommand": worker}
    answer(json, value, *map(str, parts), last)
    return 0
