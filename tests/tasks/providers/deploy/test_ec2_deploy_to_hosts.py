"""Deploy/AWS/EC2/1 outside of AWS: real hosts over SSH, which a DeployHosts block names, with a real Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aws_environment import use_endpoint
from deployment_sites import SCRIPT, Action, Site, hosts_with_homes, new_site
from instances_server import InstancesServer
from ssh_hosts import SshHosts, running
from waiting import until

from prefect_codepipeline.actions.deploying.records.deployments import find_deployment, request_stop
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier, WorkGoesOn
from prefect_codepipeline.blocks.deploy_hosts import DeployHosts
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.codedeploy.names import deployment_id
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.prefect_api.block_documents import delete_block
from prefect_codepipeline.tasks.providers.deploy.ec2_deploy import Ec2DeployConfiguration, deploy_to_instances

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("prefect_server")]
SPEC = """
version: 0.1
files: [{source: page, destination: TARGET}]
scripts:
  BeforeDeploy: [{location: script.sh, timeout: 60}]
  AfterDeploy: [{location: script.sh}]
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with hosts_with_homes(3) as found:
        yield found


@pytest.fixture
def site(hosts: SshHosts, tmp_path: Path) -> Iterator[Site]:
    """The first two hosts have Role=web, and all have Fleet."""
    site = new_site(hosts, tmp_path)
    tagged = [
        each.host.model_copy(
            update={
                "tags": {
                    "Fleet": "own",
                    "Role": "web" if number < 2 else "db",
                    "InstanceId": f"i-0000000{number}",
                }
            }
        )
        for number, each in enumerate(hosts)
    ]
    ssh = hosts.access(private_key=None, private_key_path=str(hosts.key))
    DeployHosts(hosts=tagged, ssh=ssh).save(site.name)
    yield site
    delete_block(DeployHosts, site.name)


@dataclass
class Ec2Action(Action):
    """An execution of the EC2 action of a pipeline that is named after the site."""

    given: dict[str, str] = field(default_factory=dict)

    def context(self) -> ActionContext:
        settings = ActionSettings(deploy_hosts=self.site.name)
        return replace(super().context(), pipeline_name=self.site.name, settings=settings)

    def look(self, context: ActionContext | None = None) -> ActionResult | None:
        configuration = Ec2DeployConfiguration.model_validate(self.given)
        try:
            done = deploy_to_instances(configuration, context or self.context())
        except WorkGoesOn as work:
            self.told.append(work.waiting.summary)
            return None
        finally:
            self.kept = self.kept or Earlier(self.started)
        assert isinstance(done, ActionResult)
        return done

    @property
    def made(self) -> str:
        return deployment_id(self.id)

    @property
    def statuses(self) -> dict[str, str]:
        found = find_deployment(self.made)
        assert found
        return {host.name: host.status for host in found.deployment.hosts}

    def fails(self) -> str:
        with pytest.raises(ActionFailed) as caught:
            self.run()
        return str(caught.value)


def action(site: Site, version: str = "v1", **given: Any) -> Ec2Action:
    """An action that deploys a version; a file of each version has its name. Hosts share the target, so: one at a time."""
    folder = site.folder / version
    folder.mkdir(exist_ok=True)
    (folder / "script.sh").write_text(SCRIPT.replace("VERSION", version))
    (folder / "where.sh").write_text('#!/bin/sh\necho "$PWD" >> "$HOME/where"\n')
    (folder / "page").write_text(version)
    (folder / version).write_text(version)
    (folder / "spec.yml").write_text(SPEC.replace("TARGET", str(target(site))))
    key = {"InstanceTagKey": "Fleet", "InstanceType": "EC2", "MaxBatch": "1"}
    group = DeploymentGroup(name="unused", where="local")
    return Ec2Action(site, folder, group, given={**key, **given})


def target(site: Site) -> Path:
    return site.folder / "target"


def test_scripts_and_files_reach_the_hosts_with_the_tag(site: Site) -> None:
    target(site).mkdir()
    (target(site) / "page").write_text("by hand")
    (target(site) / "data").write_text("kept")
    given = {
        "InstanceTagKey": "Role",
        "InstanceTagValue": "web",
        "TargetDirectory": str(target(site)),
        "PreScript": "script.sh",
        "PostScript": "where.sh",
    }
    first = action(site, "v1", **given)

    result = first.run()

    assert result.summary == f"deployment {first.made!r} to hosts with Role=web succeeded on 2 of 2 hosts"
    assert result.external_execution_id == first.made
    assert [site.ran(host) for host in range(3)] == [[("BeforeInstall", "v1")], [("BeforeInstall", "v1")], []]
    assert (site.home(0) / "where").read_text() == f"{target(site)}\n"
    action(site, "v2", **given).run()
    assert (target(site) / "page").read_text() == "v2"
    assert {each.name for each in target(site).iterdir()} >= {"data", "v1", "v2"}
    other = action(site, "v2", **{**given, "PreScript": "where.sh"}).run()
    assert other.summary.endswith("succeeded on 2 of 2 hosts")


@pytest.mark.long
def test_failures_within_and_beyond_max_error_and_a_retry(site: Site) -> None:
    given = {"DeploySpec": "spec.yml", "MaxError": "1"}
    site.order(1, AfterInstall="fail")
    within = action(site, "v1", **given)

    said = within.run().summary

    assert said.startswith(
        f"deployment {within.made!r} to hosts with the tag Fleet succeeded on 2 of 3 hosts; AfterInstall of host 'web-2' "
        "failed: ScriptFailed: "
    )
    assert within.statuses == {"web-1": "Succeeded", "web-2": "Failed", "web-3": "Succeeded"}
    site.order(0, BeforeInstall="fail")
    beyond = action(site, "v2", **given)
    said = beyond.fails()
    assert "failed: 2 hosts failed, and MaxError allows 1; it succeeded on 0 of 3 hosts; " in said
    assert list(beyond.statuses.items()) == [("web-2", "Failed"), ("web-1", "Failed"), ("web-3", "Skipped")]
    site.order(0, BeforeInstall=None)
    site.order(1, AfterInstall=None)
    retry = action(site, "v1", **given)
    said = retry.run().summary
    assert said.endswith("succeeded on 3 of 3 hosts, 1 of which had this artifact already")
    assert site.ran(0)[-2:] == site.ran(1)[-2:] == [("BeforeInstall", "v1"), ("AfterInstall", "v1")]
    assert site.ran(2) == [("BeforeInstall", "v1"), ("AfterInstall", "v1")]


@pytest.mark.long
def test_a_stop_ends_the_scripts_and_what_was_stopped_is_deployed_again(site: Site) -> None:
    given = {"DeploySpec": "spec.yml", "InstanceTagKey": "Role", "InstanceTagValue": "web"}
    action(site, "v1", **given).run()
    site.order(0, BeforeInstall="60")
    stopped = action(site, "v2", **given)
    assert stopped.look() is None
    request_stop(stopped.made, "tester", "enough")

    assert "hosts with Role=web was stopped: tester stopped it: enough" in stopped.fails()

    assert stopped.statuses == {"web-1": "Stopped", "web-2": "Skipped"}
    assert until(lambda: running(f"{site.home(0)}/.codedeploy") == [], 20)
    site.order(0, BeforeInstall=None)
    said = action(site, "v1", **given).run().summary
    assert said.endswith("succeeded on 2 of 2 hosts, 1 of which had this artifact already")


@pytest.mark.long
def test_a_host_leaves_its_target_groups_and_returns_unless_it_failed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = InstancesServer(site.folder, "")
    use_endpoint(monkeypatch, server.url, "us-east-1")
    try:
        server.in_group("i-00000000", "i-00000001", "i-00000002")
        site.order(1, AfterInstall="fail")
        grouped = action(site, DeploySpec="spec.yml", TargetGroupNameList="web", MaxError="100%")
        del grouped.given["MaxBatch"]

        said = grouped.run().summary
    finally:
        server.stop()

    assert "succeeded on 2 of 3 hosts; AfterInstall of host 'web-2' failed" in said
    assert sorted(server.health) == ["i-00000000", "i-00000002"]
    changes = [name for name, _ in server.requests if name in ("DeregisterTargets", "RegisterTargets")]
    assert changes == ["DeregisterTargets", "RegisterTargets", "DeregisterTargets", *changes[:2]]


def test_what_cannot_be_is_refused(site: Site) -> None:
    given = {"DeploySpec": "spec.yml"}
    assert action(site, InstanceTagValue="other", **given).fails() == (
        f"NO_INSTANCES: EC2 action 'Release' has no hosts: no host of inventory {site.name!r} has Fleet=other"
    )
    unknown = action(site, **given)
    unknown.site = replace(site, name="none-such")
    assert "none-such" in unknown.fails()
    assert "none.yml" in action(site, DeploySpec="none.yml").fails()
