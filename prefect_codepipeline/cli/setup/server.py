"""`codepipeline setup`: prepare a Prefect server of your own."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_codepipeline.cli.output import Style, answer
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect, job_variables
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.setup import Part

OWN_POOL = "codepipeline"  # which the worker of the embedded set-up serves


def setup(
    *,
    pool: str = OWN_POOL,
    kind: Annotated[str | None, Parameter(name="--type")] = None,
    image: str | None = None,
    store: str | None = None,
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
        Type of the work pool if it does not exist: codepipeline (the default), process, docker, kubernetes, ... A pool without
        a base job template gets the one of its type, so that job variables are checked before its first worker starts.
    image:
        Container image of the pool's flow runs, which has this package, for the types docker and kubernetes; by default the
        one of `make image`, for whose version see `codepipeline --version`.
    store:
        URL of the artifact store of all pipelines that name no other, such as s3://BUCKET/PREFIX, which all workers reach with
        the usual variables of AWS; saved as the ArtifactStore block `default`.
    job_variable:
        KEY=VALUE of a job variable of the two deployments, such as env={"KEY": "VALUE"}; VALUE may be JSON, and null removes it.
        May be repeated.
    """
    from prefect_codepipeline.deployments.local.api_url import configured_api_url

    if image is not None and not image.strip():
        raise CodePipelineError(
            "--image is empty; name an image, or leave the option out for the one of `make image`"
        )
    variables = job_variables(job_variable)
    is_embedded = configured_api_url() is None
    connect()
    from prefect_codepipeline.engine.retention.vacuum import vacuum_warning

    # First, so that a URL that is refused leaves no pool behind.
    stores = _make_stores(store)
    parts = [*_make_parts(pool, kind, image, variables, is_embedded), *stores]
    worker = _worker_command(pool, is_embedded)
    last = f"now start a worker, where the executions run: {worker}"
    if worker is None:
        last = "nothing more to do: the embedded set-up has a worker, and reconciles and polls by itself"
    warnings = [each for each in [vacuum_warning()] if each]
    shown: list[tuple[str, Style]] = [(f"warning: {each}", "yellow") for each in warnings]
    value = {
        "isEmbedded": is_embedded,
        "parts": [asdict(part) for part in parts],
        "warnings": warnings,
        "workerCommand": worker,
    }
    answer(json, value, *map(str, parts), *shown, last)
    return 0


def _make_stores(url: str | None) -> list[Part]:
    from prefect_codepipeline.deployments.setup import make_store

    return [] if url is None else [make_store(url)]


def _make_parts(
    pool: str, kind: str | None, image: str | None, variables: dict[str, Any], is_embedded: bool
) -> list[Part]:
    from prefect_codepipeline.deployments.setup import make_pool, set_up

    if not is_embedded:
        return set_up(pool, kind, variables, image)
    if variables:
        raise CodePipelineError(
            "--job-variable is for the deployments of reconcile and poll, which the embedded set-up does not have; use "
            "`codepipeline deploy --job-variable`"
        )
    return [make_pool(pool, kind, image)]


def _worker_command(pool: str, is_embedded: bool) -> str | None:
    """The command that starts a worker of the pool; None if there is one."""
    from prefect_codepipeline.deployments.local.api_url import PROFILES_VARIABLE

    command = f"prefect worker start --pool {shlex.quote(pool)}"
    if not is_embedded:
        return command
    if pool == OWN_POOL:
        return None
    return f"{PROFILES_VARIABLE}={shlex.quote(os.environ[PROFILES_VARIABLE])} {command}"
