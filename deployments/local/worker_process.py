"""`python -m prefect_codepipeline.deployments.local.worker_process POOL LIMIT`: `prefect worker start`, for that work pool.

It is started together with the server: it imports Prefect while the server starts, then waits for the work pool.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
from prefect_codepipeline.deployments.local.access import auth_string
from prefect_codepipeline.deployments.local.probes import request_json
from prefect_codepipeline.deployments.local.state import home_folder

_START_SECONDS = 120.0


def main() -> None:
    """Run the worker until SIGTERM or SIGINT."""
    hide_environment()
    pool, limit = sys.argv[1:]
    gc.disable()  # what is imported stays
    from prefect.cli import app

    import prefect_codepipeline.deployments.worker.worker  # noqa: F401  # the worker that Prefect imports

    gc.freeze()
    gc.enable()

    url = f"{os.environ['PREFECT_API_URL']}/work_pools/{pool}"
    until = time.monotonic() + _START_SECONDS
    auth = auth_string(home_folder(create=False))
    while request_json(url, auth=auth) is None:
        if time.monotonic() > until:
            sys.exit(f"the work pool {pool!r} was not found within {_START_SECONDS:g} s at {url}")
        time.sleep(0.1)
    sys.argv[1:] = ["worker", "start", "--pool", pool, "--type", pool, "--limit", limit]
    app()


if __name__ == "__main__":
    main()
