"""A pipeline deploys onto hosts from here, by CodeDeploy's rules or by an EC2 action: through a kill, and until it is abandoned."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ssh_hosts import ssh_hosts
from waiting import until

from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.blocks.deploy_hosts import DeployHosts
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.names import application_block_names, slug
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.leases import server_time
from tests.cli.test_cli import cli

pytestmark = pytest.mark.live
HOOKS = ("BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService")


def bundle(folder: Path, trace: Path) -> Path:
    """A bundle whose scripts write their event to a file; AfterInstall waits for a file `go` beside it."""
    folder.mkdir()
    wait = f'[ $LIFECYCLE_EVENT != AfterInstall ] || until [ -e "{trace.parent}/go" ]; do sleep 0.1; done\n'
    (folder / "run.sh").write_text(f'#!/bin/sh\necho $LIFECYCLE_EVENT >> "{trace}"\n{wait}')
    hooks = "".join(f"  {event}: [{{location: run.sh, timeout: 300}}]\n" for event in HOOKS)
    spec = "".join(f"  {event}: [{{location: run.sh}}]\n" for event in ("BeforeDeploy", "AfterDeploy"))
    (folder / "spec.yml").write_text(f"version: 0.1\nscripts:\n{spec}")
    (folder / "appspec.yml").write_text(f"version: 0.0\nos: linux\nhooks:\n{hooks}")
    return folder


def deploying(world: Any, tmp_path: Path) -> str:
    """An execution whose deployment has begun, and waits in AfterInstall."""
    group = DeploymentGroup(name="web", where="local", state_folder=str(tmp_path / "state"))
    CodeDeployApplication(deployment_groups=[group]).save(application_block_names(world.name)[0])
    names = {"ApplicationName": world.name, "DeploymentGroupName": "web"}
    return in_mid_deployment(world, tmp_path, deploy("CodeDeploy", names))


def in_mid_deployment(world: Any, tmp_path: Path, deploys: dict[str, Any]) -> str:
    """An execution whose action has begun, and waits in AfterInstall."""
    content = bundle(tmp_path / "bundle", tmp_path / "scripts")
    declared = world.declare([deploys]).model_dump(by_alias=True, mode="json", exclude_none=True)
    source = declared["stages"][0]["actions"][0]
    source["configuration"]["OutputFolder"] = str(content)
    source["outputArtifacts"] = [{"name": "App"}]
    execution_id = str(world.start(PipelineDeclaration.model_validate(declared)))
    until(lambda: "AfterInstall" in begun(tmp_path), 100, lambda: begun(tmp_path))
    return execution_id


def deploy(provider: str, configuration: dict[str, str]) -> dict[str, Any]:
    kind = {"category": "Deploy", "owner": "AWS", "provider": provider, "version": "1"}
    return {
        "name": "Deploy",
        "actionTypeId": kind,
        "configuration": configuration,
        "inputArtifacts": [{"name": "App"}],
    }


def begun(tmp_path: Path) -> list[str]:
    """The events whose script has begun."""
    path = tmp_path / "scripts"
    return path.read_text().split() if path.exists() else []


def action(known: KnownExecution) -> Any:
    assert known.state
    return known.state.stage("S1").action("Deploy")


def test_a_deployment_is_continued_by_the_next_process(world: Any, tmp_path: Path) -> None:
    execution_id = deploying(world, tmp_path)
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    (tmp_path / "go").touch()
    reconcile_once(server_time() + timedelta(seconds=30))

    known = world.ended(execution_id)

    assert known.status == "Succeeded", known.run["state"]
    assert begun(tmp_path) == list(HOOKS)
    finished = action(known).finished
    found = find_deployment(finished.external_execution_id)
    assert found
    assert finished.summary == (
        f"deployment {found.deployment.deployment_id!r} to deployment group 'web' succeeded on 1 of 1 host"
    )
    assert finished.external_execution_url.endswith(execution_id)
    assert found.deployment.execution_id == execution_id
    _, table = call("GET", f"/artifacts/codedeploy-{found.deployment.deployment_id.lower()}/latest")
    assert table["flow_run_id"]
    assert "AfterInstall" in table["data"]


@pytest.mark.long
def test_an_ec2_action_outside_of_aws_is_continued_by_the_next_process(world: Any, tmp_path: Path) -> None:
    with ssh_hosts(1) as hosts:
        host = hosts[0].host.model_copy(update={"tags": {"Role": "web"}})
        ssh = hosts.access(private_key=None, private_key_path=str(hosts.key))
        state = str(tmp_path / "state")
        DeployHosts(hosts=[host], ssh=ssh, state_folder=state).save(slug(world.name))
        settings = PipelineSettings(defaults=ActionSettings(deploy_hosts=slug(world.name)))
        save_settings(world.name, settings)
        tag = {"InstanceTagKey": "Role", "InstanceTagValue": "web", "InstanceType": "EC2"}
        execution_id = in_mid_deployment(world, tmp_path, deploy("EC2", {**tag, "DeploySpec": "spec.yml"}))
        os.kill(world.process_of(execution_id), signal.SIGKILL)
        world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
        (tmp_path / "go").touch()
        reconcile_once(server_time() + timedelta(seconds=30))

        known = world.ended(execution_id)
        shell = cli("shell", world.name, "Deploy", input="pwd; ls; echo $DEPLOYMENT_ID")

    assert known.status == "Succeeded", known.run["state"]
    assert begun(tmp_path) == ["BeforeInstall", "AfterInstall"]
    made = action(known).finished.external_execution_id
    assert action(known).finished.summary == (
        f"deployment {made!r} to hosts with Role=web succeeded on 1 of 1 host"
    )
    folder, *files, deployment = shell.stdout.splitlines()
    assert folder.startswith(f"{state}/"), shell.stderr
    assert folder.endswith(f"/{made}/deployment-archive")
    assert (files, deployment) == (["appspec.yml", "run.sh", "spec.yml"], made)


def test_an_abandoned_deployment_ends_its_script(world: Any, tmp_path: Path) -> None:
    execution_id = deploying(world, tmp_path)

    stop_pipeline_execution(world.name, execution_id, abandon=True, reason="wrong one", by="tester")
    until(lambda: reconcile_once() is not None and world.is_named(execution_id, "Stopped"), 100)
    known = world.ended(execution_id)

    assert action(known).status == "Abandoned"
    assert "was stopped: its action was ended" in action(known).finished.summary
    assert begun(tmp_path) == list(HOOKS[:2])
    scripts = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path / "state") in read(p)]
    assert scripts == []


def read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # it has ended
