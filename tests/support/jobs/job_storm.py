"""Jobs while gateways, workers, the server and flow processes are killed: none is lost, none is begun after its result."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from set_up import SetUp

DEADLINE_SECONDS = 400.0
VICTIMS = ("gateway", "job worker", "flow", "server", "worker", "postgresql")
_TYPE = """
from prefect_codepipeline.engine.operations.action_types import create_type
from prefect_codepipeline.model.stored.action_type import StoredActionType
counts = {"minimumCount": 0, "maximumCount": 0}
create_type(StoredActionType(category="Build", provider="Storm", version="1", input_artifact_details=counts,
                             output_artifact_details=counts))
"""
_START = """
from prefect_codepipeline.deployments.create import start_pipeline_execution
print(json.dumps([start_pipeline_execution("NAME", {}, {}, "a storm") for _ in range(COUNT)]))
"""
# A worker with boto3 and several threads. A request whose answer is lost is repeated.
_WORKER = """
import sys, threading, time
import boto3
from botocore.config import Config
url, trace, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
kind = {"category": "Build", "owner": "Custom", "provider": "Storm", "version": "1"}

def work(client):
    while True:
        for job in client.poll_for_jobs(actionTypeId=kind)["jobs"]:
            try:
                client.acknowledge_job(jobId=job["id"], nonce=job["nonce"])
            except client.exceptions.InvalidNonceException:
                continue
            with open(trace, "a") as file:
                file.write(f"{job['id']} {time.time()}\\n")
            time.sleep(0.2)
            client.put_job_success_result(jobId=job["id"])
        time.sleep(0.3)

patient = Config(retries={"total_max_attempts": 30, "mode": "standard"})
for _ in range(threads):
    client = boto3.client("codepipeline", endpoint_url=url, region_name="us-east-1", config=patient)
    threading.Thread(target=work, args=(client,)).start()
"""


def job_storm(set_up: SetUp, kills: int, workers: int, executions: int, actions: int, seed: int) -> str:
    """Do the jobs of executions with workers of both kinds while `kills` processes are killed; return a summary.

    Raises:
        AssertionError: a job was lost, or was begun by two workers without a kill, or after its result.
    """
    chance = random.Random(seed)
    set_up.environment["PREFECT_CODEPIPELINE_LEASE_SECONDS"] = "1"
    set_up.environment["PREFECT_CODEPIPELINE_ACKNOWLEDGE_SECONDS"] = "5"
    set_up.cli("up", "--gateway")
    set_up.python(_TYPE)
    name = f"jobs-{kills}-{seed}"
    set_up.cli("deploy", str(_definition(set_up.folder, name, actions)))
    trace = set_up.folder / f"{name}-trace"
    trace.touch()
    began = time.monotonic()
    with _Workers(set_up, trace, workers) as at_work:
        ids: list[str] = json.loads(
            set_up.python(_START.replace("COUNT", str(executions)).replace("NAME", name))
        )
        victims: Counter[str] = Counter()
        order: list[str] = []
        for _ in range(kills):
            order = order or chance.sample(VICTIMS, len(VICTIMS))
            time.sleep(chance.uniform(0.3, 3.0))  # a random moment
            victims[_kill(set_up, at_work, order.pop(), chance)] += 1
            set_up.cli("up")
        set_up.wait(lambda: _have_succeeded(set_up, name, executions), DEADLINE_SECONDS)
    took = time.monotonic() - began
    jobs = _check(set_up, ids, trace, executions * actions, each_once=not kills)
    set_up.cli("up", "--no-gateway")
    return f"{jobs} jobs of {workers} workers in {took:.0f} s with {kills} kills ({dict(victims)}): each has one result"


def _definition(folder: Path, name: str, actions: int) -> Path:
    kind = {"category": "Build", "owner": "Custom", "provider": "Storm", "version": "1"}
    source = {"category": "Source", "owner": "Custom", "provider": "Scripted", "version": "1"}
    declared = {
        "name": name,
        "roleArn": "arn:aws:iam::111122223333:role/p",
        "pipelineType": "V2",
        "executionMode": "PARALLEL",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [{"name": "Src", "actionTypeId": source}]},
            {"name": "Work", "actions": [{"name": f"A{n}", "actionTypeId": kind} for n in range(actions)]},
        ],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(declared))
    return path


class _Workers:
    """One process with boto3 for half of the workers, and a command for each job for the others, which may be killed."""

    def __init__(self, set_up: SetUp, trace: Path, count: int) -> None:
        self._environment = set_up.environment
        url = f"http://127.0.0.1:{set_up.state['gateway-kept']['port']}"
        self._by_api = [sys.executable, "-c", _WORKER, url, str(trace), str(count - count // 2)]
        main = "from prefect_codepipeline.cli import main; main()"
        note = f"echo $JOB_ID $(date +%s.%N) >>{trace}; sleep 0.2"
        self._by_command = [
            *(sys.executable, "-c", main, "jobs", "work", "Build/Custom/Storm/1"),
            *("--parallel", str(count // 2), "--", "sh", "-c", note),
        ]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Workers:
        self._processes = [self._start(self._by_api), self._start(self._by_command)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def kill_one(self) -> None:
        """Kill the worker that runs commands, and start it again."""
        self._processes[1].send_signal(signal.SIGKILL)
        self._processes[1].wait()
        self._processes[1] = self._start(self._by_command)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=self._environment, stdout=quiet, stderr=quiet)


def _kill(set_up: SetUp, workers: _Workers, who: str, chance: random.Random) -> str:
    if who == "job worker":
        workers.kill_one()
        return who
    state = set_up.state
    parts = {state[part]["pid"]: part for part in ("postgresql", "server", "worker", "reconcile", "gateway")}
    pid = state["worker" if who == "flow" else who]["pid"]
    flows = [each for each in set_up.processes() if each not in parts and _is_flow(each)]
    if who == "flow" and flows:
        pid = chance.choice(flows)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return "gone already"
    return parts.get(pid, "flow")


def _is_flow(pid: int) -> bool:
    try:
        return b"fork_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _have_succeeded(set_up: SetUp, name: str, count: int) -> bool:
    statuses = Counter(each["status"] for each in set_up.executions(name))
    assert not statuses.keys() - {"InProgress", "Succeeded"}, statuses
    return statuses["Succeeded"] == count


def _check(set_up: SetUp, ids: list[str], trace: Path, expected: int, *, each_once: bool) -> int:
    begun: dict[str, list[float]] = {}
    for line in trace.read_text().splitlines():
        job, at = line.split()
        begun.setdefault(job, []).append(float(at))
    facts = [fact for known in set_up.facts(ids).values() for fact in known]
    ended = {fact["job"]: _seconds(fact) for fact in facts if fact["kind"] == "job-ended"}
    created = Counter(fact["job"] for fact in facts if fact["kind"] == "job-created")
    assert created.keys() == ended.keys() == begun.keys()
    assert len(created) == expected
    assert all(fact["outcome"] == "Succeeded" for fact in facts if fact["kind"] == "job-ended")
    late = {job for job, times in begun.items() if max(times) > ended[job]}
    assert not late, f"begun after their result: {late}"
    twice = {job for job, times in begun.items() if len(times) > 1}
    assert not (each_once and twice), f"begun twice: {twice}"
    return len(created)


def _seconds(fact: dict[str, Any]) -> float:
    return datetime.fromisoformat(fact["at"]).astimezone(timezone.utc).timestamp()
