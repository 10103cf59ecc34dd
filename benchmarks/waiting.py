"""Actions that wait: how fast the next action follows, and what 1,000 of them in 200 executions cost while nothing happens.

    python benchmarks/waiting.py [--executions 200] [--repeat 10]

The actions wait for a fact. For the first figure one execution after another waits, without a process, and gets its fact. Then all
executions wait at once; measured are the processes of executions, the processor time of the worker in half a minute, and rounds of
reconcile that look at each execution. At the end all get their facts, and all must succeed.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from bench_setup import action, leave, pipeline, set_up, started, until, wait_for
from processor import children_by_parent, processor_seconds
from results import record
from throughput import wait_for_all

ACTIONS, IDLE_SECONDS, ROUNDS = 5, 30.0, 12
MANY = [f"many-{number}" for number in range(5)]  # a PARALLEL pipeline has at most 50 executions in flight
FACT = {"subject": "job", "channel": "job", "message_id": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=10)
    arguments = parser.parse_args()
    with set_up() as home:
        deploy(home)
        measure_wake(arguments.repeat)
        measure_crowd(home, arguments.executions)
    leave()


def fact() -> Any:
    from prefect_codepipeline.model.record.facts import NotificationSent

    return NotificationSent(at=datetime.now(timezone.utc), **FACT)


def deploy(home: Path) -> None:
    from prefect_codepipeline.deployments.create import deploy_pipeline

    work = home / "work"
    work.mkdir()
    (work / "done").touch()  # the first call waits, the next one ends
    configuration = {"Work": str(work), "Fact": fact().key, "AtFirst": "true"}
    names = [f"Wait{number}" for number in range(ACTIONS)]
    waits = [{**action(name, provider="Waits"), "configuration": configuration} for name in names]
    many = [(name, waits) for name in MANY]
    for name, beside in ("one", waits[:1]), *many:
        stages = {"Source": [action("Src", category="Source")], "Far": [*beside, action("Next", 2)]}
        deploy_pipeline(pipeline(name, stages, "PARALLEL"))


def start(name: str) -> str:
    from prefect_codepipeline.deployments.create import start_pipeline_execution

    return str(start_pipeline_execution(name, {}, {}, "bench"))


def wake(execution_id: str) -> None:
    from prefect_codepipeline.engine.executions.record import RecordOf
    from prefect_codepipeline.prefect_api.suspension import resume

    RecordOf(execution_id).write(fact())
    resume(execution_id)


def measure_wake(repeat: int) -> None:
    took = []
    for _ in range(repeat):
        execution_id = start("one")
        wait_for(execution_id, lambda known: known.is_suspended and known.state)
        time.sleep(1.0)  # its process has ended then
        at = time.time()
        wake(execution_id)
        known = wait_for(execution_id, lambda known: known.state.final)
        took.append(started(known, "Next") - at)
    record("wait", took[1:])


def measure_crowd(home: Path, count: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda number: start(MANY[number % len(MANY)]), range(count)))
    until(lambda: suspended_runs() >= count, 1800, pause=2.0)
    until(lambda: not flow_processes(home))
    before = processor_seconds(home)
    time.sleep(IDLE_SECONDS)
    used = {part: seconds - before[part] for part, seconds in processor_seconds(home).items()}
    processes = flow_processes(home)
    record("waiting-processes", [float(processes)])
    record("waiting-worker", [100 * used["worker"] / IDLE_SECONDS])
    record("waiting-round", rounds())
    print(
        f"{count} executions with {ACTIONS * count} actions that wait; processor time in {IDLE_SECONDS:g} s: "
        + ", ".join(f"{part} {seconds:.1f}" for part, seconds in used.items()),
        flush=True,
    )
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(wake, ids))
    ends = wait_for_all(ids)
    print(
        f"all {count} had ended {time.monotonic() - begun:.0f} s after their facts: {dict(ends)}", flush=True
    )
    if ends != {"Succeeded": count} or processes:
        raise SystemExit("executions failed, or had processes while they waited")


def rounds() -> list[float]:
    """The time of each round; the rounds are far enough apart that every execution is looked at again."""
    from prefect_codepipeline.flows.reconcile import reconcile_once
    from prefect_codepipeline.prefect_api.leases import server_time

    memory: dict[str, Any] = {}
    reconcile_once(server_time(), memory)
    took = []
    for number in range(1, ROUNDS + 1):
        now = server_time() + timedelta(seconds=5 * number)
        begun = time.perf_counter()
        reconcile_once(now, memory)
        took.append(time.perf_counter() - begun)
    return took


def suspended_runs() -> int:
    from prefect_codepipeline.prefect_api.client import call_all

    wanted = {"state": {"type": {"any_": ["PAUSED"]}}, "parent_task_run_id": {"is_null_": True}}
    return len(call_all("/flow_runs/filter", {"flow_runs": {**wanted, "deployment_id": {"is_null_": False}}}))


def flow_processes(home: Path) -> int:
    """How many processes of executions there are."""
    from prefect_codepipeline.deployments.local.state import read_state

    tree = children_by_parent()
    fork_servers = tree.get(read_state(home)["worker"]["pid"], [])
    return sum(len(tree.get(each, [])) for each in fork_servers)


if __name__ == "__main__":
    main()
