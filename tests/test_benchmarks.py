"""The benchmarks read what they recorded, and print it; what they measure is not asserted."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import until

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
RUN = "1ff70872-5964-4bd9-a400-1b17e200b994"
SERVER = """
import sys, uvicorn

async def application(scope, receive, send):
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})

uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""
CLIENT = """
import http.client, sys, threading, httpx
url, run = f"http://127.0.0.1:{sys.argv[1]}/api", sys.argv[2]
with httpx.Client(trust_env=False) as client:
    client.post(f"{url}/flow_runs/{run}/input", json={"key": "stage-a-1-entered", "value": "{}"})
    thread = threading.Thread(target=client.get, args=(f"{url}/flow_runs/{run}",), name="codepipeline-report")
    thread.start()
    thread.join()
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("GET", "/api/health")
assert connection.getresponse().status == 201
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def benchmark(name: str) -> Any:
    return importlib.import_module(name)


def test_requests_of_real_processes_are_recorded_with_their_sender(tmp_path: Path) -> None:
    from prefect_codepipeline.deployments.local.ports import free_port, is_free

    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(BENCHMARKS / "trace_hook"),
        "CODEPIPELINE_TRACE": str(tmp_path),
    }
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], env=environment)
    try:
        until(lambda: not is_free(port))
        sender = {**environment, "PREFECT__FLOW_RUN_ID": RUN}
        subprocess.run([sys.executable, "-c", CLIENT, str(port), RUN], env=sender, check=True, timeout=60)
        found = until(lambda: at_least(benchmark("trace_lines").read_requests(tmp_path, 0, 1e12), 3))
    finally:
        server.terminate()
        server.wait(timeout=60)
    assert [(each.who, each.thread, each.kind, each.detail, each.status) for each in found] == [
        ("flow", "MainThread", "POST /flow_runs/*/input", "stage-a-1-entered", 201),
        ("flow", "codepipeline-report", "GET /flow_runs/*", "", 201),
        ("flow", "MainThread", "GET /health", "", 201),
    ]
    assert all(each.start <= each.end and each.served <= each.end - each.start for each in found)


def at_least(found: list[Any], count: int) -> list[Any] | None:
    return found if len(found) >= count else None


def test_a_set_up_after_a_traced_one_is_not_traced(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys, bench_setup\n"
        "bench_setup.prepare(sys.argv[1], pathlib.Path(sys.argv[1]) / 'trace')\n"
        "assert 'trace_hook' in os.environ['PYTHONPATH']\n"
        "bench_setup.prepare(sys.argv[1])\n"
        "print(os.environ['PYTHONPATH'], 'CODEPIPELINE_TRACE' in os.environ)"
    )
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    paths = os.pathsep.join([str(ROOT / "tests" / "plugin"), str(BENCHMARKS)])
    assert done.stdout.strip() == f"{paths} False"


# Who, in which thread, what, when it began (ms), and whether the execution waited for it.
SEQUENCE = [
    ("worker", "MainThread", "POST /work_pools/codepipeline/get_scheduled_flow_runs", 0, False),
    ("command line", "MainThread", "GET /deployments/name/pipeline/site", 10, True),
    ("command line", "MainThread", f"POST /deployments/{RUN}/create_flow_run", 20, True),
    ("command line", "MainThread", f"GET /flow_runs/{RUN}", 30, False),
    ("worker", "MainThread", "POST /work_pools/codepipeline/get_scheduled_flow_runs", 40, True),
    ("worker", "MainThread", "POST /work_pools/codepipeline/workers/heartbeat", 50, False),
    ("flow", "MainThread", f"GET /flow_runs/{RUN}", 60, True),
    ("flow", "codepipeline-report", f"PATCH /flow_runs/{RUN}", 70, False),
    ("flow", "GlobalEventLoopThread", "POST /logs/", 80, False),
    ("worker", "MainThread", f"PATCH /flow_runs/{RUN}", 90, False),
    ("flow", "ThreadPoolExecutor-1_0", f"POST /flow_runs/{RUN}/input", 100, True),
    ("reconcile", "MainThread", "POST /flow_runs/filter", 105, False),
    ("flow", "MainThread", f"POST /flow_runs/{RUN}/set_state", 150, True),
    ("flow", "MainThread", f"DELETE /variables/{RUN}", 300, False),
]


def recorded() -> list[Any]:
    """The sequence as the hook writes it, each request taking 8 ms, and as it is read."""
    lines = []
    for number, (who, thread, request, at, _) in enumerate(SEQUENCE):
        method, path = request.split()
        start = 1000 + at / 1000
        common = {"mark": f"1-{number}", "pid": 1}
        lines.append(
            {**common, "side": "client", "who": who, "thread": thread, "start": start, "end": start + 0.008}
        )
        lines.append(
            {**common, "side": "server", "who": "server", "method": method, "path": f"/api{path}", "status": 200,
             "detail": "", "start": start + 0.001, "end": start + 0.007}
        )  # fmt: skip
    # From a process without the hook.
    lines.append({**lines[1], "mark": "", "start": 1000.2, "end": 1000.21})
    trace = benchmark("trace_lines")
    found = sorted(trace.joined(lines), key=lambda each: each.start)
    return list(trace.with_critical(found, final=1000.158))


def test_the_critical_path_is_what_the_next_step_waits_for() -> None:
    found = [each for each in recorded() if each.who != "?"]
    expected = [(request, is_critical) for *_, request, _, is_critical in SEQUENCE]
    assert [(f"{e.method} {e.path.removeprefix('/api')}", e.is_critical) for e in found] == expected


def test_the_table_of_a_trace_has_every_request_and_the_waits_between_critical_ones() -> None:
    lines = list(benchmark("trace_lines").table(recorded(), start=1000))
    assert len([line for line in lines[1:] if "no request" not in line]) == len(SEQUENCE) + 1
    waits = [line.split()[:2] for line in lines if "no request" in line]
    assert waits == [["0", "10"], ["28", "12"], ["48", "12"], ["68", "32"], ["108", "42"]]
    assert RUN not in "".join(lines)
    assert RUN[:8] in "".join(lines)


def test_the_summary_counts_the_requests_of_the_execution_only() -> None:
    text = "\n".join(benchmark("trace_lines").summary(recorded(), seconds=0.158))
    assert "12 requests of the execution, 6 of them on the critical path, which takes 0.158 s" in text
    assert "0.048 s in requests, 0.110 s between them" in text
    assert "not counted: 1 of worker, 1 of reconcile, 1 of ?" in text


def test_results_are_kept_and_print_as_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = benchmark("results")
    kept = tmp_path / "results.jsonl"
    monkeypatch.setenv(results.FILE, str(kept))
    results.record("start", [0.5, 0.25, 1.0])
    results.record("start", [1.5], "buildbot")
    assert "0.500 (0.250-1.000)" in capsys.readouterr().out
    lines = list(results.table(results.read_results(kept)))
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:]
    }
    assert cells["start to first action, s"] == [
        "0.3, and 1.2 x Buildbot",
        "0.500 (0.250-1.000)",
        "",
        "1.500",
    ]
    assert cells["approval to next action, s"] == ["0.5", "", "", ""]
    assert len({len(line) for line in lines}) == 1
    assert "Prefect 3." in results.machine(tmp_path)


def test_each_set_up_and_history_is_a_column_of_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = benchmark("results")
    kept = tmp_path / "results.jsonl"
    monkeypatch.setenv(results.FILE, str(kept))
    results.record("set-up-rate", [60.0], "1 server, 1 worker")
    results.record("set-up-rate", [80.0, 90.0], "1 server, 2 workers")
    results.record("history-size", [10.0], "2,000 executions")
    found = results.read_results(kept)
    heads = [line for line in results.scale_tables(found) if line.startswith("| what")]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in heads] == [
        ["what", "1 server, 1 worker", "1 server, 2 workers"],
        ["what", "2,000 executions"],
    ]
    assert any("85.0 (80.0-90.0)" in line for line in results.scale_tables(found))


def test_a_copy_of_a_row_has_its_own_ids_and_times() -> None:
    from datetime import datetime, timezone

    history = benchmark("history")
    deployment = "11111111-4c4b-4a5e-9d58-0e4f7d8b3a10"
    start = datetime(2026, 11, 29, 7, 54, tzinfo=timezone.utc)
    original = history.Original(RUN, start, frozenset({deployment}))
    text = (
        f"prefect.flow-run.{RUN} of {deployment}, {RUN[:8]}: 2026-11-29T07:55:01.5Z, 2027-01-01 00:00:00+00"
    )
    assert original.marked(text) == (
        f"prefect.flow-run.~~~~~~~~{RUN[8:]} of {deployment}, ~~~~~~~~: <~1~>:01.5Z, 2027-01-01 00:00:00+00"
    )
    assert original.minutes == {1}
    copied = text.replace(RUN[:8], "0badcafe").replace("07:55", "03:12")
    assert history.without_ids_and_times(copied, "0badcafe") == history.without_ids_and_times(text, RUN)


def test_the_processor_time_of_a_process_is_read() -> None:
    own, _ = benchmark("processor").own_seconds(os.getpid())
    assert own > 0
    assert os.getpid() in benchmark("processor").children_by_parent()[os.getppid()]
    assert benchmark("processor").seconds_of_trees([os.getpid()]) >= own


def test_later_actions_are_compared_with_earlier_ones() -> None:
    starts = [0.0]
    for number in range(400):
        starts.append(starts[-1] + (0.1 if number < 200 else 0.2))
    assert benchmark("limits").lateness(starts) == pytest.approx(2.0)


def test_the_longest_pipeline_is_within_the_limits() -> None:
    from prefect_codepipeline.model.validation import validate

    declared = benchmark("limits").many(50)
    assert sum(len(stage.actions) for stage in declared.stages) == 1000
    assert [problem for problem in validate(declared) if problem.severity == "error"] == []


def test_every_benchmark_exists_and_prints_its_help() -> None:
    names = list(benchmark("run_all").BENCHMARKS)
    for name in names:
        text = (BENCHMARKS / f"{name}.py").read_text()
        assert f"python benchmarks/{name}.py" in text
    shared = {"bench_setup", "database", "processor", "results", "rounds", "run_all", "trace_lines"}
    shared |= {"history", "many_pipelines", "several"}  # of `scale.py`
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {*names, *shared}


def test_the_document_has_the_rows_of_the_table() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    rows = [*benchmark("results").ROWS.values(), *benchmark("results").SCALE_ROWS.values()]
    assert [row.title for row in rows if f"| {row.title} |" not in text] == []


def test_a_process_that_sends_nothing_is_not_slowed_by_the_hook(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(BENCHMARKS / "trace_hook"), "CODEPIPELINE_TRACE": str(tmp_path)}
    program = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert not {"httpx", "httpcore", "uvicorn"} & set(json.loads(done.stdout))
    assert list(tmp_path.iterdir()) == []
