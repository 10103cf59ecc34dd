"""Workers of an earlier state of this repository beside those of this one: what waits under the old continues under the new."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos import pipeline
from set_up import ROOT, SetUp

from prefect_codepipeline.deployments.local.access import profiles_file

# Before facts carried the version of their format.
OLD = "42301ac"
_WORKER = ["-m", "prefect", "worker", "start", "--pool", "codepipeline", "--type", "codepipeline", "--name"]
pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(540)]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with the old package, as its wheel installs it."""
    source, installed = tmp_path / "source", tmp_path / "old"
    source.mkdir()
    archive = subprocess.run(["git", "archive", OLD], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"this clone has not the commit {OLD}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(installed), str(source)], check=True)
    assert not (installed / "prefect_codepipeline" / "model" / "record" / "format.py").exists()
    return installed


@contextmanager
def worker(set_up: SetUp, name: str, code: Path | None = None) -> Iterator[Any]:
    """A worker of the set-up's server, with that code or with this repository's."""
    environment = {**set_up.environment, "PREFECT_PROFILES_PATH": str(profiles_file(set_up.home))}
    if code:
        environment["PYTHONPATH"] = os.pathsep.join([str(code), environment["PYTHONPATH"]])
    with (set_up.folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *_WORKER, name],
            cwd=set_up.folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def ran(set_up: SetUp) -> list[str]:
    trace = set_up.folder / "trace"
    return [line.split(" ", 1)[1] for line in trace.read_text().splitlines()] if trace.exists() else []


def test_an_execution_that_waits_under_the_old_continues_under_the_new(set_up: SetUp, old: Path) -> None:
    set_up.cli("up")
    os.kill(set_up.state["worker"]["pid"], signal.SIGTERM)
    stages = [[{"name": "One"}], [{"name": "Ok", "category": "Approval"}, {"name": "Ship", "run_order": 2}]]
    set_up.cli("deploy", str(pipeline("rolling", set_up.folder, *stages, mode="PARALLEL")))

    with worker(set_up, "old", old):
        first = start(set_up)
        with worker(set_up, "new"):
            both = [start(set_up) for _ in range(3)]
    with worker(set_up, "new"):
        for execution_id in (first, *both):
            set_up.cli("approve", "rolling", "--execution", execution_id)
        set_up.wait(lambda: {each["status"] for each in set_up.executions("rolling")} == {"Succeeded"})

    assert sorted(ran(set_up)) == ["S1/One"] * 4 + ["S2/Ship"] * 4 + ["Source/Src"] * 4
    assert "submitted to infrastructure" in (set_up.folder / "old.log").read_text()
    set_up.cli("down")


def start(set_up: SetUp) -> str:
    """Start an execution and wait until it waits for its approval; its id."""
    started = set_up.cli("start", "rolling", "--json")
    execution_id = str(json.loads(started)["pipelineExecutionId"])
    page = ("status", "rolling", "--execution", execution_id)
    set_up.wait(lambda: "approve rolling" in set_up.cli(*page))
    return execution_id
