"""The table of results: what is measured, which aim it has, and how it prints.

Each benchmark prints its own results, and appends them to the file that the variable CODEPIPELINE_BENCH_RESULTS names, from which
`run_all.py` prints one table at the end, and below it those of `scale.py`, whose columns are what was measured at.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

FILE = "CODEPIPELINE_BENCH_RESULTS"
COLUMNS = {"this": "this project", "bare": "bare Prefect", "buildbot": "Buildbot"}


@dataclass(frozen=True)
class Row:
    """One line of the table. `aim` is a text, since some aims depend on another column."""

    title: str
    aim: str
    digits: int = 2


ROWS = {
    "start": Row("start to first action, s", "0.3, and 1.2 x Buildbot", 3),
    "resume": Row("approval to next action, s", "0.5", 3),
    "wait": Row("a fact that ends a wait to next action, s", "0.5", 3),
    "waiting-processes": Row("1,000 actions that wait: processes of executions", "0", 0),
    "waiting-worker": Row("1,000 actions that wait: worker, % of one core", "5", 1),
    "waiting-round": Row("1,000 actions that wait: round of reconcile, s", "1", 2),
    "action": Row("one more action, s", "bare + 0.03, below Buildbot", 3),
    "stage": Row("one more stage, gate included, s", "0.2", 3),
    "requests": Row("requests of an execution (3 stages, 6 actions)", "90", 0),
    "rows": Row("rows of an execution that are not events", "80", 0),
    "late": Row("1,000 actions in 50 stages: last 100 / first 100", "1.2"),
    "long": Row("1,000 actions in 50 stages: s per action", "", 3),
    "burst": Row("20 starts at once: until all are started, s", "3", 1),
    "slowest": Row("20 starts at once: slowest request, s", "1.5"),
    "crowd": Row("100 executions at once: until all have ended, s", "60", 0),
    "crowd-processor": Row("100 executions at once: processor time of each, s", ""),
    "status": Row("codepipeline status, s", "0.4"),
    "list": Row("codepipeline list, s", "0.4"),
    "approve": Row("codepipeline approve, s", "0.4"),
    "up": Row("codepipeline up, new, s", "8", 1),
    "up-again": Row("codepipeline up, again, s", "4", 1),
    "aws-artifact-down": Row("artifact for a worker, first download, MB/s", "100", 0),
    "aws-artifact-up": Row("artifact of a worker, upload, MB/s", "100", 0),
    "aws-artifact-memory": Row("artifacts of workers: more memory of the gateway, MB", "100", 0),
    "aws-action": Row("an AWS action whose work ends at once: s beyond boto3", "0.3", 3),
    "aws-waiting": Row("100 stacks that are waited for: requests to AWS in a minute", "200", 0),
    "aws-waiting-threads": Row(
        "100 stacks that are waited for: threads of the execution", "no thread each", 0
    ),
    "s3-deploy": Row("Deploy/S3 of 2,000 small files: times `aws s3 cp`", "1.5"),
    "s3-source": Row("Source/S3 of 1 GiB: MiB beyond an object of 1 MiB", "constant", 0),
    "deploy-all": Row("CodeDeploy to 50 hosts at once, 20 MB: times `xargs ssh tar`", "2"),
    "deploy-again": Row("CodeDeploy to a host that has the revision, s", "1"),
    "aws-api-p50": Row("AWS API, 7 reading operations: p50, ms", "10", 1),
    "aws-api-p95": Row("AWS API, 7 reading operations: p95, ms", "40", 1),
    "aws-api-cold": Row("AWS API, after a start of the gateway: first answer, s", "1"),
    "aws-api-start": Row("AWS API: StartPipelineExecution, s", "0.1", 3),
    "aws-api-job": Row("AWS API: from a job to the poll that gets it, s", "0.3", 3),
    "aws-api-result": Row("AWS API: from a job's result to the next action, s", "1"),
    "aws-api-workers": Row("AWS API, 50 workers that poll each second: gateway, % of one core", "25", 1),
    "make-run": Row("make run APPROVE=1, new environment, s", "30", 0),
}


# Of `scale.py`: what of the title comes first names the table, and the columns are set-ups, histories and pipelines.
SCALE_ROWS = {
    "set-up-rate": Row("executions a minute", "", 1),
    "set-up-used": Row("processors in use by all parts", "", 2),
    "set-up-servers": Row("processor time of an execution, s: servers", ""),
    "set-up-services": Row("processor time of an execution, s: services", ""),
    "set-up-workers": Row("processor time of an execution, s: workers, flow processes", ""),
    "set-up-postgresql": Row("processor time of an execution, s: PostgreSQL", ""),
    "set-up-others": Row("processor time of an execution, s: Redis, HAProxy, reconcile", ""),
    "set-up-requests": Row("requests to the servers for an execution", "", 0),
    "set-up-rows": Row("rows of an execution that are not events, all parts", "", 0),
    "set-up-event-rows": Row("rows of an execution's events", "", 0),
    "history-start": Row("with a history: start to first action, s", "", 3),
    "history-status": Row("with a history: codepipeline status, s", ""),
    "history-executions": Row("with a history: codepipeline executions, s", ""),
    "history-round": Row("with a history: round of reconcile, s", "", 3),
    "history-size": Row("with a history: database, MiB", "", 0),
    "history-kept": Row("with a history: an execution without its events, KiB", "", 0),
    "history-events": Row("with a history: the events of an execution, KiB", "", 0),
    "pipelines-first": Row("many pipelines: first round of reconcile, s", "", 1),
    "pipelines-first-requests": Row("many pipelines: requests of the first round", "", 0),
    "pipelines-round": Row("many pipelines: later round of reconcile, s", "", 3),
    "pipelines-round-requests": Row("many pipelines: requests of a later round", "", 0),
    "pipelines-poll": Row("many pipelines: round of polling, s", "", 1),
    "pipelines-poll-requests": Row("many pipelines: requests of a round of polling", "", 0),
}
SCALE_TABLES = ("set-up", "history", "pipelines")


def record(key: str, values: Sequence[float], column: str = "this") -> None:
    """Print a result, and keep it for the table. The values are those of the repeats."""
    row = ROWS.get(key) or SCALE_ROWS[key]
    print(f"{row.title:52} {COLUMNS.get(column, column):13} {cell(values, row.digits)}", flush=True)
    if path := os.environ.get(FILE):
        with open(path, "a") as file:
            file.write(json.dumps({"key": key, "column": column, "values": list(values)}) + "\n")


def cell(values: Sequence[float], digits: int) -> str:
    """The median, and the smallest and the largest value if there are several."""
    if not values:
        return ""
    median = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def read_results(path: Path) -> dict[tuple[str, str], list[float]]:
    """The values by row and column; a row that was measured twice has the values of both."""
    found: dict[tuple[str, str], list[float]] = {}
    for line in path.read_text().splitlines():
        result = json.loads(line)
        found.setdefault((result["key"], result["column"]), []).extend(result["values"])
    return found


def table(results: dict[tuple[str, str], list[float]]) -> Iterator[str]:
    """The table as Markdown, with the columns aligned."""
    head = ["what", "aim", *COLUMNS.values()]
    lines = [
        [row.title, row.aim, *(cell(results.get((key, column), []), row.digits) for column in COLUMNS)]
        for key, row in ROWS.items()
    ]
    yield from markdown(head, lines)


def scale_tables(results: dict[tuple[str, str], list[float]]) -> Iterator[str]:
    """What `scale.py` has measured: a table each, with a column for each set-up, history or number of pipelines."""
    for start in SCALE_TABLES:
        rows = {key: row for key, row in SCALE_ROWS.items() if key.startswith(start)}
        columns = list(dict.fromkeys(column for key, column in results if key in rows))
        lines = [
            [row.title, *(cell(results.get((key, column), []), row.digits) for column in columns)]
            for key, row in rows.items()
        ]
        if columns:
            yield ""
            yield from markdown(["what", *columns], lines)


def markdown(head: list[str], lines: list[list[str]]) -> Iterator[str]:
    widths = [max(len(line[at]) for line in [head, *lines]) for at in range(len(head))]
    yield aligned(head, widths)
    yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    for line in lines:
        yield aligned(line, widths)


def aligned(line: Iterable[str], widths: Iterable[int]) -> str:
    return "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"


def machine(folder: Path | None = None) -> str:
    """What the results depend on: processors, disk, versions, load and date."""
    now = datetime.now(timezone.utc)
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} x {processor_model()}, load {load:.1f}; a sync of 8 KiB to the disk takes "
        f"{1000 * sync_seconds(folder):.1f} ms; Python {platform.python_version()}, Prefect {version('prefect')}; "
        f"{now:%Y-%m-%d %H:%M} UTC"
    )


def processor_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def sync_seconds(folder: Path | None = None, rounds: int = 20) -> float:
    """The median time of a write of 8 KiB that is safe on the disk, which each commit of a database waits for."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(rounds):
            start = time.perf_counter()
            file.write(b"x" * 8192)
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - start)
    return statistics.median(took)
