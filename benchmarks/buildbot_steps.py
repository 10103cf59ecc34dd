"""Buildbot on the same machine: from a trigger to the first step, and the seconds for one more step.

    python benchmarks/buildbot_steps.py [--repeat 5] [--buildbot .venv/buildbot/bin/buildbot]

A master with its default database and a worker beside it run a builder of 20 steps, which is triggered by the REST API. The steps of
the first builder run `true` on the worker, those of the second do nothing, like the actions that this project is measured with. The
times are from the master, which writes the time when it starts a step; the times in its REST API are whole seconds. Buildbot is only
compared with, and has a separate environment: `make bench` creates it.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from results import record

STEPS = 20
BUILDBOT = Path(sys.executable).parent.parent / "buildbot" / "bin" / "buildbot"
MASTER = """
import time
from buildbot.plugins import schedulers, steps, util, worker
from buildbot.process.results import SUCCESS


def note(step):
    with open({times!r}, "a") as file:
        file.write(str(time.time()) + "\\n")


class TimedCommand(steps.ShellCommand):
    def run(self):
        note(self)
        return super().run()


class Nothing(steps.BuildStep):
    async def run(self):
        note(self)
        return SUCCESS


def builder(name, step):
    factory = util.BuildFactory([step(number) for number in range({steps})])
    return util.BuilderConfig(name=name, workernames=["w"], factory=factory)


c = BuildmasterConfig = dict(
    workers=[worker.Worker("w", "secret-of-the-benchmark")],
    protocols=dict(pb=dict(port="tcp:{worker_port}:interface=127.0.0.1")),
    builders=[
        builder("command", lambda number: TimedCommand(command=["true"], name=f"s{{number}}")),
        builder("nothing", lambda number: Nothing(name=f"s{{number}}")),
    ],
    schedulers=[schedulers.ForceScheduler(name="force", builderNames=["command", "nothing"])],
    www=dict(port="tcp:{port}:interface=127.0.0.1", plugins={{}}),
    db=dict(db_url="sqlite:///state.sqlite"),
    buildbotURL="http://127.0.0.1:{port}/",
    buildbotNetUsageData=None,
)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--buildbot", type=Path, default=BUILDBOT)
    arguments = parser.parse_args()
    if not arguments.buildbot.exists():
        print(f"Buildbot is not installed ({arguments.buildbot} does not exist): not compared")
        return
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as folder:
        with running(Path(folder), arguments.buildbot.absolute()) as url:
            times = Path(folder) / "times"
            first, each = measure(url, times, "command", arguments.repeat)
            record("start", first, "buildbot")
            record("action", each, "buildbot")
            first, each = measure(url, times, "nothing", arguments.repeat)
        print(
            f"with steps that do nothing: {statistics.median(first):.3f} s to the first step, "
            f"{statistics.median(each):.3f} s for one more"
        )


def measure(url: str, times: Path, builder: str, repeat: int) -> tuple[list[float], list[float]]:
    """The seconds to the first step, and for each further step; the first build is not counted."""
    first, each = [], []
    for _ in range(repeat + 1):
        times.write_text("")
        triggered = time.time()
        force(url, builder)
        until(lambda: len(times.read_text().split()) == STEPS)
        started = [float(line) for line in times.read_text().split()]
        first.append(started[0] - triggered)
        each.append((started[-1] - started[0]) / (STEPS - 1))
        until(lambda: not get(url, "builds?complete=false")["builds"])
    return first[1:], each[1:]


def force(url: str, builder: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "force", "params": {"builderNames": [builder]}}
    httpx.post(f"{url}/forceschedulers/force", json=body, timeout=60).raise_for_status()


def get(url: str, path: str) -> Any:
    return httpx.get(f"{url}/{path}", timeout=60).raise_for_status().json()


@contextlib.contextmanager
def running(folder: Path, buildbot: Path) -> Iterator[str]:
    """A master and a connected worker; the URL of the REST API."""
    from prefect_codepipeline.deployments.local.ports import free_port

    port, worker_port = free_port(), free_port()
    subprocess.run([buildbot, "create-master", "master"], cwd=folder, check=True, capture_output=True)
    text = MASTER.format(times=str(folder / "times"), steps=STEPS, port=port, worker_port=worker_port)
    (folder / "master" / "master.cfg").write_text(text)
    worker = buildbot.with_name("buildbot-worker")
    address = [f"127.0.0.1:{worker_port}", "w", "secret-of-the-benchmark"]
    subprocess.run([worker, "create-worker", "worker", *address], cwd=folder, check=True, capture_output=True)
    url = f"http://127.0.0.1:{port}/api/v2"
    processes = []
    try:
        for program, what in ((buildbot, "master"), (worker, "worker")):
            with open(folder / f"{what}.log", "wb") as log:
                command = [program, "start", "--nodaemon", what]
                processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
        until(lambda: is_connected(url), lambda: (folder / "master.log").read_text()[-3000:])
        yield url
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=60)


def is_connected(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return any(worker["connected_to"] for worker in get(url, "workers")["workers"])
    return False


def until(condition: Callable[[], Any], seen: Callable[[], str] = lambda: "", seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"Buildbot did not come that far in {seconds:g} s\n{seen()}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
