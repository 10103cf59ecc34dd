"""The warm worker: many runs at once, a fork server that dies, and Prefect's UI over it all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prefect.deployments import run_deployment
from prefect.deployments.runner import EntrypointType, RunnerDeployment

from prefect_codepipeline.deployments.local import embedded
from prefect_codepipeline.flows.reconcile import reconcile
from prefect_codepipeline.prefect_api.ui import run_url

pytestmark = pytest.mark.live
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.long
def test_as_many_executions_run_at_once_as_the_worker_may(world: Any, tmp_path: Path) -> None:
    """The session's worker has a limit of 4; Prefect calls the fifth late when nobody has taken it for 15 s."""
    worlds = [type(world)(_made(tmp_path / str(number))) for number in range(5)]
    ids = [each.start(each.declare([each.action("Work", Until=tmp_path / "go")])) for each in worlds]
    for each, execution_id in zip(worlds[:4], ids, strict=False):
        each.wait(execution_id, lambda _, each=each: "S1/Work" in each.ran())
    processes = {each.process_of(execution_id) for each, execution_id in zip(worlds[:4], ids, strict=False)}
    assert len(processes) == 4

    worlds[4].wait(ids[4], lambda known: known.run["state_name"] == "Late")
    (tmp_path / "go").touch()

    ended = [each.ended(execution_id).status for each, execution_id in zip(worlds, ids, strict=True)]
    assert ended == ["Succeeded"] * 5


def test_a_warm_process_that_died_is_replaced(world: Any, gone: Any) -> None:
    first = world.start(world.declare([world.action("One")]))
    world.ended(first)
    servers = _fork_servers()
    assert len(servers) == 1
    os.kill(servers[0], signal.SIGKILL)
    world.wait(first, lambda _: gone(servers[0]))

    second = world.start(world.declare([world.action("Two")]))

    assert world.ended(second).status == "Succeeded"
    assert _fork_servers() != servers


@pytest.mark.long
def test_reconcile_can_be_a_deployment_of_its_own(prefect_server: str) -> None:
    prefect = [sys.executable, "-m", "prefect"]
    options: dict[str, Any] = {
        "capture_output": True,
        "text": True,
        "check": False,
        "timeout": 100,
        "cwd": ROOT,
    }

    deployed = subprocess.run([*prefect, "--no-prompt", "deploy", "--name", "reconcile"], **options)
    ran = subprocess.run([*prefect, "deployment", "run", "reconcile/reconcile", "--watch"], **options)

    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.long
def test_a_run_starts_by_the_command_that_its_deployment_names(prefect_server: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    command = f"sh -c 'echo $PREFECT__FLOW_RUN_ID > {note}; exec {sys.executable} -m prefect.engine'"
    deployment = RunnerDeployment.from_flow(
        reconcile,
        name="by-command",
        work_pool_name="codepipeline",
        entrypoint_type=EntrypointType.MODULE_PATH,
        job_variables={"command": command},
    )
    deployment.apply()

    run = run_deployment("reconcile/by-command", timeout=90, poll_interval=1)

    assert run.state.is_completed(), run.state
    assert note.read_text().strip() == str(run.id)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _fork_servers() -> list[int]:
    """The fork server of this session's worker."""
    home = f"codepipeline_home={os.environ['PREFECT_CODEPIPELINE_HOME']}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if home in command and b"prefect_codepipeline.deployments.worker.fork_server" in command:
            found.append((int(path.name), parent))
    # A flow run that was forked from it has the same command line.
    pids = {pid for pid, _ in found}
    return [pid for pid, parent in found if parent not in pids]


def test_prefects_ui_finds_its_api(prefect_server: str) -> None:
    with urllib.request.urlopen(f"{prefect_server.removesuffix('/api')}/ui-settings", timeout=10) as answer:
        assert json.load(answer)["api_url"] == prefect_server


@pytest.mark.long
def test_prefects_ui_shows_the_suspended_run(world: Any, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no Chromium on this machine; `make test FULL=1` installs it where it can")
    stage = [world.action("Ok", 1, "Approval")]
    known = world.suspended(world.start(world.declare(stage)))
    url, running = run_url(known.id), embedded.find()
    assert url
    assert running
    url = running.sign_in_url(url.removeprefix(running.ui_url))

    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path}/chromium", "--virtual-time-budget=20000", "--dump-dom", url],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert "Suspended" in done.stdout
    assert f"pipeline:{world.name}" in done.stdout
    assert "Resume" in done.stdout
