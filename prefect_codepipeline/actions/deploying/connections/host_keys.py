"""Host keys: which ones are known for a host, and what a refusal says. A key is never accepted unseen."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import asyncssh

from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable

SYSTEM_FILE = "/etc/ssh/ssh_known_hosts"
DEFAULT_FILES = ("~/.ssh/known_hosts", SYSTEM_FILE)


@dataclass
class HostKeys:
    """The known host keys of one connection, and the key that the host presented.

    asyncssh asks `known` before the key exchange. It would also accept the keys that are known for the host's numeric
    address; here only the name that was asked for counts, as in OpenSSH, so that a wrong DNS entry leads nowhere.
    """

    text: str
    source: str
    expected: Sequence[asyncssh.SSHKey] = ()
    presented: asyncssh.SSHKey | None = None

    def known(self, host: str, address: str, port: int | None) -> Any:  # Any: the seven lists of asyncssh
        """What is known for a host. A port other than 22 has its own entry, or that of the host."""
        found = parsed(self.text).match(host, "", port)
        self.expected = found[0]
        return found

    def client(self) -> asyncssh.SSHClient:
        """What notes the key of a host whose key is not among the known ones."""
        keys = self

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
                keys.presented = key
                return False

        return Client()

    def refusal(
        self, who: str, name: str, place: Place, presented: asyncssh.SSHKey | None
    ) -> HostUnreachable:
        """The error for a host with another key, or one that is not known.

        Args:
            who: the host, as errors name it.
            name: what `codepipeline hosts trust` takes.
            place: where the host is in a known_hosts file.
            presented: its key, if that could be read.
        """
        shown = f"{shown_key(presented)} " if presented else ""
        trust = f"codepipeline hosts trust {shlex.quote(name)}"
        if not self.expected:
            message = (
                f"{who}: its host key {shown}is not in {self.source}; compare the fingerprint with that of the host, "
                f"then run: {trust}"
            )
        else:
            known = ", ".join(shown_key(key) for key in self.expected)
            message = (
                f"{who}: its host key has changed: it presents {shown}but {self.source} has {known}. Another machine may "
                f"answer in its place. If the host was set up again, compare the fingerprint with that of the host, then "
                f"run: {trust}"
            )
        if presented is None:
            return HostUnreachable(message, permanent=True)
        return HostKeyRefused(message, who, place, presented, tuple(self.expected))


@dataclass(frozen=True)
class Place:
    """A host in a known_hosts file."""

    host: str
    port: int

    def __str__(self) -> str:
        return self.host if self.port == asyncssh.DEFAULT_PORT else f"[{self.host}]:{self.port}"


class HostKeyRefused(HostUnreachable):
    """A host presents a key that is not the known one.

    Args:
        message: what a deployment says.
        who: the host, as errors name it.
        place: where the host is in a known_hosts file.
        key: the key that it presents.
        expected: its known keys.
    """

    def __init__(
        self,
        message: str,
        who: str,
        place: Place,
        key: asyncssh.SSHKey,
        expected: Sequence[asyncssh.SSHKey],
    ) -> None:
        super().__init__(message, permanent=True)
        self.who, self.place, self.key, self.expected = who, place, key, expected

    def on_the_way_to(self, host: str) -> HostKeyRefused:
        """The same for a host that is reached through this one."""
        return HostKeyRefused(f"{host}: {self.message}", self.who, self.place, self.key, self.expected)


def host_keys(text: str | None, files: Sequence[str]) -> HostKeys:
    """The known host keys of a block, or those of files if the block has none.

    Raises:
        ValueError: a line is not one of known_hosts.
        OSError: a file cannot be read.
    """
    if text is not None:
        keys = HostKeys(text, "the known hosts of its deployment group")
    else:
        keys = HostKeys("\n".join(map(_content, files)), " or ".join(files))
    try:
        parsed(keys.text)
    except ValueError as error:
        raise ValueError(f"{keys.source} cannot be read: {error}") from None
    return keys


def shown_key(key: asyncssh.SSHKey) -> str:
    """A key as `ssh` shows it: `ED25519 SHA256:…`."""
    kind = key.get_algorithm().removeprefix("ssh-").partition("-")[0].upper()
    return f"{kind} {key.get_fingerprint()}"


def with_key(text: str, refused: HostKeyRefused) -> str:
    """The text of known_hosts with the key that a host presents, in place of its known ones."""
    former = {_words(key) for key in refused.expected}
    lines = [_without(line, refused.place, former) for line in text.splitlines()]
    return "\n".join([*(line for line in lines if line), f"{refused.place} {_words(refused.key)}", ""])


def _without(line: str, place: Place, former: Collection[str]) -> str:
    """A line without the name of a host whose key is one of these; empty if it is about no other host."""
    names, _, key = line.strip().partition(" ")
    if " ".join(key.split()[:2]) not in former or names.startswith(("#", "@")):
        return line
    if names.startswith("|"):  # the hash of one name
        port = None if place.port == asyncssh.DEFAULT_PORT else place.port
        return "" if parsed(line).match(place.host, "", port)[0] else line
    others = [name for name in names.split(",") if name != str(place)]
    return f"{','.join(others)} {key}" if others else ""


def _words(key: asyncssh.SSHKey) -> str:
    kind, data, *_comment = key.export_public_key("openssh").decode().split()
    return f"{kind} {data}"


@lru_cache(maxsize=8)
def parsed(text: str) -> asyncssh.SSHKnownHosts:
    """The known hosts in a text, which is that of many hosts."""
    return asyncssh.import_known_hosts(text)


def _content(name: str) -> str:
    path = Path(name).expanduser()
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
