"""Whole commands, as a person waits for them: `status`, `list`, `approve`, `up`, and `make run` from a new clone.

    python benchmarks/commands.py [--executions 1000] [--repeat 5] [--no-make]

`status` and `list` are measured with a pipeline of many past executions, which are copies of a real one with all its facts, and
compared with `prefect flow-run ls`. `make run APPROVE=1` runs in a copy of this folder without its environment; the packages come
from the cache that earlier set-ups have filled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench_setup import (
    BIN,
    ROOT,
    action,
    approval,
    command_line,
    declaration,
    has_ended,
    is_open,
    leave,
    pipeline,
    prepare,
    set_up,
    wait_for,
)
from results import record


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-make", action="store_true", help="leave `make run` out")
    arguments = parser.parse_args()
    if not arguments.no_make:
        record("make-run", [make_run()])
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as home:
        prepare(home)
        measure_up(arguments.repeat)
    with set_up():
        measure_readers(arguments.executions, arguments.repeat)
        measure_approve(arguments.repeat)
    leave()


def make_run() -> float:
    """The seconds that `make run APPROVE=1` takes in a copy of this folder."""
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as temporary:
        copy = Path(temporary) / "clone"
        shutil.copytree(
            ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", ".run", ".*cache*")
        )
        ignored = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV", "BIN", "PYTHONPATH")
        environment = {name: value for name, value in os.environ.items() if name not in ignored}
        command = ["make", "-C", str(copy), "run", "APPROVE=1"]
        return seconds(lambda: run(command, environment))


def measure_up(repeat: int) -> None:
    """`up` of a new set-up and of one that was stopped."""
    home, first, again = Path(os.environ["PREFECT_CODEPIPELINE_HOME"]), [], []
    for _ in range(repeat):
        try:
            first.append(seconds(lambda: command_line("up")))
            command_line("down")
            again.append(seconds(lambda: command_line("up")))
        finally:
            command_line("down")
        shutil.rmtree(home)
    record("up", first)
    record("up-again", again)


def measure_readers(count: int, repeat: int) -> None:
    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
    from prefect_codepipeline.engine.executions.gate import read_gates
    from prefect_codepipeline.engine.executions.lookup import latest_execution

    deploy_pipeline(declaration("many"))
    copy(wait_for(start_pipeline_execution("many", {}, {}, "bench"), has_ended).id, count)
    wait_for(start_pipeline_execution("many", {}, {}, "bench"), has_ended)
    bare = repeated(lambda: run([str(BIN / "prefect"), "flow-run", "ls"]), repeat)
    record("status", repeated(lambda: command_line("status", "many"), repeat))
    record("status", bare, "bare")
    record("list", repeated(lambda: command_line("list"), repeat))
    help_takes = repeated(lambda: command_line("--help"), repeat)
    requests = repeated(lambda: (latest_execution("many"), read_gates("many")), repeat)
    print(
        f"of it {min(help_takes):.3f} s for `codepipeline --help`, {min(requests):.3f} s for the requests of `status`"
    )


def measure_approve(repeat: int) -> None:
    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution

    release = [approval("Approve"), action("After", 2)]
    deploy_pipeline(pipeline("approved", {"Source": [action("A", category="Source")], "Release": release}))
    took = []
    for _ in range(repeat):
        execution_id = start_pipeline_execution("approved", {}, {}, "bench")
        wait_for(execution_id, is_open)
        took.append(
            seconds(lambda known=execution_id: command_line("approve", "approved", "--execution", known))
        )
        wait_for(execution_id, has_ended)
    record("approve", took)


def copy(execution_id: str, count: int) -> None:
    """Copy the flow run of an execution, with all its facts."""
    from prefect_codepipeline.prefect_api.client import call, flow_run

    run = flow_run(execution_id)
    _, facts = call("POST", f"/flow_runs/{execution_id}/input/filter", {"prefix": "", "limit": 200})
    assert run
    assert facts

    def copy_once(_: int) -> None:
        body: dict[str, Any] = {"parameters": run["parameters"], "tags": run["tags"]}
        _, created = call("POST", f"/deployments/{run['deployment_id']}/create_flow_run", body)
        for fact in facts:
            kept = {name: fact[name] for name in ("key", "value", "sender")}
            call("POST", f"/flow_runs/{created['id']}/input", kept)
        state = {"type": "COMPLETED", "name": "Succeeded"}
        call("POST", f"/flow_runs/{created['id']}/set_state", {"state": state, "force": True})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(copy_once, range(count)))


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )


def repeated(work: Callable[[], Any], repeat: int) -> list[float]:
    return [seconds(work) for _ in range(repeat)]


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
