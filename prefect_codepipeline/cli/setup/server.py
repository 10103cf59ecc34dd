"""`codepipeline setup`: prepare a Prefect server of your own."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect, job_variables


def setup(
    *,
    pool: str = "codepipeline",
    kind: Annotated[str | None, Parameter(name="--type")] = None,
    job_variable: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006
    json: AsJson = False,
) -> int:
    """Create what pipelines need on a Prefect server of your own: a work pool, its queues, and two deployments.

    May be repeated: what exists stays, what is missing or wrong is corrected. The embedded set-up does not need it.

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
    from prefect_codepipeline.deployments.local.api_url import configured_api_url

    variables = job_variables(job_variable)
    is_embedded = configured_api_url() is None
    connect()
    if is_embedded:
        said = "nothing to do: the embedded set-up has a work pool, and reconciles and polls by itself"
        answer(json, {"isEmbedded": True, "parts": []}, said)
        return 0
    from prefect_codepipeline.deployments.setup import set_up

    parts = set_up(pool, kind, variables)
    worker = f"prefect worker start --pool {shlex.quote(pool)}"
    answer(
        json,
        {"isEmbedded": False, "parts": [asdict(part) for part in parts], "workerCommand": worker},
        *map(str, parts),
        f"now start a worker, where the executions run: {worker}",
    )
    return 0
