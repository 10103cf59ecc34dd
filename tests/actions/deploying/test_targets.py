"""The hosts that a deployment group has when a deployment starts."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from prefect_codepipeline.actions.deploying import targets
from prefect_codepipeline.actions.deploying.finding import find_group
from prefect_codepipeline.actions.deploying.targets import resolve_hosts
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.blocks.deploy_hosts import DeployHosts
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host, SshAccess
from prefect_codepipeline.prefect_api.block_documents import delete_block


def group(**fields: Any) -> DeploymentGroup:
    return DeploymentGroup.model_validate({"name": "web", **fields})


def refusal(asked: DeploymentGroup) -> str:
    with pytest.raises(ActionFailed) as refused:
        resolve_hosts(asked)
    assert refused.value.code == "ConfigurationError"
    return str(refused.value)


def printing(folder: Path, *lines: str) -> list[str]:
    """A command that runs these lines."""
    script = folder / "hosts"
    script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    script.chmod(0o755)
    return [str(script), "an argument; with $HOME"]


def test_named_hosts() -> None:
    hosts = [Host(name="a", address="10.0.0.1"), Host(name="b", address="10.0.0.1", port=2222)]

    assert resolve_hosts(group(hosts=hosts)) == hosts


def test_this_machine() -> None:
    assert resolve_hosts(group(where="local")) == [Host(name=socket.gethostname(), address="localhost")]


def test_no_hosts() -> None:
    assert refusal(group()) == (
        "NO_INSTANCES: deployment group 'web' has no hosts: name hosts, tag_sets of an inventory, or a hosts_command in its "
        "block"
    )


@pytest.mark.parametrize("user", [None, "deploy"])
def test_a_machine_under_two_names(user: str | None) -> None:
    hosts = [
        {"name": "a", "address": "web", "user": user},
        {"name": "b", "address": "web", "port": 22, "user": user},
    ]

    assert refusal(group(hosts=hosts)) == (
        f"deployment group 'web' has 2 hosts with the address {user + '@' if user else ''}web, port 22; name each host once"
    )


def test_at_most_500_hosts() -> None:
    hosts = [{"name": f"web-{n}", "address": f"web-{n}"} for n in range(501)]

    assert len(resolve_hosts(group(hosts=hosts[:500]))) == 500
    assert refusal(group(hosts=hosts)) == (
        "deployment group 'web' has 501 hosts, but at most 500 are possible; divide it"
    )


def test_hosts_without_a_zone_in_a_zonal_deployment(tmp_path: Path) -> None:
    command = printing(
        tmp_path, """echo '[{"name": "a", "address": "a", "zone": "x"}, {"name": "b", "address": "b"}]'"""
    )
    config = {"minimum_healthy_hosts": {"type": "HOST_COUNT", "value": 0}, "zonal_config": {}}

    assert refusal(group(hosts_command=command, deployment_config=config)) == (
        "deployment group 'web' is deployed zone by zone, but 'b' has no zone; add it to the host"
    )


def test_hosts_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its arguments as they are and nothing of the worker's environment; its errors are no part of the list."""
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "secret")
    hosts = [
        {"name": f"web-{n}", "address": f"10.0.0.{n % 250}", "port": n + 1, "tags": {"t": "x" * 200}}
        for n in range(400)
    ]
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    command = printing(
        tmp_path,
        "echo warning >&2",
        '[ -z "$SECRET_OF_THE_WORKER" ] || exit 3',
        '[ "$1" = "an argument; with \\$HOME" ] || exit 4',
        f"cat {tmp_path}/hosts.json",
    )

    assert resolve_hosts(group(hosts_command=command)) == [Host.model_validate(each) for each in hosts]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["echo '[]'"],
            "NO_INSTANCES: deployment group 'web' has no hosts: its hosts_command '{}' prints an empty list",
        ),
        (
            ["echo no access >&2; exit 3"],
            "hosts_command '{}' of deployment group 'web' exited with 3; its last errors: no access",
        ),
        (
            ["echo '{}'"],
            "hosts_command '{}' of deployment group 'web' does not print a JSON list of hosts with name and address: ",
        ),
        (
            ["""echo '[{"name": "a"}]'"""],
            "hosts_command '{}' of deployment group 'web' does not print a JSON list of hosts with name and address: "
            "0.address: Field required",
        ),
        (
            ["""echo '[{"name": "a", "address": "a"}, {"name": "a", "address": "b"}]'"""],
            "deployment group 'web' has 2 hosts with the name a; name each host once",
        ),
    ],
    ids=["empty", "fails", "no list", "no address", "twice"],
)
def test_a_command_that_prints_no_hosts(tmp_path: Path, lines: list[str], message: str) -> None:
    command = printing(tmp_path, *lines)

    assert refusal(group(hosts_command=command)).startswith(message.replace("{}", command[0], 1))


def test_a_command_that_is_not_there() -> None:
    message = refusal(group(hosts_command=["/absent"]))

    assert message.startswith(
        "hosts_command '/absent' of deployment group 'web' exited with 127; its last errors: "
    )


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "SECONDS_OF_COMMAND", 0.5)
    command = printing(tmp_path, f"echo $$ >{tmp_path}/process", "sleep 1000")
    begun = time.monotonic()

    assert refusal(group(hosts_command=command)).endswith("did not end within 0.5 seconds and was ended")
    assert time.monotonic() - begun < 15
    process = int((tmp_path / "process").read_text())
    until(lambda: not Path(f"/proc/{process}").exists())


@pytest.fixture
def fleet(prefect_server: str) -> Iterator[DeployHosts]:
    block = DeployHosts(
        hosts=[
            Host(name="web-1", address="web-1", tags={"role": "web"}),
            Host(name="db-1", address="db-1", tags={"role": "db"}),
        ],
        ssh=SshAccess(user="deploy", known_hosts="web-1 ssh-ed25519 AAAA"),
    )
    block.save("targets-fleet", overwrite=True)
    yield block
    delete_block(DeployHosts, "targets-fleet")


@pytest.mark.live
def test_hosts_of_an_inventory(fleet: DeployHosts) -> None:
    def of(role: str, inventory: str = "targets-fleet") -> DeploymentGroup:
        return group(inventory=inventory, tag_sets=[[{"key": "role", "value": role}]])

    assert resolve_hosts(of("web")) == fleet.hosts[:1]
    assert refusal(of("mail")) == (
        "NO_INSTANCES: deployment group 'web' has no hosts: no host of inventory 'targets-fleet' has role=mail"
    )
    assert refusal(of("web", "absent")) == (
        "there is no DeployHosts block 'absent'; create it with: the block type Deploy Hosts in Prefect's UI, or "
        "DeployHosts(...).save() in Python"
    )
    own = of("web").model_copy(update={"ssh": SshAccess(user="root")})
    CodeDeployApplication(deployment_groups=[own]).save("targets-shop", overwrite=True)
    try:
        found = find_group("targets-shop", "web")
        assert found is not None
        assert (found.ssh.user, found.ssh.known_hosts) == ("root", "web-1 ssh-ed25519 AAAA")
    finally:
        delete_block(CodeDeployApplication, "targets-shop")
