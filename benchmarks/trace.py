"""Every request of one execution, the waits between them, the rows that it writes, and the processor time that it takes.

    python benchmarks/trace.py [--repeat 3] [--no-table]

The execution has 3 stages, 6 actions and one approval. It is started and approved with the command line and runs on the worker of
a separate embedded set-up. A star marks the critical path: what the next step of the execution waited for. A second pipeline, the
same without the approval, gives the numbers for the table of `make bench`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench_setup import command_line, declaration, leave, set_up
from database import EVENT_TABLES, REPORTED_SECONDS, ask, check_is_postgresql
from processor import processor_seconds
from results import record
from trace_lines import Request, of_execution, read_requests, summary, table, with_critical

LONGEST_END_SECONDS = 10.0


@dataclass(frozen=True)
class Run:
    """One execution and the requests that were sent from its start to the end of its process."""

    start: float
    end: float
    requests: list[Request]


@dataclass(frozen=True)
class Traced:
    """Executions, and what each of them takes: the rows by table, the processor time by process."""

    runs: list[Run]
    rows: dict[str, float]
    kept: dict[str, float]
    processor: dict[str, float]

    @property
    def rows_not_events(self) -> float:
        return sum(count for name, count in self.rows.items() if name not in EVENT_TABLES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, help="number of executions for the table of results")
    parser.add_argument("--no-table", action="store_true", help="print the summary only")
    arguments = parser.parse_args()
    with set_up(trace=True) as home:
        from prefect_codepipeline.deployments.create import deploy_pipeline

        check_is_postgresql(home)
        for name, with_approval in (("plain", False), ("approved", True)):
            deploy_pipeline(declaration(name, with_approval=with_approval))
            run(home, name)  # the first execution of a worker imports more
        plain = trace(home, "plain", arguments.repeat)
        approved = trace(home, "approved")
    (ran,) = approved.runs
    if not arguments.no_table:
        print("\n".join(table(ran.requests, ran.start)), end="\n\n")
    print("3 stages, 6 actions and one approval, from `start` to the end, `start` and `approve` included")
    print("\n".join([*summary(ran.requests, ran.end - ran.start), "", *costs(approved)]))
    record("requests", [len(of_execution(each.requests)) for each in plain.runs])
    record("rows", [plain.rows_not_events])
    leave()


def trace(home: Path, name: str, count: int = 1) -> Traced:
    """Run the pipeline that many times, one execution after another."""
    before, processor = rows_by_table(home), processor_seconds(home)
    runs = [run(home, name) for _ in range(count)]
    used, after = processor_seconds(home), rows_by_table(home)
    written = {table: (inserted - before[table][0]) / count for table, (inserted, _) in after.items()}
    return Traced(
        runs,
        {table: rows for table, rows in written.items() if rows},
        {table: (rows - before[table][1]) / count for table, (_, rows) in after.items()},
        {part: (seconds - processor[part]) / count for part, seconds in used.items()},
    )


def run(home: Path, name: str) -> Run:
    """Run one execution. The database is watched instead of the API, so that no request of this process is in the way."""
    start = time.time()
    execution_id = command_line("start", name).split()[-1]
    if name == "approved":
        wait_for_state(home, execution_id, "PAUSED")
        command_line("approve", name, "--execution", execution_id)
    end = wait_for_state(home, execution_id, "COMPLETED")
    wait_until_gone(home.parent / "trace", start)
    return Run(start, end, with_critical(read_requests(home.parent / "trace", start, time.time()), end))


def wait_until_gone(trace: Path, since: float) -> None:
    """Wait until the flow processes that wrote to the trace since then have ended, which takes them some more requests."""
    written = [file for file in trace.glob("*.jsonl") if file.stat().st_mtime >= since]
    flows = [file.stem for file in written if json.loads(file.read_text().splitlines()[-1])["who"] == "flow"]
    deadline = time.monotonic() + LONGEST_END_SECONDS
    while any(Path(f"/proc/{pid}").exists() for pid in flows) and time.monotonic() < deadline:
        time.sleep(0.05)


def costs(traced: Traced) -> Iterator[str]:
    yield f"{'rows':40} {'written':>8} {'kept':>8}"
    for name, count in sorted(traced.rows.items(), key=lambda item: -item[1]):
        yield f"{name:40} {count:8.0f} {traced.kept[name]:8.0f}"
    events = sum(traced.rows.values()) - traced.rows_not_events
    kept = sum(traced.kept[name] for name in traced.rows if name not in EVENT_TABLES)
    yield f"{'not events':40} {traced.rows_not_events:8.0f} {kept:8.0f}"
    yield f"{'events':40} {events:8.0f}"
    yield ""
    yield f"{'processor time of':40} {'seconds':>8}"
    for part, seconds in traced.processor.items():
        yield f"{part:40} {seconds:8.2f}"


def rows_by_table(home: Path) -> dict[str, tuple[int, int]]:
    """The rows ever inserted into each table, and those that have not been deleted since.

    A process of PostgreSQL reports what it has counted ten seconds after it became idle at the latest.
    """
    time.sleep(REPORTED_SECONDS)
    question = "select relname, n_tup_ins, n_tup_ins - n_tup_del from pg_stat_user_tables"
    return {name: (inserted, kept) for name, inserted, kept in ask(home, question)}


def wait_for_state(home: Path, execution_id: str, wanted: str, seconds: float = 120.0) -> float:
    """Wait for that state of the flow run; the time at which the run entered it."""
    question = "select state_type::text, state_timestamp from flow_run where id = $1::text::uuid"
    deadline = time.monotonic() + seconds
    while True:
        (state, at), *_ = ask(home, question, execution_id)
        if state == wanted:
            return float(at.timestamp())
        if time.monotonic() > deadline or state in ("FAILED", "CRASHED", "CANCELLED"):
            raise SystemExit(f"execution {execution_id} is {state} instead of {wanted}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
