"""Deployments to hosts that are not themselves or take their time to stop, and whose settings are lost meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from deployment_sites import FIRST, Site, recorded
from ssh_hosts import running
from waiting import until

from prefect_codepipeline.actions.deploying.records.deployments import request_stop
from prefect_codepipeline.actions.deploying.rollout import one_host
from prefect_codepipeline.actions.registry import ActionResult, Earlier, WorkGoesOn
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.blocks.codedeploy_records import CodeDeployDeployment
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.codedeploy.names import deployment_id
from prefect_codepipeline.model.stored.deployment import document_name
from prefect_codepipeline.prefect_api.variables import variables_with_prefix
from prefect_codepipeline.tasks.providers.deploy.codedeploy_deploy import (
    CodeDeployConfiguration,
    deploy_with_codedeploy,
)

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("prefect_server")]
ALL = {"deployment_config": "CodeDeployDefault.AllAtOnce"}


def python_of(site: Site, folder: Path, **instead: str) -> dict[str, str]:
    """A Python that runs something else on some hosts: `web_1="echo no"`. `$real "$@"` is the true one."""
    python = folder / "python"
    cases = "".join(f"{site.home(int(name[-1]) - 1)}) {what};;\n" for name, what in instead.items())
    real = os.path.realpath(sys.executable)
    python.write_text(f'#!/bin/sh\nreal={real}\ncase $HOME in\n{cases}*) exec $real "$@";;\nesac\n')
    python.chmod(0o755)
    folder.chmod(0o755)
    return {"python": str(python)}


def test_a_hostile_host_fails_alone(site: Site, tmp_path: Path) -> None:
    forged = json.dumps({"error": "\x1b[31m" + "no " * 300_000, "code": "\x1b[2J", "end": True})
    (tmp_path / "forged").write_text(forged + "\n")
    lying = '$real "$@" | sed -u \'s/"state": "Succeeded"/"state": "Won"/\''
    python = python_of(site, tmp_path, web_1=f"cat {tmp_path}/forged", web_2=lying)
    action = site.action("v1", **ALL, **python)

    action.run()

    first, second, third = recorded(action).hosts
    assert (first.status, first.code, first.error[:8]) == ("Failed", "[2J", "[31mno n")
    assert len(first.error) <= 2_000
    assert (second.status, second.code) == ("Failed", "HostProgram")
    assert second.error.startswith(
        "the journal on the host has an entry that the program there does not write: {'at': "
    )
    assert (third.status, site.ran(2)) == ("Succeeded", FIRST)


def test_neither_an_unknown_deployment_on_a_host_nor_a_lost_record_keeps_the_group(site: Site) -> None:
    good = site.action("v1", **ALL)
    good.run()
    CodeDeployDeployment.delete(document_name(deployment_id(good.id)))
    lock = site.home(2) / site.state / "lock.json"
    lock.write_text('{"deployment": "d-ANOTHER00", "revision": "0"}')
    broken = site.action("v2", **ALL, auto_rollback=["DEPLOYMENT_FAILURE"])
    for host in range(2):
        site.order(host, BeforeInstall="fail")

    with pytest.raises(ActionFailed) as caught:
        broken.run()

    assert str(caught.value).endswith(
        "; it is not rolled back, for the record of the last successful deployment was deleted"
    )
    assert recorded(broken).hosts[2].error == (
        "the host is busy with deployment 'd-ANOTHER00'; wait for its end; if `codepipeline deployment show d-ANOTHER00` "
        "does not know it, another Prefect server deploys there, or its record was deleted: then remove "
        f"~/{site.state}/lock.json on the host"
    )
    assert variables_with_prefix(f"codepipeline-codedeploy-lock-{recorded(broken).group_id}") == []


@pytest.mark.long
def test_a_host_that_answers_but_starts_nothing_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.action("v1", **ALL).run()
    monkeypatch.setattr(one_host, "UNREACHABLE_SECONDS", 1.0)
    monkeypatch.setattr(one_host, "_CALL_SECONDS", 3.0)
    again = site.action("v1", **ALL)
    again.seconds = 30
    with (site.home(0) / site.state / "mutex").open() as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)

        again.run()

    host = recorded(again).hosts[0]
    assert (host.status, host.code) == ("Failed", "HostUnreachable")
    assert host.error.endswith(": the host did not answer within 3 seconds")


@pytest.mark.long
def test_a_script_that_takes_its_time_to_stop_is_waited_for(site: Site) -> None:
    action = site.action("v1", **ALL)
    script = action.bundle / "script.sh"
    text = script.read_text().replace("slow=", "trap 'sleep 3; exit 1' TERM\nslow=", 1)
    script.write_text(text)
    site.order(0, AfterInstall="100")

    def stop() -> None:
        until(lambda: "AfterInstall v1 begins" in " ".join(site.trace(0)), 60)
        request_stop(deployment_id(action.id), "tester")

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(ActionFailed):
        action.run()
    thread.join()

    host = recorded(action).hosts[0]
    assert (host.status, host.error) == ("Stopped", None)
    assert host.event("AfterInstall").status == "Stopped"
    assert running(site.state) == []


@pytest.mark.long
def test_a_deployment_whose_block_is_deleted_does_not_go_to_aws(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "slow-AfterInstall").write_text("7")
    application = f"app-{site.name}"
    group = DeploymentGroup(name="web", where="local", state_folder=str(tmp_path / "state"))
    CodeDeployApplication(application_name=application, deployment_groups=[group]).save(application)
    names = {"ApplicationName": application, "DeploymentGroupName": "web"}
    configuration = CodeDeployConfiguration.model_validate(names)
    action = site.action("v1")
    with pytest.raises(WorkGoesOn):
        deploy_with_codedeploy(configuration, action.context())
    CodeDeployApplication.delete(application)
    action.kept = Earlier(action.started)

    def look() -> ActionResult | None:
        with suppress(WorkGoesOn):
            return deploy_with_codedeploy(configuration, action.context())
        return None

    result = until(look, 60)

    made = deployment_id(action.id)
    assert result.summary == f"deployment {made!r} to deployment group 'web' succeeded on 1 of 1 host"
