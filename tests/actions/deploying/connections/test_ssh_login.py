"""Logins over SSH: keys, certificates, agents, jump hosts, the user's configuration."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from host_calls import happens, run_on, run_over
from pydantic import SecretStr
from ssh_hosts import SshHosts, ssh_hosts, unused_port, write_key

from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable
from prefect_codepipeline.actions.deploying.connections.opening import connected
from prefect_codepipeline.model.codedeploy.group import Host, SshAccess

ME = getpass.getuser()


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    """Two hosts that trust each other's user, and an authority for certificates."""
    with ssh_hosts(3) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user without an agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


def port_reached(host: Host, ssh: SshAccess) -> int:
    """The port of the sshd that a login leads to, as the host sees it."""
    finished, lines = run_on(host, ssh, ["sh", "-c", "echo $SSH_CONNECTION"])
    assert finished.exit_status == 0, finished
    return int(lines[0].split()[3])


def refusal(host: Host, ssh: SshAccess) -> HostUnreachable:
    with pytest.raises(HostUnreachable) as refused:
        run_on(host, ssh, ["true"])
    return refused.value


def test_a_key_by_its_path(hosts: SshHosts, home: Path) -> None:
    access = hosts.access(private_key=None, private_key_path=str(hosts.key))

    assert port_reached(hosts[0].host, access) == hosts[0].port


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_key_as_openssh_and_openssl_write_it(
    hosts: SshHosts, home: Path, tmp_path: Path, kind: str
) -> None:
    made = ["ssh-keygen", "-q", "-t", kind, "-m", "PEM", "-N", "", "-f", tmp_path / "key"]
    subprocess.run(made, check=True)
    allow(hosts, tmp_path / "key.pub")

    access = hosts.access(private_key=SecretStr((tmp_path / "key").read_text()))
    assert port_reached(hosts[0].host, access) == hosts[0].port


def test_a_key_with_a_passphrase(hosts: SshHosts, home: Path, tmp_path: Path) -> None:
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", tmp_path / "key"]
    subprocess.run(made, check=True)
    allow(hosts, tmp_path / "key.pub")
    key = SecretStr((tmp_path / "key").read_text())

    access = hosts.access(private_key=key, passphrase=SecretStr("open sesame"))
    assert port_reached(hosts[0].host, access) == hosts[0].port
    for wrong in (None, SecretStr("sesame")):
        error = refusal(hosts[0].host, hosts.access(private_key=key, passphrase=wrong))
        assert error.permanent
        assert error.message.startswith(
            "host 'web-1' (127.0.0.2): its private key or certificate cannot be read: "
        )
        assert "sesame" not in error.message


def test_a_text_that_is_no_key(hosts: SshHosts, home: Path) -> None:
    error = refusal(hosts[0].host, hosts.access(private_key=SecretStr("no key")))

    assert error.message.startswith("host 'web-1' (127.0.0.2): its private key or certificate cannot be read")
    assert error.permanent


def test_a_key_that_is_not_there(hosts: SshHosts, home: Path) -> None:
    error = refusal(hosts[0].host, hosts.access(private_key=None, private_key_path="~/absent"))

    assert (
        error.message == f"host 'web-1' (127.0.0.2): {home}/absent cannot be read: No such file or directory"
    )
    assert error.permanent


@pytest.mark.parametrize("beside", [False, True], ids=["as text", "beside the key"])
def test_a_certificate(hosts: SshHosts, home: Path, tmp_path: Path, beside: bool) -> None:
    """The host knows only the authority."""
    authority = write_key(tmp_path / "authority", "ssh-ed25519")
    key = write_key(tmp_path / "key", "ssh-ed25519")
    with ssh_hosts(1, TrustedUserCAKeys=str(tmp_path / "authority.pub"), AuthorizedKeysFile="none") as own:
        text = (
            authority.generate_user_certificate(key, "release", principals=[ME]).export_certificate().decode()
        )
        if beside:
            (tmp_path / "key-cert.pub").write_text(text)
            access = own.access(private_key=None, private_key_path=str(tmp_path / "key"))
        else:
            access = own.access(private_key=SecretStr((tmp_path / "key").read_text()), certificate=text)
        assert port_reached(own[0].host, access) == own[0].port

        without = own.access(private_key=SecretStr((tmp_path / "key").read_text()))
        assert "refuses the login" in refusal(own[0].host, without).message


def test_a_certificate_without_its_key(hosts: SshHosts, home: Path) -> None:
    error = refusal(hosts[0].host, hosts.access(private_key=None, certificate="ssh-ed25519-cert ..."))

    assert error.message == (
        "host 'web-1' (127.0.0.2): a certificate needs the private key that it belongs to, as text or path"
    )


def test_an_agent(hosts: SshHosts, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    variables = dict(re.findall(r"(\w+)=([^;]+);", started))
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", variables["SSH_AUTH_SOCK"])
        subprocess.run(["ssh-add", "-q", hosts.key], check=True)

        assert port_reached(hosts[0].host, hosts.access(private_key=None)) == hosts[0].port
        # The host cannot use the agent, even if the user's configuration forwards it.
        (home / ".ssh/config").write_text("ForwardAgent yes\nSendEnv *\n")
        lines = run_on(hosts[0].host, hosts.access(private_key=None), ["env"])[1]
        assert not [line for line in lines if line.startswith((b"SSH_AUTH_SOCK=", b"GIT_CONFIG_GLOBAL="))]
        # A key of the settings is the only one.
        write_key(tmp_path / "other", "ssh-ed25519")
        other = hosts.access(private_key=SecretStr((tmp_path / "other").read_text()))
        assert "refuses the login" in refusal(hosts[0].host, other).message
    finally:
        os.kill(int(variables["SSH_AGENT_PID"]), signal.SIGTERM)


def test_the_users_own_key_and_known_hosts(hosts: SshHosts, home: Path) -> None:
    (home / ".ssh/id_ed25519").write_text(hosts.key.read_text())
    (home / ".ssh/known_hosts").write_text(hosts.known_hosts)

    assert port_reached(hosts[0].host, SshAccess()) == hosts[0].port


def test_the_users_configuration(hosts: SshHosts, home: Path) -> None:
    """HostName, Port, User, IdentityFile, UserKnownHostsFile, Include and patterns, as `ssh` has them."""
    (home / ".ssh/more").write_text(f"Host web*\n  User {ME}\n  IdentityFile {hosts.key}\n  SendEnv LC_*\n")
    (home / ".ssh/my_known_hosts").write_text(hosts.known_hosts)
    (home / ".ssh/config").write_text(
        f"Include more\nHost web-two\n  HostName {hosts[1].address}\n  Port {hosts[1].port}\n"
        "Host *\n  User nobody\n  UserKnownHostsFile ~/.ssh/my_known_hosts\n"
    )

    assert port_reached(Host(name="b", address="web-two"), SshAccess()) == hosts[1].port


def test_what_the_settings_say_counts_more_than_the_configuration(hosts: SshHosts, home: Path) -> None:
    (home / ".ssh/config").write_text(f"Host *\n  User nobody\n  Port 1\n  IdentityFile {home}/absent\n")

    assert port_reached(hosts[0].host, hosts.access()) == hosts[0].port
    own = home / "own_config"
    own.write_text(f"Host web\n  HostName {hosts[1].address}\n  Port {hosts[1].port}\n  User {ME}\n")
    elsewhere = hosts.access(config_path="~/own_config")
    assert port_reached(Host(name="b", address="web"), elsewhere) == hosts[1].port


def test_a_configuration_that_cannot_be_read(hosts: SshHosts, home: Path) -> None:
    (home / ".ssh/config").write_text("Port none of them\n")
    error = refusal(hosts[0].host, hosts.access())
    assert error.message.startswith("host 'web-1' (127.0.0.2): the configuration of SSH cannot be read")
    assert error.permanent

    error = refusal(hosts[0].host, hosts.access(config_path="~/absent"))
    assert (
        error.message == f"host 'web-1' (127.0.0.2): {home}/absent cannot be read: No such file or directory"
    )


def through(hosts: SshHosts, host: Host, ssh: SshAccess, jumps: int) -> None:
    """The login leads to a host by way of others: it comes from the address of the last of them."""
    before = [each.log.count("Accepted publickey") for each in hosts]
    assert port_reached(host, ssh) == hosts[2].port
    after = [each.log.count("Accepted publickey") for each in hosts]
    assert [new - old for old, new in zip(before, after, strict=True)] == [
        *[1] * jumps,
        *[0] * (2 - jumps),
        1,
    ]


def test_one_jump_host(hosts: SshHosts, home: Path) -> None:
    jump = f"{ME}@{hosts[0].address}:{hosts[0].port}"

    through(hosts, hosts[2].host, hosts.access(proxy_jump=jump), 1)


def test_several_jump_hosts(hosts: SshHosts, home: Path) -> None:
    """The user of the group is the one for jump hosts, too, if none is named."""
    jumps = f"{hosts[0].address}:{hosts[0].port},{ME}@{hosts[1].address}:{hosts[1].port}"

    through(hosts, hosts[2].host, hosts.access(proxy_jump=jumps, user=ME), 2)


def test_hosts_share_the_connection_to_their_jump_host(hosts: SshHosts, home: Path) -> None:
    """It ends with the last of them, and is opened again after it broke."""
    jump, one, two = hosts
    access = hosts.access(proxy_jump=f"{ME}@{jump.address}:{jump.port}", user=ME)

    def logins() -> int:
        return jump.log.count("Accepted publickey")

    async def run() -> None:
        before = logins()
        async with AsyncExitStack() as stack:
            first, second = await asyncio.gather(
                *(stack.enter_async_context(connected(each.host, access, "hosts")) for each in (one, two))
            )
            assert logins() == before + 1
            await first.close()
            async with connected(one.host, access, "hosts") as third:
                assert (await run_over(third, ["echo", "3"]))[1] == [b"3"]
            assert (await run_over(second, ["echo", "2"]))[1] == [b"2"]
            assert logins() == before + 1
            jump.cut_connections()
            with pytest.raises(HostUnreachable):
                await run_over(second, ["true"])
            async with connected(one.host, access, "hosts") as fourth:
                assert (await run_over(fourth, ["echo", "4"]))[1] == [b"4"]
            assert logins() == before + 2
        await happens(lambda: not jump.sessions())

    asyncio.run(run())


def test_a_refused_jump_host_is_tried_once_for_all_hosts(hosts: SshHosts, home: Path) -> None:
    jump, one, two = hosts
    access = hosts.access(proxy_jump=f"wrong@{jump.address}:{jump.port}", user=ME)
    before = jump.log.count("Invalid user wrong")

    async def log_in(host: Host) -> str:
        with pytest.raises(HostUnreachable) as refused:
            async with connected(host, access, "hosts"):
                pass
        assert refused.value.permanent
        return refused.value.message

    async def both() -> list[str]:
        return await asyncio.gather(log_in(one.host), log_in(two.host))

    assert [message.partition("; check")[0] for message in asyncio.run(both())] == [
        f"host '{each.name}' ({each.address}): jump host '127.0.0.2' refuses the login of user 'wrong'"
        for each in (one, two)
    ]
    assert jump.log.count("Invalid user wrong from") == before + 1


def test_a_login_through_a_jump_host_that_is_cancelled_leaves_no_connection(
    hosts: SshHosts, home: Path
) -> None:
    jump, one, _two = hosts
    access = hosts.access(proxy_jump=f"{ME}@{jump.address}:{jump.port}", user=ME)

    async def run() -> None:
        for pause in (0, 0.01, 0.03, 0.1, 0.3):
            login = asyncio.create_task(connected(one.host, access, "hosts").__aenter__())
            await asyncio.sleep(pause)
            login.cancel()
            for connection in await asyncio.gather(login, return_exceptions=True):
                if not isinstance(connection, BaseException):
                    await connection.close()
        await happens(lambda: not jump.sessions() and not one.sessions())

    asyncio.run(run())


def test_jump_hosts_of_the_configuration(hosts: SshHosts, home: Path) -> None:
    """Each is completed by its own entry, whose own jump host comes before it; `Host *` does not jump to itself."""
    (home / ".ssh/config").write_text(
        f"Host outer\n  HostName {hosts[0].address}\n  Port {hosts[0].port}\n"
        f"Host inner\n  HostName {hosts[1].address}\n  Port {hosts[1].port}\n  ProxyJump outer\n"
        f"Host target\n  HostName {hosts[2].address}\n  Port {hosts[2].port}\n  ProxyJump inner\n"
        f"Host *\n  User {ME}\n  ProxyJump outer\n"
    )
    target = Host(name="web-3", address="target")

    through(hosts, target, hosts.access(), 2)
    through(hosts, target, hosts.access(proxy_jump="outer"), 1)


def test_jump_hosts_in_a_circle(hosts: SshHosts, home: Path) -> None:
    (home / ".ssh/config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump c\nHost c\n  ProxyJump b\n")

    assert refusal(Host(name="web", address="a"), hosts.access()).message == (
        "host 'web' (a): there are more than 10 jump hosts, or one that is reached through itself"
    )


def test_a_jump_host_that_is_not_written_as_one(hosts: SshHosts, home: Path) -> None:
    error = refusal(hosts[2].host, hosts.access(proxy_jump="bastion:ssh"))

    assert (
        error.message == "host 'web-3' (127.0.0.4): 'bastion:ssh' is no jump host; write it as user@host:port"
    )
    assert error.permanent


def test_a_jump_host_with_an_unknown_key(hosts: SshHosts, home: Path) -> None:
    """The keys of jump hosts are checked as all others are."""
    jump = f"{ME}@{hosts[0].address}:{hosts[0].port}"
    error = refusal(hosts[2].host, hosts.access(proxy_jump=jump, known_hosts=hosts[2].known_hosts))

    assert error.permanent
    assert error.message == (
        f"host 'web-3' (127.0.0.4): jump host '127.0.0.2': its host key ED25519 {hosts[0].fingerprint} is not in the "
        "known hosts of its deployment group; compare the fingerprint with that of the host, then run: codepipeline hosts "
        "trust web-3"
    )


def test_a_jump_host_that_does_not_reach_the_host(hosts: SshHosts, home: Path) -> None:
    jump = f"{ME}@{hosts[0].address}:{hosts[0].port}"
    port = unused_port("127.0.0.9")
    gone = Host(name="gone", address="127.0.0.9", port=port)
    error = refusal(gone, hosts.access(proxy_jump=jump))

    assert error.message == (
        f"cannot connect to host 'gone' (127.0.0.9), at 127.0.0.9, port {port}, through jump host '127.0.0.2': "
        "Connection refused"
    )
    assert not error.permanent


def test_a_wrong_user_and_a_wrong_key_are_permanent(hosts: SshHosts, home: Path, tmp_path: Path) -> None:
    wrong = Host(name="web-1", address=hosts[0].address, port=hosts[0].port, user="wrong")
    error = refusal(wrong, hosts.access())
    assert error.permanent
    assert error.message == (
        "host 'web-1' (127.0.0.2) refuses the login of user 'wrong'; check the user, and that the host accepts the private key"
    )

    write_key(tmp_path / "other", "ssh-ed25519")
    error = refusal(hosts[0].host, hosts.access(private_key=SecretStr((tmp_path / "other").read_text())))
    assert error.permanent
    assert f"refuses the login of user '{ME}'" in error.message


def test_too_many_keys_are_permanent(hosts: SshHosts, home: Path, tmp_path: Path) -> None:
    lines = []
    for number in range(7):
        write_key(tmp_path / f"key{number}", "ssh-ed25519")
        lines.append(f"IdentityFile {tmp_path}/key{number}\n")
    (home / ".ssh/config").write_text("".join(lines))

    error = refusal(hosts[0].host, hosts.access(private_key=None))
    assert error.permanent
    assert error.message == (
        f"host 'web-1' (127.0.0.2) refuses the login of user '{ME}' after too many keys; name the right key in its settings"
    )


def allow(hosts: SshHosts, public_key: Path) -> None:
    """Let a key in on the first host."""
    with (hosts[0].folder / "authorized_keys").open("a") as file:
        file.write(public_key.read_text())
