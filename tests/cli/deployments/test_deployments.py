"""`codepipeline deployment`: deployments onto this machine are listed, shown, stopped and rolled back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from commands import run_command
from deployment_sites import HOOKS, Action, Site, write_bundle
from waiting import until

from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.codedeploy.names import deployment_id
from prefect_codepipeline.prefect_api.block_documents import delete_block

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("prefect_server")]


class Machine:
    """This machine as the only host of a group, with a home of its own below a folder."""

    def __init__(self, folder: Path) -> None:
        self.name = f"web-{uuid4().hex[:8]}"
        self.home = folder / "home"
        self.home.mkdir()
        self.group = DeploymentGroup(name=self.name, where="local", state_folder=str(folder / "state"))
        self._site: Any = Site(None, folder, ArtifactStore(url=str(folder / "artifacts")))  # type: ignore[arg-type]

    def action(self, version: str) -> Action:
        bundle = write_bundle(self._site.folder / f"bundle-{version}", version)
        return Action(self._site, bundle, self.group)

    def deploy(self, version: str) -> str:
        """Deploy a version to the end; the id of the deployment."""
        action = self.action(version)
        action.run()
        return deployment_id(action.id)

    @property
    def versions(self) -> list[str]:
        """The versions whose application was started, in their order."""
        lines = (self.home / "trace").read_text().splitlines()
        parts = [line.split() for line in lines]
        return [version for _, event, version, what in parts if (event, what) == ("ApplicationStart", "ends")]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    monkeypatch.setenv("HOME", str(machine.home))
    ArtifactStore(url=str(tmp_path / "artifacts")).save("default", overwrite=True)
    CodeDeployApplication(deployment_groups=[machine.group]).save("shop", overwrite=True)
    yield machine
    delete_block(CodeDeployApplication, "shop")
    delete_block(ArtifactStore, "default")


def shown(deployment: str) -> dict[str, Any]:
    done = run_command(("deployment", "show", deployment, "--json"))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_deployments_are_listed_and_shown_and_an_earlier_one_is_rolled_back_to(machine: Machine) -> None:
    first, second = machine.deploy("v1"), machine.deploy("v2")

    done = run_command(("deployment", "rollback", f"shop/{machine.name}", "--json"))

    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["status"], made["revision"]) == ("Succeeded", shown(first)["revision"])
    assert machine.versions == ["v1", "v2", "v1"]
    assert f"revision {made['revision'][:12]} of {first}" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("succeeded on 1 of 1 host")
    (target,) = made["targets"]
    events = {each["lifecycleEventName"]: each["status"] for each in target["lifecycleEvents"]}
    assert events == dict.fromkeys(
        (HOOKS[0], "DownloadBundle", "BeforeInstall", "Install", *HOOKS[2:]), "Succeeded"
    )

    done = run_command(("deployment", "rollback", machine.name, "--to", second))
    assert done.returncode == 0, done.stderr
    assert machine.versions == ["v1", "v2", "v1", "v2"]

    rows = run_command(("deployment", "list", "--group", machine.name)).stdout.splitlines()
    assert [row.split()[0] for row in rows] == [
        "Deployment",
        shown_id(rows[1]),
        made["deploymentId"],
        second,
        first,
    ]
    assert f"shop/{machine.name}  Succeeded  1 of 1" in rows[1]
    assert rows[1].endswith("a person")
    assert rows[-1].endswith("pipeline shop")
    listed = json.loads(
        run_command(("deployment", "list", "--application", "shop", "--limit", "2", "--json")).stdout
    )
    assert [each["deploymentId"] for each in listed] == [shown_id(rows[1]), made["deploymentId"]]


def shown_id(row: str) -> str:
    return row.split()[0]


@pytest.mark.long
def test_a_failure_is_shown_with_its_script_and_rolled_back_to_the_last_success(machine: Machine) -> None:
    machine.deploy("v1")
    (machine.home / "fail-AfterInstall").write_text("")
    failing = machine.action("v2")
    with pytest.raises(ActionFailed):
        failing.run()
    (machine.home / "fail-AfterInstall").unlink()

    said = run_command(("deployment", "show", deployment_id(failing.id))).stdout

    assert f"{deployment_id(failing.id)}  Failed" in said
    assert "    AfterInstall  Failed" in said
    assert (
        "      ScriptFailed: script.sh: Script at specified location: script.sh failed with exit code 3"
        in said
    )
    assert f"no room in {machine.home}" in said
    done = run_command(("deployment", "rollback", machine.name))
    assert done.returncode == 0, done.stderr
    assert machine.versions == ["v1", "v1"]


def test_a_deployment_is_stopped_by_request(machine: Machine) -> None:
    (machine.home / "slow-AfterInstall").write_text("60")
    action = machine.action("v1")
    ended: list[BaseException] = []

    def run() -> None:
        try:
            action.run()
        except ActionFailed as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(
        lambda: (machine.home / "trace").exists() and "AfterInstall" in (machine.home / "trace").read_text()
    )
    done = run_command(("deployment", "stop", deployment_id(action.id), "--reason", "too early"))
    again = run_command(("deployment", "stop", deployment_id(action.id), "--json"))
    thread.join(60)

    assert "is asked to stop" in done.stdout
    assert json.loads(again.stdout)["stopRequested"] is False
    assert "stopped it: too early" in str(ended[0])
    assert shown(deployment_id(action.id))["status"] == "Stopped"
    done = run_command(("deployment", "stop", deployment_id(action.id)))
    assert (done.returncode, "cannot be stopped: it has ended as Stopped" in done.stderr) == (1, True)


@pytest.mark.long
def test_ctrl_c_stops_a_rollback_and_nothing_of_it_runs_on(machine: Machine) -> None:
    first = machine.deploy("v1")
    (machine.home / "slow-AfterInstall").write_text("60")
    program = "from prefect_codepipeline.cli import main; main()"
    command = [sys.executable, "-c", program, "deployment", "rollback", machine.name, "--to", first, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: (machine.home / "trace").read_text().count("AfterInstall v1 begins") == 2)
        done = run_command(("deployment", "rollback", machine.name, "--to", first))
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=90)
    finally:
        process.kill()

    assert (done.returncode, "is already deploying" in done.stderr) == (1, True)
    assert process.returncode == 1, said
    found = json.loads(out)
    assert (found["status"], found["targets"][0]["status"]) == ("Stopped", "Stopped")
    recorded = find_deployment(found["deploymentId"])
    assert recorded
    assert recorded.deployment.has_ended
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and runs_in(pid, machine.home)]


def runs_in(pid: str, home: Path) -> bool:
    """Whether a process has that home: those of the scripts have."""
    try:
        return (
            f"HOME={home}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes() and int(pid) != os.getpid()
        )
    except OSError:
        return False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("show", "d-NOTHING00"),
            "there is no deployment 'd-NOTHING00' to hosts; see: codepipeline deployment list",
        ),
        (("stop", "d-NOTHING00"), "there is no deployment 'd-NOTHING00' to hosts"),
        (
            ("rollback", "nothing"),
            "deployment group 'nothing' was never deployed to; those with deployments: ",
        ),
    ],
)
def test_what_is_not_there_is_named(arguments: tuple[str, ...], message: str) -> None:
    done = run_command(("deployment", *arguments))

    assert done.returncode == 1
    assert message in done.stderr


def test_a_rollback_needs_something_to_roll_back_to(machine: Machine) -> None:
    only = machine.deploy("v1")

    for more, message in (
        ((), f"deployment group shop/{machine.name} has no earlier successful deployment to roll back to"),
        (("--to", "d-NOTHING00"), f"'shop/{machine.name}' has no deployment 'd-NOTHING00'"),
    ):
        done = run_command(("deployment", "rollback", machine.name, *more))
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr

    CodeDeployApplication(deployment_groups=[]).save("shop", overwrite=True)
    done = run_command(("deployment", "rollback", machine.name, "--to", only))
    assert (done.returncode, "has no hosts here any more" in done.stderr) == (1, True)
