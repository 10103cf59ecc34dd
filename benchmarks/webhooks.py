"""Webhooks under load: the response time for git hosts, and the handling of a burst.

    python benchmarks/webhooks.py [--sqlite]

Three measurements: 50 deliveries per second for 20 s, which are answered after they were stored in Prefect; 1,000
deliveries at once for a PARALLEL pipeline, of which 50 executions may be in flight; and the time from the delivery of a push to the
start of its source action, with the embedded worker. No executions run during the first two measurements, because the work pool of
their pipelines has no worker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from bench_setup import action, leave, pipeline, set_up

SECRET = "secret-of-the-benchmark"
RATE, SECONDS, BURST = 50, 20, 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sqlite", action="store_true", help="with SQLite instead of PostgreSQL")
    _measure(parser.parse_args().sqlite)
    leave()


def _measure(sqlite: bool) -> None:
    os.environ["PREFECT_CODEPIPELINE_POLL_SECONDS"] = "0"
    with set_up(sqlite=sqlite) as home:
        from prefect.client.schemas.actions import WorkPoolCreate
        from pydantic import SecretStr

        from prefect_codepipeline.blocks.git_connection import GitConnection
        from prefect_codepipeline.deployments.create import deploy_pipeline
        from prefect_codepipeline.deployments.local import embedded
        from prefect_codepipeline.prefect_api.client import client

        url = embedded.up(gateway=True).gateway_url
        repository = _repository(home)
        client().create_work_pool(WorkPoolCreate(name="without-worker", type="process"))
        for name, mode, pool in (
            ("steady", "SUPERSEDED", "without-worker"),
            ("burst", "PARALLEL", "without-worker"),
            ("real", "SUPERSEDED", "codepipeline"),
        ):
            GitConnection(
                url_template=str(repository), webhook_secret=SecretStr(SECRET), host_kind="github"
            ).save(name)
            deploy_pipeline(declaration(name, mode), pool)
        post(url, "steady", "0" * 39 + "9")
        print(_steady(url), flush=True)
        print(_burst(url), flush=True)
        print(_start(url, repository), flush=True)


def _steady(url: str) -> str:
    """Send at a fixed rate: a slow response does not delay the next request."""
    took: list[float] = []
    statuses: Counter[int] = Counter()
    start = time.perf_counter()

    def one(number: int) -> None:
        time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
        answer, seconds = post(url, "steady", f"{number + 1:040x}")
        took.append(seconds)
        statuses[answer.status_code] += 1

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(one, range(RATE * SECONDS)))
    took.sort()
    p99 = took[int(len(took) * 0.99)]
    median = statistics.median(took)
    waited = _settled()
    return (
        f"{RATE}/s for {SECONDS} s: median {1000 * median:.0f} ms, p99 {1000 * p99:.0f} ms, slowest {1000 * took[-1]:.0f} "
        f"ms, {dict(statuses)}; all executions started {waited:.0f} s after the last delivery"
    )


def _burst(url: str) -> str:
    start = time.perf_counter()
    with ThreadPoolExecutor(100) as pool:
        answers = Counter(
            answer.status_code
            for answer, _ in pool.map(lambda n: post(url, "burst", f"{n + 1:040x}"), range(BURST))
        )
    answered = time.perf_counter() - start
    _settled()
    from prefect_codepipeline.engine.triggers.webhook_inbox import finished

    results = [result for each in finished(10_000) if each.endpoint == "burst" for result in each.results]
    started, refused = (
        sum(bool(each.execution_id) for each in results),
        sum(bool(each.refusal) for each in results),
    )
    return (
        f"{BURST} at once: answered in {answered:.1f} s {dict(answers)}, processed after {time.perf_counter() - start:.0f} s: "
        f"{started} started, {refused} refused with the reason"
    )


def _start(url: str, repository: Path) -> str:
    from prefect_codepipeline.engine.executions.lookup import find_runs, read_execution
    from prefect_codepipeline.model.record.facts import ActionStarted

    took = []
    for number in range(5):
        _git(repository, "commit", "--quiet", "--allow-empty", "-m", f"Change {number}")
        commit = _git(repository, "rev-parse", "HEAD")
        start = time.time()
        post(url, "real", commit)
        while True:
            runs = [
                run for run in find_runs("real") if run["parameters"]["source_revisions"] == {"Src": commit}
            ]
            facts = read_execution(runs[0]["id"]).facts if runs else []
            if started := [fact for fact in facts if isinstance(fact, ActionStarted)]:
                took.append(started[0].at.timestamp() - start)
                break
            time.sleep(0.05)
        while read_execution(runs[0]["id"]).run["state_type"] not in ("COMPLETED", "FAILED"):
            time.sleep(0.1)
    return f"from the delivery of a push to the start of its source action: {', '.join(f'{each:.2f}' for each in took)} s"


def _settled() -> float:
    """Wait until all deliveries are processed; return the seconds that this took."""
    from prefect_codepipeline.engine.triggers.webhook_inbox import waiting

    start = time.perf_counter()
    while waiting():
        time.sleep(0.5)
    return time.perf_counter() - start


# One client for all requests: creating a client takes longer than a request.
_client = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=200, max_keepalive_connections=200))


def post(url: str, name: str, commit: str) -> tuple[httpx.Response, float]:
    """Send a push as GitHub does; return the response and the seconds that it took."""
    import hashlib
    import hmac

    body = json.dumps(
        {
            "ref": "refs/heads/main",
            "before": "0" * 40,
            "after": commit,
            "repository": {"full_name": "acme/app"},
            "head_commit": {"id": commit, "message": "A change", "url": "https://example.com"},
        }
    ).encode()
    headers = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
    }
    start = time.perf_counter()
    try:
        answer = _client.post(f"{url}/webhooks/{name}", content=body, headers=headers)
    except httpx.RemoteProtocolError:  # the server has closed an idle connection
        answer = _client.post(f"{url}/webhooks/{name}", content=body, headers=headers)
    return answer, time.perf_counter() - start


def _repository(home: Path) -> Path:
    folder = home / "app"
    folder.mkdir()
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "commit", "--quiet", "--allow-empty", "-m", "First commit")
    return folder


def _git(folder: Path, *arguments: str) -> str:
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    command = ["git", "-C", str(folder), *author, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def declaration(name: str, mode: str) -> Any:
    source = {
        **action("Src", 1, "Source", "AWS", "CodeStarSourceConnection"),
        "configuration": {"ConnectionArn": name, "FullRepositoryId": "acme/app", "BranchName": "main"},
        "outputArtifacts": [{"name": "Source"}],
    }
    return pipeline(name, {"Source": [source], "Test": [action("Test")]}, mode)


if __name__ == "__main__":
    main()
