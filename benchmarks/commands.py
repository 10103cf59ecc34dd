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
from collections.abc import Callable, Sequence
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
    seconds,
    set_up,
    wait_for,
)
from database import ask, check_is_postgresql
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
    with set_up() as home:
        check_is_postgresql(home)
        measure_readers(home, arguments.executions, arguments.repeat)
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


def measure_readers(home: Path, count: int, repeat: int) -> None:
    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
    from prefect_codepipeline.engine.executions.gate import read_gates
    from prefect_codepipeline.engine.executions.lookup import find_runs, latest_execution

    deploy_pipeline(declaration("many"))
    copy(home, wait_for(start_pipeline_execution("many", {}, {}, "bench"), has_ended).id, count)
    wait_for(start_pipeline_execution("many", {}, {}, "bench"), has_ended)
    assert len(find_runs("many", limit=200)) == min(200, count + 2)
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


def copy(home: Path, execution_id: str, count: int) -> None:
    """Copy the flow run of an execution, with its state and all its facts, in the database."""
    ask(
        home,
        "create table copies as select gen_random_uuid() run, gen_random_uuid() state from generate_series(1, $1::int)",
        count,
    )
    changes = {
        "flow_run": "'id', copies.run, 'state_id', null, 'idempotency_key', copies.run",
        "flow_run_state": "'id', copies.state, 'flow_run_id', copies.run",
        "flow_run_input": "'id', gen_random_uuid(), 'flow_run_id', copies.run",
    }
    which = {
        "flow_run": "id = $1::text::uuid",
        "flow_run_state": "id = (select state_id from flow_run where id = $1::text::uuid)",
        "flow_run_input": "flow_run_id = $1::text::uuid",
    }
    for table, changed in changes.items():
        ask(
            home,
            f"insert into {table} select (jsonb_populate_record(null::{table}, "
            f"to_jsonb(original) || jsonb_build_object({changed}))).* "
            f"from (select * from {table} where {which[table]}) original, copies",
            execution_id,
        )
    ask(home, "update flow_run set state_id = copies.state from copies where flow_run.id = copies.run")


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )


def repeated(work: Callable[[], Any], repeat: int) -> list[float]:
    return [seconds(work) for _ in range(repeat)]


if __name__ == "__main__":
    main()
