"""The overhead of the engine, compared with the same work as a hand-written Prefect flow in the same run.

    python benchmarks/engine.py [--repeat 5]

The actions do nothing, so that only the engine is measured: the seconds for one more stage, for one more action, from the start
to the first action, and from an approval to the next action, all on the embedded server.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLUGIN = Path(__file__).resolve().parent.parent / "tests" / "plugin"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5, help="number of runs; medians are printed")
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as home:
        sys.path.insert(0, str(PLUGIN))
        os.environ.update(
            PYTHONPATH=os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")])),
            PREFECT_CODEPIPELINE_HOME=home,
            PREFECT_CODEPIPELINE_ARTIFACTS=f"{home}/artifacts",
            PREFECT_LOGGING_LEVEL="ERROR",
        )
        for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
            os.environ.pop(name, None)
        from prefect_codepipeline.deployments.local import api_url, embedded

        running = embedded.up()
        api_url.point_at(running.api_url)
        try:
            _measure(repeat)
        finally:
            embedded.down()


def _measure(repeat: int) -> None:
    ours, bare, ungated = [], [], []
    for _ in range(repeat):  # in turn, so that the load of the machine is the same for all
        ours.append(_run_pipeline("SUPERSEDED"))
        bare.append(_run_bare())
        ungated.append(_run_pipeline("PARALLEL"))
    print(f"{'seconds, medians of ' + str(repeat):42} {'this':>8} {'bare':>8} {'more':>8}")
    for row, name in enumerate(("one stage of one action", "one action, one after another")):
        this, that = (statistics.median(run[row] for run in runs) for runs in (ours, bare))
        print(f"{name:42} {this:8.3f} {that:8.3f} {this - that:+8.3f}")
    gated, free = (statistics.median(run[0] for run in runs) for runs in (ours, ungated))
    print(f"{'the gate of a stage, without waiting':42} {gated - free:8.3f}")
    start, resume = _latencies(repeat)
    print(f"{'start to first action, by the worker':42} {start:8.3f}")
    print(f"{'approval to next action, by the worker':42} {resume:8.3f}")


STAGES, ACTIONS = 6, 20


def _run_pipeline(mode: str) -> tuple[float, float]:
    """The seconds per stage and per action, from the times of the facts."""
    from prefect_codepipeline.deployments.local.foreground import create_run, run_here
    from prefect_codepipeline.engine.executions.lookup import read_execution

    declaration = _declaration(f"bench-{mode.lower()}", STAGES, ACTIONS)
    declaration = declaration.model_copy(update={"execution_mode": mode})
    flow_run = create_run(declaration, {}, {}, "bench")
    run_here(flow_run)
    state = read_execution(str(flow_run.id)).state
    assert state, "it ran"
    entered = [stage.entered.at.timestamp() for stage in state.stages[1:] if stage.entered]
    last = [action.started.at.timestamp() for action in state.stages[-1].actions if action.started]
    return (entered[-1] - entered[0]) / (len(entered) - 1), (last[-1] - last[0]) / (len(last) - 1)


def _run_bare() -> tuple[float, float]:
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


def _latencies(repeat: int) -> tuple[float, float]:
    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
    from prefect_codepipeline.engine.approvals.decision import open_approval, put_approval_result

    deploy_pipeline(_declaration("bench-latency", 2, 1, approval=True))
    starts, resumes = [], []
    for _ in range(repeat + 1):
        created = time.time()
        execution_id = start_pipeline_execution("bench-latency", {}, {}, "bench")
        known = _wait(
            execution_id,
            lambda known: bool(known.state and known.state.open_approvals and known.is_suspended),
        )
        starts.append(_started(known, "A1") - created)
        _wait_until_gone(
            known
        )  # a person does not approve while the process that sent the request still ends
        approved = time.time()
        put_approval_result(execution_id, open_approval(known.state).token, "Approved", "bench")
        known = _wait(
            execution_id, lambda known: known.status == "Succeeded" and known.run["state_type"] == "COMPLETED"
        )
        resumes.append(_started(known, "After") - approved)
    return statistics.median(starts[1:]), statistics.median(resumes[1:])


def _wait_until_gone(known: Any) -> None:
    pid = next(fact.pid for fact in known.facts if fact.kind == "process-started")
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)


def _started(known: Any, name: str) -> float:
    action = next(action for _, action in known.state.actions if action.name == name)
    return float(action.started.at.timestamp())


def _wait(execution_id: str, condition: Callable[[Any], bool]) -> Any:
    from prefect_codepipeline.engine.executions.lookup import read_execution

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        known = read_execution(execution_id)
        if condition(known):
            return known
        time.sleep(0.05)
    raise SystemExit(
        f"execution {execution_id} did not reach the expected state within a minute: {known.run['state']}"
    )


def _declaration(name: str, stages: int, actions: int, approval: bool = False) -> Any:
    from prefect_codepipeline.model.definition.declaration import PipelineDeclaration

    def action(
        name: str, run_order: int, category: str, owner: str = "Custom", provider: str = "Scripted"
    ) -> Any:
        kind = {"category": category, "owner": owner, "provider": provider, "version": "1"}
        return {"name": name, "runOrder": run_order, "actionTypeId": kind}

    declared = [
        {
            "name": f"S{number}",
            "actions": [
                action(f"A{order}", order, "Source" if number == 0 else "Test")
                for order in range(1, (actions if number == stages - 1 else 1) + 1)
            ],
        }
        for number in range(stages)
    ]
    if approval:
        declared[-1]["actions"] = [
            action("Approve", 1, "Approval", "AWS", "Manual"),
            action("After", 2, "Test"),
        ]
    return PipelineDeclaration.model_validate(
        {
            "name": name,
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bench"},
            "pipelineType": "V2",
            "stages": declared,
        }
    )


if __name__ == "__main__":
    main()
