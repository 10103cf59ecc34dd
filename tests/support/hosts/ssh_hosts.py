"""Hosts that are logged in to over SSH: real sshd processes on loopback, each with its own address, port and host key."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from pydantic import SecretStr
from waiting import until

from prefect_codepipeline.model.codedeploy.group import Host, SshAccess

SSHD = Path("/usr/sbin/sshd")
# The user of the hosts without root's rights. It stays on the machine: other processes may be using it, too.
PLAIN_USER = "codedeploy-test"
SETTINGS = {
    "AcceptEnv": "*",
    "AuthorizedKeysFile": "{folder}/authorized_keys",
    "HostKey": "{folder}/host_key",
    "KbdInteractiveAuthentication": "no",
    "ListenAddress": "{address}:{port}",
    "LogLevel": "VERBOSE",
    "MaxStartups": "500",
    "PasswordAuthentication": "no",
    "PidFile": "none",
    "PrintMotd": "no",
    "StrictModes": "no",
    "UsePAM": "no",
}


@dataclass
class SshHost:
    """One sshd: where it listens, who logs in, its folder with configuration, keys and log."""

    name: str
    address: str
    port: int
    user: str
    folder: Path
    settings: dict[str, str]
    inside: Sequence[str] = ()
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def host(self) -> Host:
        return Host(name=self.name, address=self.address, port=self.port, user=self.user)

    @property
    def key(self) -> asyncssh.SSHKey:
        """Its host key."""
        return asyncssh.read_public_key(self.folder / "host_key.pub")

    @property
    def fingerprint(self) -> str:
        return self.key.get_fingerprint()

    @property
    def known_hosts(self) -> str:
        """Its line in a known_hosts file."""
        place = f"[{self.address}]:{self.port}"
        return f"{place} {self.key.export_public_key().decode().strip()}\n"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def home(self) -> Path:
        return Path(pwd.getpwnam(self.user).pw_dir)

    def change_key(self, kind: str = "ssh-ed25519") -> None:
        """Give it another host key, which a new start uses."""
        write_key(self.folder / "host_key", kind)

    def start(self) -> None:
        """Start it, on another port if that of its settings is taken."""
        until(self._listens, 20, lambda: self.log)

    def _listens(self) -> bool:
        values = {"folder": self.folder, "address": self.address, "port": self.port}
        text = "".join(f"{name} {value.format(**values)}\n" for name, value in self.settings.items())
        (self.folder / "sshd_config").write_text(text)
        said = len(self.log) if (self.folder / "log").exists() else 0
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.inside, SSHD, "-D", "-e", "-f", self.folder / "sshd_config"],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        # A connection would be counted by MaxStartups, and another program may listen where this one cannot.
        until(
            lambda: self.process.poll() is not None or "Server listening on" in self.log[said:],
            20,
            lambda: self.log,
        )
        if self.process.poll() is None:
            return True
        assert "Address already in use" in self.log, self.log
        self.port = unused_port(self.address)
        return False

    def stop(self) -> None:
        """End it, with all sessions and their programs."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGSTOP)  # it accepts no more
            for process in reversed(descendants(self.process.pid)):
                kill(process)
            self.process.kill()
        self.process.wait()

    def cut_connections(self) -> None:
        """Break all connections; the programs of their sessions are left, and new connections are accepted."""
        for process in descendants(self.process.pid):
            if command_of(process).startswith("sshd"):
                kill(process)

    def sessions(self) -> list[int]:
        """The processes of all its connections."""
        return descendants(self.process.pid)


@dataclass
class SshHosts:
    """Hosts with one user key for all of them."""

    hosts: list[SshHost]
    key: Path

    def __getitem__(self, number: int) -> SshHost:
        return self.hosts[number]

    def __iter__(self) -> Iterator[SshHost]:
        return iter(self.hosts)

    @property
    def known_hosts(self) -> str:
        return "".join(each.known_hosts for each in self.hosts)

    def access(self, **changes: Any) -> SshAccess:
        """How they are reached. `changes` replace fields of it."""
        settings = {"private_key": SecretStr(self.key.read_text()), "known_hosts": self.known_hosts}
        return SshAccess(**{**settings, "connect_timeout_in_seconds": 20, **changes})


@contextmanager
def ssh_hosts(
    count: int = 1, user: str | None = None, inside: Sequence[str] = (), **settings: str
) -> Iterator[SshHosts]:
    """Start so many hosts; all of them, and what runs on them, are ended at the end of the block.

    Args:
        count: how many; they are named `web-1`, `web-2` and so on.
        user: who logs in; the test's own user if empty. Only root can have hosts with another user.
        inside: a command that becomes the one that follows it, in which sshd is started.
        settings: more settings of sshd.
    """
    if not SSHD.exists() or sys.platform != "linux":
        pytest.skip("no OpenSSH server is installed; `.ci/sshd` installs it")
    user = user or pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="codepipeline-ssh-"))
    folder.chmod(0o755)  # the host reads the user's keys as that user
    write_key(folder / "user_key", "ssh-ed25519")
    found = SshHosts([], folder / "user_key")
    try:
        for number in range(1, count + 1):
            found.hosts.append(_host(folder, number, user, {**SETTINGS, **_of_this_version(), **settings}))
            found.hosts[-1].inside = inside
            found.hosts[-1].start()
        yield found
    finally:
        for host in found.hosts:
            host.stop()
        shutil.rmtree(folder)


def _host(folder: Path, number: int, user: str, settings: dict[str, str]) -> SshHost:
    own = folder / f"web-{number}"
    own.mkdir()
    write_key(own / "host_key", "ssh-ed25519")
    shutil.copy(folder / "user_key.pub", own / "authorized_keys")
    address = f"127.0.0.{number + 1}"
    return SshHost(f"web-{number}", address, unused_port(address), user, own, settings)


def _of_this_version() -> dict[str, str]:
    """From 9.8 on, refused logins would make a host refuse all others for a while."""
    shown = subprocess.run([SSHD, "-V"], capture_output=True, text=True).stderr
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", shown)
    assert version, shown
    return {"PerSourcePenalties": "no"} if tuple(map(int, version.groups())) >= (9, 8) else {}


def plain_user() -> str:
    """A user without root's rights who can log in: the test's own, or one that is made if the tests run as root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    until(_has_plain_user)
    return PLAIN_USER


def _has_plain_user() -> bool:
    """Make it. Another process of the tests may be doing so, too; a password of `*` is none, but does not lock it."""
    if not any(each.pw_name == PLAIN_USER for each in pwd.getpwall()):
        subprocess.run(["useradd", "-m", "-p", "*", "-s", "/bin/bash", PLAIN_USER], capture_output=True)
    return any(each.pw_name == PLAIN_USER for each in pwd.getpwall())


def write_key(path: Path, kind: str, passphrase: str | None = None) -> asyncssh.SSHKey:
    """Write a new key and its public part."""
    key = asyncssh.generate_private_key(kind)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key("openssh", passphrase))
    key.write_public_key(f"{path}.pub")
    return key


def unused_port(address: str) -> int:
    with socket.socket() as server:
        server.bind((address, 0))
        return int(server.getsockname()[1])


def descendants(process: int) -> list[int]:
    """The children of a process and theirs, parents first."""
    parents: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            fields = (each / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents.setdefault(int(fields[1]), []).append(int(each.name))
    found = [process]
    for one in found:
        found += parents.get(one, [])
    return found[1:]


def command_of(process: int) -> str:
    try:
        return (
            Path(f"/proc/{process}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
            .strip()
        )
    except OSError:
        return ""


def running(words: Sequence[str] | str) -> list[int]:
    """The processes whose command line contains a text."""
    text = words if isinstance(words, str) else " ".join(words)
    found = [int(each.name) for each in Path("/proc").glob("[0-9]*") if text in command_of(int(each.name))]
    return [process for process in found if process != os.getpid()]


def kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
