"""Many executions at once: 100 of a pipeline of 3 stages and 6 actions, on PostgreSQL and on SQLite.

    python benchmarks/throughput.py [--executions 100]

All executions are started within a minute, with the function behind `codepipeline start`. Printed are the time until the last one
has ended, their final statuses, and the number of errors in the server's log.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
PIPELINES = 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=100)
    parser.add_argument("--only", choices=("SQLite", "PostgreSQL"))
    arguments = parser.parse_args()
    count, only = arguments.executions, arguments.only
    sys.path[:0] = [str(TESTS / "plugin"), str(TESTS / "support")]

    if only is None:
        print(f"{count} executions of 3 stages and 6 actions, in {PIPELINES} QUEUED pipelines", flush=True)
        for database in ("PostgreSQL", "SQLite"):
            # In a separate process, because Prefect's client keeps using its first server.
            command = [sys.executable, __file__, "--executions", str(count), "--only", database]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    else:
        _measure(only, count)
    # Do not wait for Prefect's client, which tries for minutes to send events to the stopped server.
    sys.stdout.flush()
    os._exit(0)


def _measure(database: str, count: int) -> None:
    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
    from prefect_codepipeline.engine.executions.lookup import read_execution

    with set_up(sqlite=database == "SQLite") as home:
        names = [f"bench-{number}" for number in range(PIPELINES)]
        for name in names:
            deploy_pipeline(declaration(name))
        start = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            ids = list(
                pool.map(
                    lambda n: start_pipeline_execution(names[n % PIPELINES], {}, {}, "bench"), range(count)
                )
            )
        started = time.monotonic() - start
        ends: Counter[str] = Counter()
        waiting = set(ids)
        while waiting and time.monotonic() - start < 1800:
            for execution_id in list(waiting):
                known = read_execution(execution_id)
                if known.state and known.state.final:
                    waiting.discard(execution_id)
                    ends[known.state.final.status] += 1
            time.sleep(1)
        took = time.monotonic() - start
        log = (home / "logs" / "server.log").read_text(errors="replace")
        locked, errors = log.count("database is locked"), log.count("ERROR")
        print(
            f"{database:12} started in {started:5.1f} s, ended after {took:6.1f} s ({60 * count / took:5.1f} per minute): "
            f"{dict(ends)}, {len(waiting)} never ended; server: {locked} x database is locked, {errors} errors",
            flush=True,
        )


@contextlib.contextmanager
def set_up(sqlite: bool = False) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as home:
        plugin = str(TESTS / "plugin")
        os.environ.update(
            PYTHONPATH=os.pathsep.join(filter(None, [plugin, os.environ.get("PYTHONPATH")])),
            PREFECT_CODEPIPELINE_HOME=home,
            PREFECT_CODEPIPELINE_ARTIFACTS=f"{home}/artifacts",
            PREFECT_LOGGING_LEVEL="ERROR",
        )
        for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
            os.environ.pop(name, None)
        from prefect_codepipeline.deployments.local import api_url, embedded

        api_url.point_at(embedded.up(sqlite=sqlite).api_url)
        try:
            yield Path(home)
        finally:
            embedded.down()


def declaration(name: str) -> Any:
    from prefect_codepipeline.model.definition.declaration import PipelineDeclaration

    def action(name: str, category: str = "Test") -> dict[str, Any]:
        kind = {"category": category, "owner": "Custom", "provider": "Scripted", "version": "1"}
        return {"name": name, "actionTypeId": kind}

    return PipelineDeclaration.model_validate(
        {
            "name": name,
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bench"},
            "pipelineType": "V2",
            "executionMode": "QUEUED",
            "stages": [
                {"name": "Source", "actions": [action("Src", "Source")]},
                {"name": "Build", "actions": [action("A"), action("B"), action("C")]},
                {"name": "Deploy", "actions": [action("D"), action("E")]},
            ],
        }
    )


if __name__ == "__main__":
    main()
