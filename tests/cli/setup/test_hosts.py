"""`codepipeline hosts`: a host's key is shown, confirmed, and stored in the block of the host."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from commands import run_command
from host_calls import run_on
from prefect.blocks.system import Secret
from ssh_hosts import SshHosts, ssh_hosts

from prefect_codepipeline.actions.deploying.finding import find_group
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.blocks.deploy_hosts import DeployHosts
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host, SshAccess
from prefect_codepipeline.prefect_api.block_documents import delete_block, find_block

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    """web-1 is in an inventory, web-2 in a group, which reaches it through web-1."""
    with ssh_hosts(2) as found:
        yield found


@pytest.fixture
def blocks(hosts: SshHosts, prefect_server: str) -> Iterator[None]:
    """Blocks that know no host key."""
    one = hosts[0].host.model_copy(update={"tags": {"role": "web"}})
    jump = f"{hosts[0].user}@{hosts[0].address}:{hosts[0].port}"
    ssh = SshAccess(private_key_secret="hosts-key", proxy_jump=jump, connect_timeout_in_seconds=20)
    printed = DeploymentGroup(name="printed", hosts_command=["echo", f"[{hosts[0].host.model_dump_json()}]"])
    Secret(value=hosts.key.read_text()).save("hosts-key", overwrite=True)
    DeployHosts(hosts=[one], ssh=SshAccess(private_key_secret="hosts-key")).save(
        "hosts-fleet", overwrite=True
    )
    groups = [DeploymentGroup(name="web", hosts=[hosts[1].host], ssh=ssh), printed]
    CodeDeployApplication(deployment_groups=groups).save("hosts-shop", overwrite=True)
    yield
    delete_block(Secret, "hosts-key")
    delete_block(DeployHosts, "hosts-fleet")
    delete_block(CodeDeployApplication, "hosts-shop")


def answer(*arguments: str) -> Any:
    done = run_command(["hosts", *arguments, "--json"])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(*arguments: str) -> str:
    done = run_command(["hosts", *arguments])
    assert done.returncode == 1
    return done.stderr.removeprefix("codepipeline: ").strip()


def test_hosts_of_all_blocks_are_listed(hosts: SshHosts, blocks: None) -> None:
    listed = answer("list")
    assert [each for each in listed if each["in"] in ("hosts-fleet", "hosts-shop/web")] == [
        {
            "name": f"web-{number + 1}",
            "address": hosts[number].address,
            "port": hosts[number].port,
            "user": hosts[number].user,
            "tags": {"role": "web"} if number == 0 else {},
            "zone": None,
            "in": ["hosts-fleet", "hosts-shop/web"][number],
            "knownKey": "the worker's file",
        }
        for number in (0, 1)
    ]
    shown = run_command(["hosts", "list"]).stdout
    assert "(what echo prints)" in shown
    assert "role=web" in shown
    assert [each["name"] for each in answer("list", "--inventory", "hosts-fleet")] == ["web-1"]
    assert [each["name"] for each in answer("list", "--group", "hosts-shop/web")] == ["web-2"]


def test_a_key_is_stored_if_its_fingerprint_is_confirmed(hosts: SshHosts, blocks: None) -> None:
    wrong = "SHA256:" + "A" * 43
    assert refusal("trust", "web-1", "--yes", wrong, "--inventory", "hosts-fleet") == (
        f"host 'web-1' (127.0.0.2) presents the key ED25519 {hosts[0].fingerprint}, which --yes does not name"
    )
    assert refusal("trust", "web-1", "--inventory", "hosts-fleet") == (
        f"host 'web-1' (127.0.0.2) presents the key ED25519 {hosts[0].fingerprint}: compare the fingerprint with that of the "
        f"host, then confirm it with --yes {hosts[0].fingerprint}"
    )
    block = find_block(DeployHosts, "hosts-fleet")
    assert block is not None
    assert block.ssh.known_hosts is None

    place = f"[127.0.0.2]:{hosts[0].port}"
    assert answer("trust", "web-1", "--yes", hosts[0].fingerprint, "--inventory", "hosts-fleet") == {
        "name": "web-1",
        "in": "hosts-fleet",
        "trusted": [{"host": place, "fingerprint": hosts[0].fingerprint}],
        "login": "works",
    }
    assert known_to_inventory() == hosts[0].known_hosts
    [listed] = answer("list", "--inventory", "hosts-fleet")
    assert listed["knownKey"] == "yes"
    again = run_command(["hosts", "trust", "web-1", "--inventory", "hosts-fleet"])
    assert again.stdout == "web-1: its key is known already\nthe login to 'web-1' works\n"


@pytest.mark.long
def test_the_keys_of_jump_hosts_are_confirmed_too(hosts: SshHosts, blocks: None) -> None:
    fingerprints = [word for each in hosts for word in ("--yes", each.fingerprint)]
    only_last = refusal("trust", "web-2", "--group", "web", *fingerprints[2:])
    assert only_last.startswith("jump host '127.0.0.2' presents the key ED25519 ")

    done = run_command(["hosts", "trust", "web-2", "--group", "web", *fingerprints])
    assert done.stdout.splitlines() == [
        *(
            f"stored in deployment group 'hosts-shop/web': [{each.address}]:{each.port} ED25519 {each.fingerprint}"
            for each in hosts
        ),
        "from now on, only the known hosts of deployment group 'hosts-shop/web' count for it, and no file of a worker",
        "the login to 'web-2' works",
    ]
    group = find_group("hosts-shop", "web")
    assert group is not None
    assert run_on(hosts[1].host, group.ssh, ["echo", "here"])[1] == [b"here"]
    assert [each.name for each in CodeDeployApplication.load("hosts-shop").deployment_groups] == [
        "web",
        "printed",
    ]


def test_a_host_that_a_command_prints(hosts: SshHosts, blocks: None) -> None:
    known = answer("trust", "web-1", "--group", "printed", "--yes", hosts[0].fingerprint)

    assert known["trusted"][0]["fingerprint"] == hosts[0].fingerprint


@pytest.mark.long
def test_a_changed_key_takes_the_place_of_the_known_one(prefect_server: str) -> None:
    with ssh_hosts(1) as hosts:
        other = "10.9.9.9 " + hosts[0].key.export_public_key().decode()
        known = f"# mine\n10.9.9.8,{hosts[0].known_hosts}{other}"
        inventory = DeployHosts(hosts=[hosts[0].host], ssh=SshAccess(known_hosts=known))
        inventory.save("hosts-changed", overwrite=True)
        try:
            former = hosts[0].key.export_public_key().decode().strip()
            hosts[0].stop()
            hosts[0].change_key()
            hosts[0].start()

            refused = refusal("trust", "web-1", "--inventory", "hosts-changed")
            assert f"ED25519 {hosts[0].fingerprint} in place of the known ED25519 SHA256:" in refused
            shown = in_terminal(["hosts", "trust", "web-1", "--inventory", "hosts-changed"], "no\n")
            assert f"host 'web-1' (127.0.0.2): ED25519 {hosts[0].fingerprint}" in shown
            assert "The key has changed. Another machine may answer in its place." in shown
            assert "host 'web-1' (127.0.0.2): not trusted" in shown
            shown = in_terminal(["hosts", "trust", "web-1", "--inventory", "hosts-changed"], "y\n")
            assert "stored in inventory 'hosts-changed'" in shown
            # The block has no key for logins, so that this was all that could be tried.
            assert "the login was not tried to the end: host 'web-1' (127.0.0.2) refuses the login" in shown
            assert known_to_inventory("hosts-changed").splitlines() == [
                "# mine",
                f"10.9.9.8 {former}",
                f"10.9.9.9 {former}",
                hosts[0].known_hosts.strip(),
            ]
        finally:
            delete_block(DeployHosts, "hosts-changed")


def test_a_host_that_is_not_there_or_in_two_places(hosts: SshHosts, blocks: None) -> None:
    assert refusal("trust", "web-3", "--inventory", "hosts-fleet").startswith(
        "there is no host 'web-3'; did you mean"
    )
    assert refusal("trust", "web-1", "--inventory", "absent") == (
        "there is no inventory 'absent'; see: codepipeline hosts list"
    )
    DeployHosts(hosts=[hosts[1].host, Host(name="web-1", address="a")]).save("hosts-second", overwrite=True)
    try:
        twice = refusal("trust", "web-1")
        assert "inventory 'hosts-fleet' and inventory 'hosts-second'" in twice
        assert twice.endswith("; add --group or --inventory")
    finally:
        delete_block(DeployHosts, "hosts-second")
    assert "--json asks nothing, add --yes FINGERPRINT" in refusal("trust", "web-1", "--json")


def test_a_host_that_cannot_be_reached(blocks: None) -> None:
    gone = DeployHosts(hosts=[Host(name="gone", address="127.0.0.1", port=1)])
    gone.save("hosts-gone", overwrite=True)
    try:
        assert refusal("trust", "gone", "--inventory", "hosts-gone") == (
            "cannot connect to host 'gone' (127.0.0.1), at 127.0.0.1, port 1: Connection refused"
        )
    finally:
        delete_block(DeployHosts, "hosts-gone")


def known_to_inventory(name: str = "hosts-fleet") -> str:
    block = find_block(DeployHosts, name)
    assert block is not None
    return block.ssh.known_hosts or ""


def in_terminal(arguments: list[str], typed: str) -> str:
    """What a command prints on a terminal at which somebody types."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", "from prefect_codepipeline.cli import main; main()", *arguments]
    plain = {**os.environ, "NO_COLOR": "1"}
    process = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, env=plain)
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError:
        pass  # the terminal's other end is closed
    process.wait()
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")
