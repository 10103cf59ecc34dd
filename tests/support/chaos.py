"""Kill processes at random, and crowd the gates and the gateway; check that no work is lost or done twice and nothing stays locked.

`python tests/support/chaos.py [--kills N] [--crowd N] [--times N] [--seed N]` is the long form for `make chaos`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from gateway_storm import gateway_storm
from job_storm import job_storm
from set_up import SetUp

DEADLINE_SECONDS = 300.0
# What is killed in each round, in an order of the round's own.
_VICTIMS = ("postgresql", "server", "worker", "flow", "flow")


def pipeline(name: str, folder: Path, *stages: list[dict[str, Any]], mode: str = "SUPERSEDED") -> Path:
    """Write the definition of a pipeline whose scripted actions add a line to `folder/trace` each time they run.

    An action with the configuration `Work` waits for the file `done` in that folder.
    """

    def action(name: str, run_order: int = 1, category: str = "Test", **configuration: str) -> dict[str, Any]:
        owner, provider = ("AWS", "Manual") if category == "Approval" else ("Custom", "Scripted")
        kind = {"category": category, "owner": owner, "provider": provider, "version": "1"}
        if "Work" in configuration:
            kind["provider"] = "Waits"
        elif category != "Approval":
            configuration["Trace"] = str(folder / "trace")
        return {"name": name, "runOrder": run_order, "actionTypeId": kind, "configuration": configuration}

    declared = {
        "name": name,
        "roleArn": "arn:aws:iam::111122223333:role/p",
        "pipelineType": "V2",
        "executionMode": mode,
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [action("Src", category="Source")]},
            *(
                {"name": f"S{n}", "actions": [action(**each) for each in each_stage]}
                for n, each_stage in enumerate(stages, 1)
            ),
        ],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(declared))
    return path


def storm(set_up: SetUp, kills: int, seed: int) -> str:
    """Kill `kills` processes while executions run that wait for an approval and for work; return a summary.

    Raises:
        AssertionError: work was lost or done twice, or a lock, ticket or lease was not released.
    """
    chance = random.Random(seed)
    folder = set_up.folder
    set_up.environment["PREFECT_CODEPIPELINE_LEASE_SECONDS"] = "1"
    set_up.cli("up")
    work = [{"name": "A", "SleepSeconds": "0.4"}, {"name": "B", "SleepSeconds": "0.7"}]
    job = folder / "job"
    job.mkdir()
    release = [
        {"name": "Ok", "category": "Approval"},
        {"name": "Job", "Work": str(job), "Seconds": "6"},
        {"name": "Deploy", "run_order": 2, "SleepSeconds": "0.3"},
    ]
    set_up.cli("deploy", str(pipeline("storm", folder, work, release)))
    victims: Counter[str] = Counter()
    order: list[str] = []
    for number in range(kills):
        order = order or chance.sample(_VICTIMS, len(_VICTIMS))
        if number % 3 == 0:
            set_up.cli("start", "storm")
        time.sleep(chance.uniform(0.3, 3.0))  # a random moment
        victims[_kill_one(set_up, order.pop(), chance)] += 1
        set_up.cli("up")
        if chance.random() < 0.5:
            set_up.cli("approve", "storm", "-m", "go", check=False)
    (job / "done").touch()
    set_up.wait(lambda: _have_ended(set_up), DEADLINE_SECONDS)
    executions = set_up.executions("storm")
    _check_facts(set_up, executions)
    _check_nothing_is_left(set_up)
    ends = Counter(execution["status"] for execution in executions)
    return f"{kills} kills ({dict(victims)}), {len(executions)} executions: {dict(ends)}"


_START_TOGETHER = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import time
from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.engine.executions.lookup import read_execution

together = Barrier(COUNT)

def start(number):
    together.wait()
    return start_pipeline_execution("together", {}, {}, "a crowd")

def end_of(execution_id):
    while not (state := read_execution(execution_id).state) or not state.final:
        time.sleep(0.5)
    return state.final.status

with ThreadPoolExecutor(COUNT) as pool:
    started = list(pool.map(start, range(COUNT)))
print(json.dumps({execution_id: end_of(execution_id) for execution_id in started}))
"""


def start_together(set_up: SetUp, count: int, *options: str) -> None:
    """Start `count` executions at the same moment, which do not wait for one another.

    Raises:
        AssertionError: a start was not answered, an execution did not succeed, or a request waited for a lock.
    """
    set_up.cli("up", *options)
    set_up.cli("deploy", str(pipeline("together", set_up.folder, [{"name": "Try"}], mode="PARALLEL")))

    ends = json.loads(set_up.python(_START_TOGETHER.replace("COUNT", str(count))))

    assert list(ends.values()) == ["Succeeded"] * count
    complaints = [
        line
        for line in (set_up.home / "logs" / "server.log").read_text().splitlines()
        if "locked" in line or "ERROR" in line or "deadlock" in line
    ]
    assert complaints == []


def crowd(set_up: SetUp, count: int, mode: str) -> str:
    """Start `count` executions of three stages at once; return a summary of how they ended.

    Raises:
        AssertionError: two executions were in a stage at once, one was overtaken, or the newest was superseded.
    """
    name = f"crowd-{mode.lower()}-{random.randrange(10**6)}"
    stages = [[{"name": "Work", "SleepSeconds": "0.2"}]] * 2
    set_up.cli("up")
    set_up.cli("deploy", str(pipeline(name, set_up.folder, *stages, mode=mode)))
    start = time.monotonic()
    ids = json.loads(
        set_up.python(
            "from concurrent.futures import ThreadPoolExecutor\n"
            "from prefect_codepipeline.deployments.create import start_pipeline_execution as start\n"
            f"with ThreadPoolExecutor(5) as pool: ids = list(pool.map(lambda _: start({name!r}, {{}}, {{}}, 'crowd'), range({count})))\n"
            "print(json.dumps(ids))"
        )
    )

    set_up.wait(
        lambda: all(e["status"] in ("Succeeded", "Superseded") for e in set_up.executions(name)),
        DEADLINE_SECONDS,
    )
    took = time.monotonic() - start
    facts = set_up.facts(ids)
    ends = Counter(execution["status"] for execution in set_up.executions(name))
    assert sum(ends.values()) == count
    if mode != "PARALLEL":
        _check_one_at_a_time(facts)
    if mode == "QUEUED":
        orders = {tuple(_entered(facts, stage)) for stage in ("Source", "S1", "S2")}
        assert len(orders) == 1, f"an execution was overtaken: {orders}"
    if mode == "SUPERSEDED":
        statuses = {e["pipelineExecutionId"]: e["status"] for e in set_up.executions(name)}
        through = _entered(facts, "S2")
        assert statuses[through[-1]] == "Succeeded"
    else:
        assert ends["Succeeded"] == count
    return f"{mode}: {count} executions of 3 stages in {took:.0f} s: {dict(ends)}"


def _kill_one(set_up: SetUp, who: str, chance: random.Random) -> str:
    state = set_up.state
    parts = {state[part]["pid"]: part for part in ("postgresql", "server", "worker", "reconcile")}
    running = [pid for pid in set_up.processes() if pid not in parts and not _is_of_database(pid)]
    pid = (
        chance.choice(running)
        if who == "flow" and running
        else state["worker" if who == "flow" else who]["pid"]
    )
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return "gone already"
    return parts.get(pid, "flow")


def _is_of_database(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False


def _have_ended(set_up: SetUp) -> bool:
    executions = set_up.executions("storm")
    if any(execution["status"] in ("InProgress", "Stopping") for execution in executions):
        set_up.cli("approve", "storm", "-m", "go", check=False)
        return False
    return True


def _check_facts(set_up: SetUp, executions: list[dict[str, Any]]) -> None:
    lines = Counter((set_up.folder / "trace").read_text().splitlines())
    for execution_id, facts in set_up.facts([each["pipelineExecutionId"] for each in executions]).items():
        started = Counter(f"{f['stage']}/{f['action']}" for f in facts if f["kind"] == "action-started")
        finished = Counter(
            f"{f['stage']}/{f['action']}"
            for f in facts
            if f["kind"] == "action-finished" and f["status"] == "Succeeded"
        )
        for what, times in started.items():
            ran = lines[f"{execution_id} {what}"]
            is_source = what.startswith(
                "Source/"
            )  # a source is fetched again after a crash: it has no effect
            assert ran <= times or is_source, (
                f"{what} of {execution_id} ran {ran} times, started {times} times"
            )
            is_work = what not in ("S2/Ok", "S2/Job")  # what waits leaves no line
            assert ran >= finished[what] or not is_work, (
                f"{what} of {execution_id} is Succeeded, but did not run"
            )
        assert all(times == 1 for times in finished.values()), f"{execution_id}: done twice: {finished}"
        begun = Counter((f["action"], f["attempt"]) for f in facts if f["kind"] == "action-kept")
        assert all(times == 1 for times in begun.values()), f"{execution_id}: begun twice: {begun}"
        # An execution that was killed twice before it wrote its first fact is ended only by the state of its run.
        if any(f["kind"] == "execution-pinned" for f in facts):
            assert any(f["kind"] == "execution-finished" for f in facts), f"{execution_id} has no end"


def _check_nothing_is_left(set_up: SetUp) -> None:
    def left() -> list[str]:
        text = set_up.python(
            "from prefect_codepipeline.prefect_api.client import call\n"
            "found = call('POST', '/variables/filter', {'limit': 200})[1]\n"
            "kinds = ('-lock', '-ticket-', 'codepipeline-lease-')\n"
            "print(json.dumps([v['name'] for v in found if any(kind in v['name'] for kind in kinds)]))"
        )
        names: list[str] = json.loads(text)
        return names

    set_up.wait(lambda: not left(), 60)


def _check_one_at_a_time(facts: dict[str, list[dict[str, Any]]]) -> None:
    for stage in ("Source", "S1", "S2"):
        inside = sorted(
            (next(f["at"] for f in known if _is(f, "stage-entered", stage)),
             next(f["at"] for f in known if _is(f, "stage-finished", stage)))
            for known in facts.values()
            if any(_is(f, "stage-finished", stage) for f in known)
        )  # fmt: skip
        for (_, left), (entered, _) in pairwise(inside):
            assert left <= entered, f"two executions were in stage {stage}"


def _entered(facts: dict[str, list[dict[str, Any]]], stage: str) -> list[str]:
    at = {
        each: next((f["at"] for f in known if _is(f, "stage-entered", stage)), None)
        for each, known in facts.items()
    }
    return sorted((each for each, when in at.items() if when), key=lambda each: str(at[each]))


def _is(fact: dict[str, Any], kind: str, stage: str) -> bool:
    return bool(fact["kind"] == kind and fact["stage"] == stage)


def _deployment_storm(set_up: SetUp, kills: int, seed: int) -> str:
    """Kill the process of deployments to ten hosts; return a summary."""
    set_up.cli("up")
    support = Path(__file__).parent
    program = (
        "from pathlib import Path\n"
        "from prefect_codepipeline.cli.session import connect\n"
        "connect()\n"
        "from deployment_chaos import deployment_storm\n"
        f"print(deployment_storm(Path({str(set_up.folder / 'deployments')!r}), {kills}, {seed}))"
    )
    paths = (support, support / "hosts", set_up.environment["PYTHONPATH"])
    environment = {**set_up.environment, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--crowd", type=int, default=20)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="codepipeline-chaos-") as folder:
        set_up = SetUp(Path(folder))
        try:
            for _ in range(options.times):
                for mode in ("SUPERSEDED", "QUEUED", "PARALLEL"):
                    print(crowd(set_up, options.crowd, mode), flush=True)
            print(gateway_storm(set_up, 3, 30, options.seed), flush=True)
            print(storm(set_up, options.kills, options.seed), flush=True)
            for kills in (0, 20):
                print(
                    job_storm(set_up, kills, workers=20, executions=20, actions=10, seed=options.seed),
                    flush=True,
                )
            print(_deployment_storm(set_up, options.kills, options.seed), flush=True)
        finally:
            set_up.cli("down", check=False)
            left = set_up.processes()
            set_up.kill_everything()
        assert not left, f"processes still run after `codepipeline down`: {left}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
