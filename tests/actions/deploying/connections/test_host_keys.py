"""Host keys are always checked: an unknown or a changed one is refused, whatever the configuration says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_calls import run_on
from ssh_hosts import SshHosts, ssh_hosts, write_key

from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable
from prefect_codepipeline.model.codedeploy.group import SshAccess


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(2) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


def refusal(hosts: SshHosts, access: SshAccess) -> HostUnreachable:
    with pytest.raises(HostUnreachable) as refused:
        run_on(hosts[0].host, access, ["true"])
    assert refused.value.permanent
    return refused.value


def is_accepted(hosts: SshHosts, access: SshAccess) -> bool:
    return run_on(hosts[0].host, access, ["true"])[0].exit_status == 0


def test_an_unknown_key_is_refused_with_its_fingerprint(hosts: SshHosts, home: Path) -> None:
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", hosts[0].folder / "host_key.pub"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert shown[1] == hosts[0].fingerprint

    assert refusal(hosts, hosts.access(known_hosts=hosts[1].known_hosts)).message == (
        f"host 'web-1' (127.0.0.2): its host key ED25519 {hosts[0].fingerprint} is not in the known hosts of its deployment "
        "group; compare the fingerprint with that of the host, then run: codepipeline hosts trust web-1"
    )


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_a_changed_key_is_refused_with_both_fingerprints(home: Path, kind: str) -> None:
    with ssh_hosts(1) as hosts:
        known, access = hosts[0].fingerprint, hosts.access()
        hosts[0].stop()
        hosts[0].change_key(kind)
        hosts[0].start()

        name = {"ssh-ed25519": "ED25519", "ecdsa-sha2-nistp256": "ECDSA", "ssh-rsa": "RSA"}[kind]
        assert refusal(hosts, access).message == (
            f"host 'web-1' (127.0.0.2): its host key has changed: it presents {name} {hosts[0].fingerprint} but the known "
            f"hosts of its deployment group has ED25519 {known}. Another machine may answer in its place. If the host was "
            "set up again, compare the fingerprint with that of the host, then run: codepipeline hosts trust web-1"
        )


def test_of_several_keys_of_a_host_the_known_one_is_asked_for(home: Path, tmp_path: Path) -> None:
    write_key(tmp_path / "rsa", "ssh-rsa")
    with ssh_hosts(1, HostKey="{folder}/host_key\nHostKey " + str(tmp_path / "rsa")) as hosts:
        public = (tmp_path / "rsa.pub").read_text()
        place = hosts[0].known_hosts.partition(" ")[0]
        assert is_accepted(hosts, hosts.access(known_hosts=f"{place} {public}"))


def test_the_users_file_counts_if_the_block_has_no_known_hosts(hosts: SshHosts, home: Path) -> None:
    error = refusal(hosts, hosts.access(known_hosts=None))
    assert "is not in ~/.ssh/known_hosts or /etc/ssh/ssh_known_hosts;" in error.message

    (home / ".ssh/known_hosts").write_text(hosts.known_hosts)
    assert is_accepted(hosts, hosts.access(known_hosts=None))
    # An empty text of the block is no host, not the file.
    assert "is not in the known hosts" in refusal(hosts, hosts.access(known_hosts="")).message


@pytest.mark.parametrize(
    "setting", ["StrictHostKeyChecking no", "UserKnownHostsFile none", "UserKnownHostsFile /dev/null"]
)
def test_no_configuration_turns_the_check_off(hosts: SshHosts, home: Path, setting: str) -> None:
    (home / ".ssh/config").write_text(f"Host *\n  {setting}\n")

    assert "its host key" in refusal(hosts, hosts.access(known_hosts="")).message
    assert "its host key" in refusal(hosts, hosts.access(known_hosts=None)).message


def test_hashed_names_patterns_and_names_without_port(hosts: SshHosts, home: Path) -> None:
    path = home / "hashed"
    path.write_text(hosts.known_hosts)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    assert "127.0.0.2" not in path.read_text()
    assert is_accepted(hosts, hosts.access(known_hosts=path.read_text()))

    key = hosts[0].key.export_public_key().decode()
    assert is_accepted(hosts, hosts.access(known_hosts=f"[127.0.0.*]:* {key}"))
    assert is_accepted(hosts, hosts.access(known_hosts=f"127.0.0.2 {key}"))


def test_a_revoked_key_is_refused(hosts: SshHosts, home: Path) -> None:
    revoked = f"@revoked * {hosts[0].key.export_public_key().decode()}"
    error = refusal(hosts, hosts.access(known_hosts=hosts.known_hosts + revoked))

    assert error.message.startswith("host 'web-1' (127.0.0.2): its host key is refused: Host key is revoked")


def test_a_key_that_is_known_for_the_numeric_address_alone_is_not_enough(hosts: SshHosts, home: Path) -> None:
    """Else a wrong answer of DNS could make one known host take the place of another."""
    with ssh_hosts(1, ListenAddress="127.0.0.1:{port}") as own:
        known = own[0].known_hosts.replace("127.0.0.2", "127.0.0.1")
        host = own[0].host
        by_number = host.model_copy(update={"address": "127.0.0.1"})
        assert run_on(by_number, own.access(known_hosts=known), ["true"])[0].exit_status == 0
        with pytest.raises(HostUnreachable, match="is not in the known hosts"):
            run_on(host.model_copy(update={"address": "localhost"}), own.access(known_hosts=known), ["true"])


def test_a_host_certificate(home: Path, tmp_path: Path) -> None:
    """Known is only the authority of hosts."""
    authority = write_key(tmp_path / "authority", "ssh-ed25519")
    with ssh_hosts(1, HostCertificate="{folder}/certificate") as hosts:
        trusted = f"@cert-authority 127.0.0.* {authority.export_public_key().decode()}"

        def certify(*names: str) -> None:
            made = authority.generate_host_certificate(hosts[0].key, "web", principals=names)
            (hosts[0].folder / "certificate").write_bytes(made.export_certificate())
            hosts[0].stop()
            hosts[0].start()

        certify("127.0.0.2")
        assert is_accepted(hosts, hosts.access(known_hosts=trusted))
        # A certificate of an authority that is not known: the host's key is shown.
        error = refusal(hosts, hosts.access(known_hosts=""))
        assert f"its host key ED25519 {hosts[0].fingerprint} is not in the known hosts" in error.message
        certify("another.example")
        error = refusal(hosts, hosts.access(known_hosts=trusted))
        assert "its host key is refused: " in error.message


def test_lines_that_are_no_known_hosts(hosts: SshHosts, home: Path) -> None:
    error = refusal(hosts, hosts.access(known_hosts="nonsense"))

    assert error.message == (
        "host 'web-1' (127.0.0.2): the known hosts of its deployment group cannot be read: Invalid known hosts entry: nonsense"
    )
