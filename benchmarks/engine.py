"""The overhead of the engine, compared with the same work as a hand-written Prefect flow in the same run.

    python benchmarks/engine.py [--repeat 3]

The actions do nothing, so that only the engine is measured: the seconds for one more stage, for one more action, from the start
to the first action, and from an approval to the next action, all on the embedded server.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_setup import (
    BIN,
    DEADLINE_SECONDS,
    action,
    approval,
    has_ended,
    is_open,
    leave,
    pipeline,
    set_up,
    started,
    until,
    wait_for,
    wait_until_gone,
)
from results import record

STAGES, ACTIONS = 6, 20
BARE_FLOW = """
import pathlib, time
from prefect import flow, task

@task
def first(place: str):
    pathlib.Path(place).write_text(str(time.time()))

@flow
def bare(place: str):
    first(place)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, help="number of runs; medians are printed")
    repeat = parser.parse_args().repeat
    with set_up():
        measure_steps(repeat)
        measure_latencies(repeat)
        record("start", measure_bare_start(repeat), "bare")
    leave()


def measure_steps(repeat: int) -> None:
    ours, bare, ungated = [], [], []
    for _ in range(repeat):  # in turn, so that the load of the machine is the same for all
        ours.append(run_pipeline("SUPERSEDED"))
        bare.append(run_bare())
        ungated.append(run_pipeline("PARALLEL"))
    for row, key in enumerate(("stage", "action")):
        record(key, [run[row] for run in ours])
        record(key, [run[row] for run in bare], "bare")
    gated, free = (statistics.median(run[0] for run in runs) for runs in (ours, ungated))
    print(f"the gate of a stage, without waiting, takes {gated - free:.3f} s of it")


def run_pipeline(mode: str) -> tuple[float, float]:
    """The seconds per stage and per action, from the times of the facts."""
    from prefect_codepipeline.deployments.local.foreground import create_run, run_here
    from prefect_codepipeline.engine.executions.lookup import read_execution

    flow_run = create_run(many(f"bench-{mode.lower()}", mode), {}, {}, "bench")
    run_here(flow_run)
    state = read_execution(str(flow_run.id)).state
    assert state, "it ran"
    entered = [stage.entered.at.timestamp() for stage in state.stages[1:] if stage.entered]
    last = [each.started.at.timestamp() for each in state.stages[-1].actions if each.started]
    return (entered[-1] - entered[0]) / (len(entered) - 1), (last[-1] - last[0]) / (len(last) - 1)


def many(name: str, mode: str) -> Any:
    """A pipeline of stages of one action, the last of them with many actions, one after another."""
    stages = {f"S{number}": [action("A")] for number in range(1, STAGES - 1)}
    last = [action(f"A{order}", order) for order in range(1, ACTIONS + 1)]
    return pipeline(name, {"S0": [action("A", category="Source")], **stages, "Last": last}, mode)


def run_bare() -> tuple[float, float]:
    """The same with Prefect alone: a subflow for each stage, a task for each action."""
    from prefect import flow, task

    stages: list[float] = []
    actions: list[float] = []

    @task
    def action() -> str:
        actions.append(time.perf_counter())
        return "nothing"

    @flow
    def stage(count: int) -> None:
        actions.clear()
        for _ in range(count):
            action.submit().wait()

    @flow
    def bare() -> None:
        for number in range(STAGES):
            stages.append(time.perf_counter())
            stage(ACTIONS if number == STAGES - 1 else 1)

    bare()
    return (stages[-1] - stages[1]) / (STAGES - 2), (actions[-1] - actions[0]) / (ACTIONS - 1)


def measure_latencies(repeat: int) -> None:
    """By the worker: from the start to the first action, and from the approval to the next action."""
    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
    from prefect_codepipeline.engine.approvals.decision import open_approval, put_approval_result

    source, release = [action("First", category="Source")], [approval("Approve"), action("After", 2)]
    deploy_pipeline(pipeline("bench-latency", {"Source": source, "Release": release}))
    starts, resumes = [], []
    for _ in range(repeat + 1):
        created = time.time()
        execution_id = start_pipeline_execution("bench-latency", {}, {}, "bench")
        known = wait_for(execution_id, is_open)
        starts.append(started(known, "First") - created)
        # A person does not approve while the process that sent the request still ends.
        wait_until_gone(known)
        approved = time.time()
        put_approval_result(execution_id, open_approval(known.state).token, "Approved", "bench")
        resumes.append(started(wait_for(execution_id, has_ended), "After") - approved)
    record("start", starts[1:])
    record("resume", resumes[1:])


def measure_bare_start(repeat: int) -> list[float]:
    """From the creation of a run of a bare flow to its first task, by a process worker of Prefect."""
    from prefect import flow
    from prefect.client.schemas.actions import WorkPoolCreate

    from prefect_codepipeline.prefect_api.client import client

    took = []
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as temporary:
        folder = Path(temporary)
        (folder / "bare.py").write_text(BARE_FLOW)
        client().create_work_pool(WorkPoolCreate(name="bare", type="process"))
        bare: Any = flow.from_source(str(folder), "bare.py:bare")
        with contextlib.redirect_stdout(io.StringIO()):
            deployment = bare.deploy("bare", work_pool_name="bare", print_next_steps=False)
        command = [BIN / "prefect", "worker", "start", "--pool", "bare", "--type", "process"]
        worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for number in range(repeat + 1):
                place, created = folder / str(number), time.time()
                client().create_flow_run_from_deployment(deployment, parameters={"place": str(place)})
                until(lambda place=place: place.exists() and place.read_text(), DEADLINE_SECONDS)
                took.append(float(place.read_text()) - created)
        finally:
            worker.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(timeout=20)
            worker.kill()  # it ignores the signal if it was started in the background of a script
            worker.wait()
    return took[1:]


if __name__ == "__main__":
    main()
