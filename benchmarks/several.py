"""Executions a minute of several servers and workers, as part of `scale.py`.

Everything is a process of this machine: the services of deploy/compose.yaml with its commands and environment, without the
gateway. Each worker runs 4 executions at once. As many executions are started at once as there are pipelines, each QUEUED,
so that every execution passes its gates and finds them free: what limits is the workers' number of processes, and the
processors of the machine, whichever is less. Therefore the processor time of each part is measured too: it says what other
machines would carry. The actions do nothing, so that all of it is overhead.
"""

from __future__ import annotations

import copy
import csv
import os
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from bench_setup import declaration, prepare, until
from database import EVENT_TABLES, REPORTED_SECONDS, ask_at
from processor import children_by_parent, seconds_of_trees
from results import record
from throughput import wait_for_all

# Servers and workers; each is the one before with one part more or less.
SET_UPS = ((1, 1), (1, 2), (1, 4), (2, 4), (2, 2))
AT_ONCE = 4
PARTS = {
    "servers": ("server-1", "server-2"),
    "services": ("services",),
    "workers": tuple(f"worker-{number}" for number in range(1, 5)),
    "postgresql": ("postgres",),
    "others": ("redis", "proxy", "reconcile"),
}


def measure_set_ups(count: int, repeat: int) -> None:
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as home:
        prepare(home)
        from local_compose import LocalCompose, missing_programs

        if missing := missing_programs():
            print(
                f"set-ups with several servers are not measured: this machine lacks {', '.join(missing)}; "
                "`.ci/services` installs Redis and HAProxy on Debian"
            )
            return
        folder = Path(home) / "compose"
        folder.mkdir()
        running = LocalCompose(folder)
        change_services(running)
        try:
            for name in ("server-1", "services", "proxy", "worker-1", "reconcile"):
                running.start(name)
                running.wait_until_healthy(name)
            talk_to(running)
            names = deploy(count)
            for servers, workers in SET_UPS:
                have(running, servers, workers)
                measure(running, names, repeat, label(servers, workers))
        finally:
            running.stop_all()


def label(servers: int, workers: int) -> str:
    """The column of a set-up in the table."""
    return f"{servers} server{'s' * (servers > 1)}, {workers} worker{'s' * (workers > 1)}"


def change_services(running: Any) -> None:
    """Four workers that have the tests' actions and a limit; a proxy that counts requests and may have one server only."""
    services = running.services
    network = running.addresses["proxy"].rpartition(".")[0]
    for number in range(3, 5):
        services[f"worker-{number}"] = copy.deepcopy(services["worker-1"])
        running.addresses[f"worker-{number}"] = f"{network}.{100 + number}"
    for name in PARTS["workers"]:
        services[name]["command"] += ["--limit", str(AT_ONCE)]
        services[name]["environment"]["PYTHONPATH"] = os.environ["PYTHONPATH"]
    proxy = services["proxy"]
    del proxy["depends_on"]["server-2"]
    counting = running.folder / "counting.cfg"
    counting.write_text(f"global\n    stats socket {running.folder}/stats mode 600\n")
    *words, config = proxy["command"]
    proxy["command"] = [*words[:-1], "-f", str(counting), words[-1], config]


def talk_to(running: Any) -> None:
    """Have this process talk to the set-up."""
    secret = (running.folder / "secrets/api_auth_string").read_text()
    url = f"{running.prefect_url}/api"
    os.environ.update(PREFECT_API_URL=url, PREFECT_API_AUTH_STRING=secret, NO_PROXY="*")


def deploy(count: int) -> list[str]:
    from prefect_codepipeline.deployments.create import deploy_pipeline

    names = [f"bench-{number}" for number in range(count)]
    for name in names:
        deploy_pipeline(declaration(name))
    return names


def have(running: Any, servers: int, workers: int) -> None:
    """Start what is missing and end what is too much."""
    wanted = {f"server-{number + 1}" for number in range(servers)}
    wanted |= {f"worker-{number + 1}" for number in range(workers)}
    for name in (*PARTS["servers"], *PARTS["workers"]):
        if name in wanted:
            running.start(name)
            running.wait_until_healthy(name)
        elif name in running.processes:
            running.kill(name)
    until(lambda: sum(row["status"] == "UP" for row in of_proxy(running, "servers", "server-")) == servers)


def measure(running: Any, names: list[str], repeat: int, column: str) -> None:
    run(running, names)  # a new worker imports more, and a new server has read nothing yet
    inserted, found = inserted_rows(running), []
    for _ in range(repeat):
        found.append(run(running, names))
    after = inserted_rows(running)
    for key in found[0]:
        record(f"set-up-{key}", [each[key] for each in found], column)
    rows = {table: (count - inserted.get(table, 0)) / repeat / len(names) for table, count in after.items()}
    events = sum(rows.pop(table, 0.0) for table in EVENT_TABLES)
    record("set-up-rows", [sum(rows.values())], column)
    record("set-up-event-rows", [events], column)


def run(running: Any, names: list[str]) -> dict[str, float]:
    """Start an execution of each pipeline at once; what is measured, by the end of its key."""
    from prefect_codepipeline.deployments.create import start_pipeline_execution
    from prefect_codepipeline.prefect_api import client

    processor, requests, start = processor_seconds(running), requests_so_far(running), time.time()
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda name: str(start_pipeline_execution(name, {}, {}, "bench")), names))
    own: list[str] = []
    before, client.on_answer = client.on_answer, lambda method, path, _: own.append(path)
    # One whose process has died goes on in another one, which is counted below.
    ends = wait_for_all(ids, ("COMPLETED", "FAILED", "CANCELLED"))
    requests_of_this = len(own)
    client.on_answer = before
    runs = client.call_all("/flow_runs/filter", {"flow_runs": {"id": {"any_": ids}}})
    if ends != {"Succeeded": len(ids)}:
        why = {str(each["state"]["message"]) for each in runs if each["state_name"] != "Succeeded"}
        raise SystemExit(f"executions failed: {dict(ends)}; {'; '.join(sorted(why))}")
    if again := sum(each["run_count"] > 1 for each in runs):
        print(
            f"{again} of {len(ids)} executions went on in another process, since theirs had ended", flush=True
        )
    took = max(datetime.fromisoformat(each["end_time"]).timestamp() for each in runs) - start
    sent = requests_so_far(running) - requests - requests_of_this
    until(lambda: not flow_processes(running))
    used = {part: value - processor[part] for part, value in processor_seconds(running).items()}
    return {
        "rate": 60 * len(ids) / took,
        "used": sum(used.values()) / took,
        **{part: value / len(ids) for part, value in used.items()},
        "requests": sent / len(ids),
    }


def processor_seconds(running: Any) -> dict[str, float]:
    """The processor time of each part so far, that of its processes that have ended included."""
    pids = {name: process.pid for name, process in running.processes.items()}
    return {
        part: seconds_of_trees([pids[name] for name in names if name in pids])
        for part, names in PARTS.items()
    }


def flow_processes(running: Any) -> int:
    """How many processes of executions there are: the children of the fork servers, which are children of workers."""
    tree = children_by_parent()
    workers = [running.processes[name].pid for name in PARTS["workers"] if name in running.processes]
    return sum(len(tree.get(fork_server, [])) for worker in workers for fork_server in tree.get(worker, []))


def requests_so_far(running: Any) -> int:
    """How many requests the proxy has passed on to Prefect's servers."""
    (found,) = of_proxy(running, "prefect", "FRONTEND")
    return int(found["req_tot"])


def of_proxy(running: Any, name: str, kind: str) -> list[dict[str, str]]:
    """HAProxy's counters of a frontend, or of the servers of a backend."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(f"{running.folder}/stats")
        asked.sendall(b"show stat\n")
        text = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return [row for row in rows if row["pxname"] == name and row["svname"].startswith(kind)]


def inserted_rows(running: Any) -> dict[str, int]:
    """The rows ever inserted into each table. PostgreSQL's processes report what they have counted some seconds later."""
    time.sleep(REPORTED_SECONDS)
    password = (running.folder / "secrets/postgres_password").read_text()
    place = {
        "host": running.addresses["postgres"],
        "user": "prefect",
        "password": password,
        "database": "prefect",
    }
    return dict(map(tuple, ask_at(place, "select relname, n_tup_ins from pg_stat_user_tables")))
