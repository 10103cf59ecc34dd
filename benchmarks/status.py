"""`codepipeline status` and `executions` of a pipeline with many past executions, compared with `prefect flow-run ls`.

    python benchmarks/status.py [--executions 1000]

The past executions are copies of a real one: of its flow run with all its facts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from throughput import TESTS, declaration, set_up

ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=1000)
    count = parser.parse_args().executions
    sys.path[:0] = [str(TESTS / "plugin"), str(TESTS / "support")]
    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
    from prefect_codepipeline.engine.executions.gate import read_gates
    from prefect_codepipeline.engine.executions.lookup import find_runs, latest_execution

    with set_up():
        deploy_pipeline(declaration("many"))
        _copy(_ended(start_pipeline_execution("many", {}, {}, "bench")), count)
        _ended(start_pipeline_execution("many", {}, {}, "bench"))
        assert len(find_runs("many", limit=200)) == min(200, count + 2)
        print(f"a pipeline with {count + 2} executions")
        _print_time("the requests of status", lambda: (latest_execution("many"), read_gates("many")))
        bin_folder = Path(sys.executable).parent
        for command in ("codepipeline --help", "codepipeline status many", "codepipeline executions many",
                        "prefect flow-run ls"):  # fmt: skip
            name, *arguments = command.split()
            run = partial(subprocess.run, [bin_folder / name, *arguments], check=True, capture_output=True)
            _print_time(command, run)


def _ended(execution_id: str) -> str:
    from prefect_codepipeline.engine.executions.lookup import read_execution

    until = time.monotonic() + 120
    while not ((known := read_execution(execution_id)).state and known.state.final):
        assert time.monotonic() < until, "the execution did not end"
        time.sleep(0.2)
    return execution_id


def _copy(execution_id: str, count: int) -> None:
    from prefect_codepipeline.prefect_api.client import call, flow_run

    run = flow_run(execution_id)
    _, facts = call("POST", f"/flow_runs/{execution_id}/input/filter", {"prefix": "", "limit": 200})
    assert run
    assert facts

    def copy(_: int) -> None:
        body: dict[str, Any] = {"parameters": run["parameters"], "tags": run["tags"]}
        _, created = call("POST", f"/deployments/{run['deployment_id']}/create_flow_run", body)
        for fact in facts:
            kept = {name: fact[name] for name in ("key", "value", "sender")}
            call("POST", f"/flow_runs/{created['id']}/input", kept)
        state = {"type": "COMPLETED", "name": "Succeeded"}
        call("POST", f"/flow_runs/{created['id']}/set_state", {"state": state, "force": True})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(copy, range(count)))


def _print_time(what: str, work: Any) -> None:
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    print(
        f"{what:32} {statistics.median(took):6.3f} s (median of {ROUNDS}, {min(took):.3f} to {max(took):.3f})"
    )


if __name__ == "__main__":
    main()
