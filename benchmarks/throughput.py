"""Many executions at once: 20 starts at the same moment, and 100 executions of a pipeline of 3 stages and 6 actions.

    python benchmarks/throughput.py [--executions 100] [--repeat 3] [--sqlite]

The executions are started with the function behind `codepipeline start`, in 4 QUEUED pipelines, so that executions also wait for one
another. Measured are the time until all are started, the slowest request that the server had meanwhile, the time until the last
execution has ended, and the processor time of all parts of the set-up. All executions must succeed, and the server's log must have
no errors. With `--sqlite` they run on SQLite, without an entry in the table.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench_setup import declaration, leave, set_up, until
from processor import processor_seconds
from results import record
from trace_lines import read_requests

PIPELINES, BURST = 4, 20
LONGEST_SECONDS = 1800.0
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
NAMES = [f"bench-{number}" for number in range(PIPELINES)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3, help="how often 20 are started at once")
    parser.add_argument("--sqlite", action="store_true")
    arguments = parser.parse_args()
    if not arguments.sqlite:
        with set_up(trace=True) as home:
            deploy()
            measure_bursts(home, arguments.repeat)
    # Without the trace, which would take processor time.
    with set_up(sqlite=arguments.sqlite) as home:
        deploy()
        measure_crowd(home, arguments.executions, arguments.sqlite)
    leave()


def deploy() -> None:
    from prefect_codepipeline.deployments.create import deploy_pipeline

    for name in NAMES:
        deploy_pipeline(declaration(name))


def measure_bursts(home: Path, repeat: int) -> None:
    took, slowest = [], []
    ids = start_all(PIPELINES, PIPELINES)  # the first execution of a worker imports more
    for _ in range(repeat):
        wait_for_all(ids)
        start = time.time()
        ids = start_all(BURST, BURST)
        end = time.time()
        took.append(end - start)
        requests = read_requests(home.parent / "trace", start, end)
        slowest.append(max(each.served for each in requests))
    record("burst", took)
    record("slowest", slowest)


def measure_crowd(home: Path, count: int, sqlite: bool) -> None:
    wait_for_all(start_all(PIPELINES, PIPELINES))  # the first execution of a worker imports more
    processor, start = processor_seconds(home), time.monotonic()
    ids = start_all(count, 4)
    started = time.monotonic() - start
    ends = wait_for_all(ids)
    took = time.monotonic() - start
    used = {part: seconds - processor[part] for part, seconds in processor_seconds(home).items()}
    errors = (home / "logs" / "server.log").read_text(errors="replace").count("ERROR")
    print(
        f"{count} executions, started in {started:.1f} s, ended after {took:.1f} s: {dict(ends)}; "
        f"{errors} errors in the server's log; processor time, s: "
        + ", ".join(f"{part} {seconds:.1f}" for part, seconds in used.items()),
        flush=True,
    )
    if ends != {"Succeeded": count} or errors:
        raise SystemExit("executions failed, or the server's log has errors")
    if not sqlite and count == 100:
        record("crowd", [took])
        record("crowd-processor", [sum(used.values()) / count])


def start_all(count: int, at_once: int) -> list[str]:
    """The ids of that many executions, in turn of the pipelines."""
    from prefect_codepipeline.deployments.create import start_pipeline_execution

    with ThreadPoolExecutor(at_once) as pool:
        starts = (
            pool.submit(start_pipeline_execution, NAMES[number % PIPELINES], {}, {}, "bench")
            for number in range(count)
        )
        return [each.result() for each in list(starts)]


def wait_for_all(ids: list[str], ends: tuple[str, ...] = ENDS) -> Counter[str]:
    """How often which status is the final one, once all have ended; `ends` are the states that count as ends."""
    from prefect_codepipeline.prefect_api.client import call_all

    body = {
        "flow_runs": {
            "id": {"any_": ids},
            "state": {"type": {"any_": list(ends)}},
        }
    }
    until(lambda: len(call_all("/flow_runs/filter", body)) == len(ids), LONGEST_SECONDS, pause=1.0)
    return Counter(run["state_name"] for run in call_all("/flow_runs/filter", body))


if __name__ == "__main__":
    main()
