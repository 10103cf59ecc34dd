"""`codepipeline reconcile`: reconcile and poll, as a service beside a Prefect server of one's own."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import CodePipelineError

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.1, 3600.0


def reconcile(*, every: float = 5.0, poll: Annotated[bool, Parameter(negative="--no-poll")] = True) -> int:
    """Repair executions and poll repositories, until SIGTERM or Ctrl-C. Any number may run; one of them is busy.

    Waits for a server that does not answer. PREFECT_CODEPIPELINE_METRICS_PORT is the port of /health and /metrics, and
    PREFECT_CODEPIPELINE_METRICS_HOST their address, 127.0.0.1 by default.

    Parameters
    ----------
    every:
        Seconds between two rounds.
    poll:
        Whether to look for pushes in repositories and buckets, each minute.
    """
    if not _SHORTEST_SECONDS <= every <= _LONGEST_SECONDS:
        raise CodePipelineError(
            f"--every {every:g}: must be {_SHORTEST_SECONDS:g} to {_LONGEST_SECONDS:g} seconds"
        )
    from prefect_codepipeline.actions.commands.hidden_environment import hide_environment

    hide_environment()
    connect()
    from prefect_codepipeline.deployments.reconciling.service import serve

    serve(every, poll)
    return 0
