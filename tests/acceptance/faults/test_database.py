"""The database of a set-up is killed, or its disk is full: commands say so, nothing is lost, and everything goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import pipeline
from set_up import SetUp

pytestmark = pytest.mark.live


def declare(set_up: SetUp) -> Path:
    """Deploy a pipeline that waits for the file `go`, then for an approval."""
    stages = [
        [{"name": "Slow", "Until": str(set_up.folder / "go")}],
        [{"name": "Ok", "category": "Approval"}, {"name": "Ship", "run_order": 2}],
    ]
    return pipeline("data", set_up.folder, *stages)


def ran(set_up: SetUp) -> list[str]:
    trace = set_up.folder / "trace"
    return [line.split(" ", 1)[1] for line in trace.read_text().splitlines()] if trace.exists() else []


def ends_well(set_up: SetUp) -> None:
    """Approve, and check that the execution ends and each action ran once."""
    (set_up.folder / "go").touch()
    set_up.wait(lambda: set_up.run("approve", "data", "-m", "go").returncode == 0)
    set_up.wait(lambda: set_up.status("data")["status"] == "Succeeded")
    assert ran(set_up) == ["Source/Src", "S1/Slow", "S2/Ship"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | str]:
    """A disk of 320 MB (PostgreSQL keeps up to 160 MB of its log), or why there is none."""
    if os.geteuid() != 0:
        yield "only root can mount a small disk"
        return
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=320m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        yield f"no disk can be mounted here: {mounted.stderr.strip()}"
        return
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.long
def test_it_is_killed_and_its_disk_is_full_and_everything_goes_on(
    small_disk: Path | str, set_up: SetUp
) -> None:
    if isinstance(small_disk, Path):
        set_up.home = small_disk / "home"
        set_up.environment["PREFECT_CODEPIPELINE_HOME"] = str(set_up.home)
        set_up.environment["PREFECT_HOME"] = str(set_up.home / "prefect")
    set_up.cli("up")

    killed_while_an_execution_runs_and_a_command_asks_it_is_started_again_by_itself(set_up)
    if isinstance(small_disk, str):
        pytest.skip(f"the first half passed; {small_disk}")
    with_a_full_disk_commands_say_what_failed_and_later_everything_goes_on(small_disk, set_up)
    set_up.cli("down")


def killed_while_an_execution_runs_and_a_command_asks_it_is_started_again_by_itself(set_up: SetUp) -> None:
    set_up.cli("deploy", str(declare(set_up)), "--start")
    set_up.wait(lambda: "S1/Slow" in ran(set_up))
    killed = set_up.state["postgresql"]

    os.kill(killed["pid"], signal.SIGKILL)
    asked = set_up.run("status", "data")

    assert asked.returncode in (0, 1)
    assert "Traceback" not in asked.stderr
    assert "internal error" not in asked.stderr
    set_up.wait(lambda: set_up.state["postgresql"] != killed)
    os.kill(set_up.state["server"]["pid"], signal.SIGKILL)
    set_up.wait(lambda: set_up.run("status", "data").returncode == 0)
    ends_well(set_up)


def with_a_full_disk_commands_say_what_failed_and_later_everything_goes_on(
    small_disk: Path, set_up: SetUp
) -> None:
    for of_the_first in ("go", "trace"):
        (set_up.folder / of_the_first).unlink()
    set_up.cli("deploy", str(declare(set_up)), "--start")
    set_up.wait(lambda: "S1/Slow" in ran(set_up))
    first = set_up.executions("data")[0]["pipelineExecutionId"]
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()

    answers = [
        set_up.run(*command)
        for command in (["start", "data"], ["status", "data"], ["approve", "data"], ["up"])
    ]

    for answer in answers:
        assert "Traceback" not in answer.stderr, answer.stderr
        assert "internal error" not in answer.stderr, answer.stderr
        assert answer.returncode == 0 or answer.stderr.startswith("codepipeline: "), answer.stderr
    filler.unlink()
    set_up.wait(lambda: set_up.run("up").returncode == 0)
    (set_up.folder / "go").touch()
    set_up.wait(lambda: set_up.run("approve", "data", "--execution", first).returncode == 0)
    status = ["status", "data", "--execution", first, "--json"]
    set_up.wait(lambda: json.loads(set_up.cli(*status))["status"] == "Succeeded")
