"""One execution at the limits: 1,000 actions in 50 stages, one action after another.

    python benchmarks/limits.py [--stages 50]

Each stage has 20 actions that do nothing, with a runOrder each. An action must not become slower with the facts that are already in
the record: compared are the first 100 and the last 100 actions, by the times of their facts.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import Any

from bench_setup import action, leave, pipeline, set_up, until
from results import record

ACTIONS, COMPARED = 20, 100
LONGEST_SECONDS = 1800.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", type=int, default=50)
    stages = parser.parse_args().stages
    with set_up():
        starts = run(stages)
    print(f"{len(starts)} actions in {stages} stages")
    record("late", [lateness(starts)])
    record("long", [(starts[-1] - starts[0]) / (len(starts) - 1)])
    leave()


def run(stages: int) -> list[float]:
    """When each action has started."""
    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
    from prefect_codepipeline.engine.executions.lookup import read_execution
    from prefect_codepipeline.prefect_api.client import flow_run

    deploy_pipeline(many(stages))
    execution_id = start_pipeline_execution("long", {}, {}, "bench")
    # Its facts are read once, at the end: reading thousands of them again and again would delay the server.
    ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    until(lambda: (flow_run(execution_id) or {}).get("state_type") in ended, LONGEST_SECONDS, pause=1.0)
    state = read_execution(execution_id).state
    assert state, "it ran"
    if state.status != "Succeeded":
        raise SystemExit(f"the execution ended as {state.status}")
    return sorted(each.started.at.timestamp() for _, each in state.actions if each.started)


def many(stages: int) -> Any:
    """The pipeline: stages of 20 actions, one after another."""

    def stage(number: int) -> list[dict[str, Any]]:
        return [action(f"A{order}", order, "Test" if number else "Source") for order in range(1, ACTIONS + 1)]

    return pipeline("long", {f"S{number}": stage(number) for number in range(stages)})


def lateness(starts: list[float]) -> float:
    """How much longer the last actions take than the first ones."""
    took = [after - before for before, after in pairwise(starts)]
    compared = min(COMPARED, len(took) // 2)
    return sum(took[-compared:]) / sum(took[:compared])


if __name__ == "__main__":
    main()
