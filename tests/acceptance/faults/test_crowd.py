"""Twenty executions that are started at the same moment: each start is answered, and no request waits for a lock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from set_up import SetUp

pytestmark = pytest.mark.live

STARTS = 20
_START_ALL = f"""
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import time
from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.engine.executions.lookup import read_execution

together = Barrier({STARTS})

def start(number):
    together.wait()
    return start_pipeline_execution("crowd", {{}}, {{}}, "a crowd")

def end_of(execution_id):
    while not (state := read_execution(execution_id).state) or not state.final:
        time.sleep(0.5)
    return state.final.status

with ThreadPoolExecutor({STARTS}) as pool:
    started = list(pool.map(start, range({STARTS})))
print(json.dumps({{execution_id: end_of(execution_id) for execution_id in started}}))
"""


@pytest.mark.parametrize("options", [(), ("--sqlite",)], ids=["PostgreSQL", "SQLite"])
def test_each_of_twenty_starts_is_answered_and_no_request_waits_for_a_lock(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    set_up = SetUp(tmp_path)
    try:
        set_up.cli("up", *options)
        set_up.cli("deploy", str(declare(tmp_path)))

        ends = json.loads(set_up.python(_START_ALL))

        assert list(ends.values()) == ["Succeeded"] * STARTS
        complaints = [
            line
            for line in (set_up.home / "logs" / "server.log").read_text().splitlines()
            if "locked" in line or "ERROR" in line or "deadlock" in line
        ]
        assert complaints == []
    finally:
        set_up.cli("down")
        set_up.kill_everything()


def declare(folder: Path) -> Path:
    """A pipeline whose executions do not wait for one another."""
    kind = {"owner": "Custom", "provider": "Scripted", "version": "1"}
    pipeline = {
        "name": "crowd",
        "roleArn": "arn:aws:iam::111122223333:role/p",
        "pipelineType": "V2",
        "executionMode": "PARALLEL",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [{"name": "Src", "actionTypeId": {"category": "Source", **kind}}]},
            {"name": "Test", "actions": [{"name": "Try", "actionTypeId": {"category": "Test", **kind}}]},
        ],
    }
    path = folder / "crowd.json"
    path.write_text(json.dumps(pipeline))
    return path
