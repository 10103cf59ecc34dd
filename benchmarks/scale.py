"""What a set-up carries beyond one machine and one day: several servers and workers, long histories, many pipelines.

    python benchmarks/scale.py [--set-ups] [--histories] [--pipelines [10000]] [--executions 40] [--repeat 3]
                               [--sizes 0,2000,20000] [--days 6]

Without an option for a part it does all three, each in a process and with a set-up of its own.

- Set-ups: executions a minute with 1, 2 and 4 workers and 1 and 2 servers, as processes of this machine: `several.py`.
- Histories: starts, commands and reconcile on the embedded set-up with 0, 2,000 and 20,000 past executions of the same
  pipeline, which spread over 6 days, so that all have their events, and are copies of real ones: `history.py`.
- Pipelines: reconcile and polling with 10,000 deployed pipelines: `many_pipelines.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

from bench_setup import (
    command_line,
    declaration,
    has_ended,
    leave,
    seconds,
    set_up,
    started,
    wait_for,
    wait_until_gone,
)
from database import EVENT_TABLES, ask, check_is_postgresql
from history import TABLES, History, without_ids_and_times
from results import record
from rounds import Round, rounds_of_reconcile

PIPELINE, ORIGINALS, MIB, KIB = "many", 5, 2**20, 2**10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set-ups", action="store_true")
    parser.add_argument("--histories", action="store_true")
    parser.add_argument("--pipelines", type=int, nargs="?", const=10_000)
    parser.add_argument("--executions", type=int, default=40, help="how many are started at once")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--sizes", default="0,2000,20000", help="of the histories")
    parser.add_argument("--days", type=float, default=6, help="over which the longest history spreads")
    arguments = parser.parse_args()
    parts = [arguments.set_ups, arguments.histories, arguments.pipelines is not None]
    if sum(parts) != 1:
        measure_apart(arguments, all_of_them=not any(parts))
    elif arguments.set_ups:
        from several import measure_set_ups

        measure_set_ups(arguments.executions, arguments.repeat)
    elif arguments.histories:
        measure_histories(sorted(map(int, arguments.sizes.split(","))), arguments.days, arguments.repeat)
    else:
        from many_pipelines import measure_pipelines

        measure_pipelines(arguments.pipelines, arguments.repeat)
    leave()


def measure_apart(arguments: argparse.Namespace, all_of_them: bool) -> None:
    """Each part in a process of its own, since a process talks to one server; the others go on when one fails."""
    repeat = ["--repeat", str(arguments.repeat)]
    parts = {
        "histories": ["--histories", "--sizes", arguments.sizes, "--days", str(arguments.days)],
        "set_ups": ["--set-ups", "--executions", str(arguments.executions)],
        "pipelines": ["--pipelines", str(arguments.pipelines or 10_000)],
    }
    failed = []
    for name, options in parts.items():
        if all_of_them or getattr(arguments, name):
            start = time.monotonic()
            done = subprocess.run([sys.executable, __file__, *options, *repeat], check=False)
            print(f"   {' '.join(options)}: {time.monotonic() - start:.0f} s", flush=True)
            failed += [name] if done.returncode else []
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def measure_histories(sizes: list[int], days: float, repeat: int) -> None:
    with set_up() as home:
        from prefect_codepipeline.deployments.create import deploy_pipeline

        check_is_postgresql(home)
        deploy_pipeline(declaration(PIPELINE))
        start_one()  # the first execution of a worker imports more
        originals = [start_one()[0] for _ in range(ORIGINALS)]
        history = History(home, originals, sizes[-1], days)
        empty = bytes_of(home)
        for size in sizes:
            took = seconds(lambda size=size: asyncio.run(history.grow(size)))
            now = bytes_of(home)
            column = f"{size:,} executions"
            print(f"{column} were copied in {took:.0f} s", flush=True)
            record("history-size", [sum(now.values()) / MIB], column)
            if size:
                record_size(history, {table: now[table] - empty[table] for table in TABLES}, size, column)
            measure_with_history(column, repeat)
        if sizes[-1]:
            check_copies(history, sizes[-1])


def start_one() -> tuple[str, float]:
    """An execution that has ended, without a process; and the seconds from its start to its first action."""
    from prefect_codepipeline.deployments.create import start_pipeline_execution

    created = time.time()
    execution_id = str(start_pipeline_execution(PIPELINE, {}, {}, "bench"))
    known = wait_for(execution_id, has_ended)
    wait_until_gone(known)
    return execution_id, started(known, "Src") - created


def measure_with_history(column: str, repeat: int) -> None:
    record("history-start", [start_one()[1] for _ in range(repeat + 1)][1:], column)
    for key, words in (
        ("history-status", ["status", PIPELINE]),
        ("history-executions", ["executions", PIPELINE]),
    ):
        command_line(*words)  # the first one reads the programs from the disk
        record(key, [seconds(lambda words=words: command_line(*words)) for _ in range(repeat)], column)
    _, later = rounds_of_reconcile(repeat)
    record("history-round", [each.seconds for each in later], column)
    print(f"requests of a round of reconcile: {requests_of(later)}", flush=True)


def requests_of(rounds: list[Round]) -> str:
    return ", ".join(str(each.requests) for each in rounds)


def bytes_of(home: Path) -> dict[str, int]:
    """The size of each table with its indexes."""
    question = "select relname, pg_total_relation_size(relid) from pg_stat_user_tables"
    return {str(row[0]): int(row[1]) for row in ask(home, question)}


def record_size(history: History, added: dict[str, int], size: int, column: str) -> None:
    """What a past execution takes in the database."""
    events = sum(added[table] for table in EVENT_TABLES)
    record("history-kept", [(sum(added.values()) - events) / size / KIB], column)
    if with_events := history.with_events(size):
        record("history-events", [events / with_events / KIB], column)


def check_copies(history: History, count: int) -> None:
    """A copy must read as its original does, by our own commands."""
    for number in (0, count // 2, count - 1):
        copy, original = history.copied_id(number)
        for words in (["status", PIPELINE, "--json"], ["logs", PIPELINE, "--json"], ["status", PIPELINE]):
            read = [command_line(*words, "--execution", each) for each in (copy, original)]
            texts = [without_ids_and_times(*each) for each in zip(read, (copy, original), strict=True)]
            if texts[0] != texts[1] or copy[:8] not in read[0]:
                raise SystemExit(
                    f"copy {copy} of execution {original} reads otherwise:\n{read[0]}\n{read[1]}"
                )
    listed = json.loads(command_line("executions", PIPELINE, "--limit", "200", "--json"))
    copies = [each for each in listed if each["pipelineExecutionId"] == history.copied_id(0)[0]]
    if [each["status"] for each in copies] != ["Succeeded"]:
        raise SystemExit(f"the list of {len(listed)} executions lacks the first copy, or says {copies} of it")
    print(f"copies of executions read like the originals: {count} in {PIPELINE!r}", flush=True)


if __name__ == "__main__":
    main()
