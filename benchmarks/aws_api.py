"""The AWS API: how long answers take for a client on this machine.

    python benchmarks/aws_api.py [--pipelines 200] [--executions 1000] [--rounds 200] [--sqlite]

There are 200 pipelines; one of them has 1,000 executions that have ended, and 10 in flight: one waits for an approval, and nine
wait behind it. The time is from the first byte of a signed request to the last byte of its answer. The first round, on a gateway that
has just started, is counted apart. Then: how long a start takes, until a job can be polled, from its result to the next action, and
what 50 workers cost that poll once a second for jobs that do not come.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench_setup import action, approval, command_line, leave, pipeline, set_up, until
from results import cell, record

BUSY, WORKED = "busy", "worked"
IN_FLIGHT, WORKERS, POLL_SECONDS, JOBS = 10, 50, 20.0, 5
KIND = {"category": "Build", "owner": "Custom", "provider": "Bench", "version": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipelines", type=int, default=200)
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--sqlite", action="store_true", help="with SQLite, without an entry in the table")
    arguments = parser.parse_args()
    # Executions that are written without a process would be taken for those of a dead one.
    os.environ["PREFECT_CODEPIPELINE_RECONCILE_SECONDS"] = "3600"
    os.environ["PREFECT_CODEPIPELINE_WAIT_SECONDS"] = "3"  # in front of a stage, until the process ends
    with set_up(sqlite=arguments.sqlite, trace=True) as home:
        measure(home, arguments)
    leave()


def measure(home: Path, arguments: argparse.Namespace) -> None:
    keep = (lambda *_: None) if arguments.sqlite else record
    url, keys = prepare(arguments)
    requests = wanted(url, keys)
    cold = first_answers(requests)
    took, questions = answers(requests, arguments.rounds, home)
    print(f"{'operation':24} {'first':>8} {'p50':>8} {'p95':>8} {'slowest':>8} {'questions to Prefect':>22}")
    for name, times in took.items():
        times.sort()
        shown = (cold[name], statistics.median(times), p95(times), times[-1])
        print(
            f"{name:24} {' '.join(f'{1000 * each:5.1f} ms' for each in shown)} {questions[name] / len(times):20.2f}"
        )
    keep("aws-api-p50", [1000 * statistics.median(times) for times in took.values()])
    keep("aws-api-p95", [1000 * p95(times) for times in took.values()])
    keep("aws-api-cold", list(cold.values()))
    client = boto3_client(url, keys)
    keep("aws-api-start", starts(client, one_by_one=True))
    print(f"the same, one start right after another: {cell(starts(client, one_by_one=False), 3)} s")
    polled, continued = jobs(client)
    keep("aws-api-job", polled)
    keep("aws-api-result", continued)
    keep("aws-api-workers", [workers(url, keys, home)])


def p95(times: list[float]) -> float:
    """The time that 95 of 100 do not exceed."""
    return sorted(times)[min(len(times) - 1, int(0.95 * len(times)))]


def prepare(arguments: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """Create what is asked for; the address of a new gateway, and a key."""
    from past_executions import write_past_executions

    from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
    from prefect_codepipeline.deployments.local import embedded

    for number in range(arguments.pipelines - 1):
        deploy_pipeline(pipeline(f"quiet-{number:03}", _stages()))
    deploy_pipeline(pipeline(BUSY, _stages(), "QUEUED"))
    write_past_executions(BUSY, arguments.executions)
    for _ in range(IN_FLIGHT):
        start_pipeline_execution(BUSY, {}, {}, "bench")
    added = json.loads(command_line("key", "add", "bench", "--may", "admin", "--json"))
    keys = {"access": added["accessKeyId"], "secret": added["secretAccessKey"]}
    url = str(embedded.up(gateway=True).gateway_url)
    client = boto3_client(url, keys)
    waiting = lambda: _waiting(client.get_pipeline_state(name=BUSY)["stageStates"])  # noqa: E731
    until(lambda: waiting() >= IN_FLIGHT, pause=1.0)
    details = {"minimumCount": 0, "maximumCount": 1}
    created = {"inputArtifactDetails": details, "outputArtifactDetails": details}
    kind = {name: KIND[name] for name in ("category", "provider", "version")}
    client.create_custom_action_type(**kind, **created)
    deploy_worked(client)
    embedded.up(gateway=False)
    return str(embedded.up(gateway=True).gateway_url), keys


def _stages() -> dict[str, list[dict[str, Any]]]:
    return {
        "Source": [{**action("Src", category="Source"), "outputArtifacts": [{"name": "Code"}]}],
        "Build": [{**action(name), "inputArtifacts": [{"name": "Code"}]} for name in ("A", "B", "C")],
        "Release": [approval("Approve"), action("D", 2)],
    }


def _waiting(stages: list[dict[str, Any]]) -> int:
    """How many executions are as far as they come: in front of a stage, or in the last one."""
    inbound = sum(len(stage.get("inboundExecutions", [])) for stage in stages)
    return inbound + sum("token" in each.get("latestExecution", {}) for each in stages[-1]["actionStates"])


def deploy_worked(client: Any) -> None:
    """A pipeline whose action is a job, and is followed by another one."""
    client.create_pipeline(
        pipeline={
            "name": WORKED, "roleArn": "arn:aws:iam::111122223333:role/pipeline", "pipelineType": "V2",
            "executionMode": "PARALLEL", "artifactStore": {"type": "S3", "location": "bench"},
            "stages": [
                {"name": "Source", "actions": [action("Src", category="Source")]},
                {"name": "Build", "actions": [{"name": "Job", "actionTypeId": KIND}, action("After", 2)]},
            ],
        }
    )  # fmt: skip
    finish_job(client)


def boto3_client(url: str, keys: dict[str, str]) -> Any:
    import boto3

    given = {"aws_access_key_id": keys["access"], "aws_secret_access_key": keys["secret"]}
    return boto3.client("codepipeline", region_name="us-east-1", endpoint_url=url, **given)


class Asked:
    """A request that is sent again and again over one connection, signed anew each time."""

    def __init__(self, url: str, keys: dict[str, str], operation: str, members: dict[str, Any]) -> None:
        from botocore.auth import SigV4Auth
        from botocore.credentials import Credentials

        self._address = urlsplit(url)
        self._auth = SigV4Auth(Credentials(keys["access"], keys["secret"]), "codepipeline", "us-east-1")
        self._target = f"CodePipeline_20150709.{operation}"
        self._body = json.dumps(members).encode()
        self._connection = http.client.HTTPConnection(str(self._address.hostname), self._address.port)

    def close(self) -> None:
        """Have the next request open a connection."""
        self._connection.close()

    def send(self) -> tuple[float, dict[str, Any]]:
        """The seconds until the whole answer was there, and the answer."""
        from botocore.awsrequest import AWSRequest

        headers = {"X-Amz-Target": self._target, "Content-Type": "application/x-amz-json-1.1"}
        signed = AWSRequest("POST", f"{self._address.geturl()}/", headers, self._body)
        self._auth.add_auth(signed)
        start = time.perf_counter()
        self._connection.request("POST", "/", self._body, dict(signed.headers))
        response = self._connection.getresponse()
        body = response.read()
        took = time.perf_counter() - start
        if response.status != 200:
            raise SystemExit(f"{self._target} was answered with {response.status}: {body[:500]!r}")
        return took, json.loads(body)


def wanted(url: str, keys: dict[str, str]) -> dict[str, Asked]:
    """The requests that are measured."""
    listed = boto3_client(url, keys).list_pipeline_executions(pipelineName=BUSY, maxResults=20)
    one = listed["pipelineExecutionSummaries"][-1]["pipelineExecutionId"]
    members: dict[str, dict[str, Any]] = {
        "GetPipeline": {"name": BUSY},
        "GetPipelineState": {"name": BUSY},
        "GetPipelineExecution": {"pipelineName": BUSY, "pipelineExecutionId": one},
        "ListPipelines": {},
        "ListPipelineExecutions": {"pipelineName": BUSY, "maxResults": 100},
        "ListActionExecutions": {"pipelineName": BUSY, "maxResults": 100},
        "PollForJobs": {"actionTypeId": KIND},
    }
    return {name: Asked(url, keys, name, each) for name, each in members.items()}


def first_answers(requests: dict[str, Asked]) -> dict[str, float]:
    """The seconds of the first answer of each, by a gateway that has just started."""
    from prefect_codepipeline.deployments.local import embedded

    found = {}
    for name, asked in requests.items():
        embedded.up(gateway=False)
        embedded.up(gateway=True)
        found[name], _ = asked.send()
        asked.close()
    return found


def answers(
    requests: dict[str, Asked], rounds: int, home: Path
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """The seconds of each answer, and how many questions to Prefect the gateway has sent meanwhile."""
    took: dict[str, list[float]] = {}
    questions: dict[str, int] = {}
    for name, asked in requests.items():
        asked.send()
        before = _questions(home)
        took[name] = [asked.send()[0] for _ in range(rounds)]
        questions[name] = _questions(home) - before
    return took, questions


def _questions(home: Path) -> int:
    """How many requests to Prefect all gateways have sent so far."""
    lines = (line for file in (home.parent / "trace").glob("*.jsonl") for line in file.open("rb"))
    return sum(b'"side": "client"' in line and b'"who": "gateway"' in line for line in lines)


def starts(client: Any, *, one_by_one: bool) -> list[float]:
    """The seconds of a start; `one_by_one`: each after the execution before has come to its approval."""
    took = []
    for _ in range(JOBS):
        start = time.perf_counter()
        started = client.start_pipeline_execution(name="quiet-000")
        took.append(time.perf_counter() - start)
        if one_by_one:
            until(lambda one=started["pipelineExecutionId"]: _is_at_rest(one))
    return took


def finish_job(client: Any) -> tuple[str, float]:
    """Poll until there is a job, and end it with success: its execution, and when it was polled."""
    while not (found := client.poll_for_jobs(actionTypeId=KIND)["jobs"]):
        time.sleep(0.02)
    polled, job = time.time(), found[0]
    client.acknowledge_job(jobId=job["id"], nonce=job["nonce"])
    client.put_job_success_result(jobId=job["id"])
    return str(job["data"]["pipelineContext"]["pipelineExecutionId"]), polled


def jobs(client: Any) -> tuple[list[float], list[float]]:
    """The seconds from the creation of a job until it was polled, and from its result to the next action."""
    from prefect_codepipeline.engine.executions.lookup import read_execution

    polled, continued = [], []
    for _ in range(JOBS):
        client.start_pipeline_execution(name=WORKED)
        execution_id, at = finish_job(client)
        answered = time.time()
        known = until(lambda one=execution_id: _if_ended(read_execution(one)))
        facts = {fact.key: fact.at.timestamp() for fact in known.facts}
        created = next(
            when for key, when in facts.items() if key.startswith("job-") and key.endswith("-created")
        )
        polled.append(at - created)
        after = next(each for _, each in known.state.actions if each.name == "After")
        continued.append(after.started.at.timestamp() - answered)
    return polled, continued


def _is_at_rest(execution_id: str) -> bool:
    """Whether the execution has no process: it waits for its approval."""
    from prefect_codepipeline.prefect_api.client import flow_run

    run = flow_run(execution_id)
    return bool(run and run["state_type"] == "PAUSED")


def _if_ended(known: Any) -> Any:
    return known if known.state and known.state.final else None


def workers(url: str, keys: dict[str, str], home: Path) -> float:
    """What 50 workers cost the gateway that poll once a second: percent of a core."""
    stop = threading.Event()

    def work(number: int) -> None:
        asked = Asked(url, keys, "PollForJobs", {"actionTypeId": KIND})
        stop.wait(number / WORKERS)
        while not stop.is_set():
            asked.send()
            stop.wait(1.0)

    processes = _gateways()
    with ThreadPoolExecutor(WORKERS) as threads:
        for number in range(WORKERS):
            threads.submit(work, number)
        time.sleep(2.0)
        before = sum(map(_processor_seconds, processes))
        time.sleep(POLL_SECONDS)
        used = sum(map(_processor_seconds, processes)) - before
        stop.set()
    return 100 * used / POLL_SECONDS


def _gateways() -> list[int]:
    """The processes of this set-up's gateway."""
    own = os.environ["PREFECT_CODEPIPELINE_HOME"].encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if own in environment and b"gateway" in command.split(b"\0"):
            found.append(int(folder.name))
    return found


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
