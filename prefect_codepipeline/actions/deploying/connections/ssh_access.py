"""What a login over SSH needs: the way through jump hosts, the keys, and the user's configuration of SSH."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncssh

from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable
from prefect_codepipeline.actions.deploying.connections.host_keys import (
    DEFAULT_FILES,
    SYSTEM_FILE,
    HostKeys,
    host_keys,
)
from prefect_codepipeline.model.codedeploy.group import Host, SshAccess

MOST_HOPS = 10
# A tenth of a second for each host with the user's own RSA key. OpenSSH does not check the primes of a key either.
asyncssh.set_default_skip_rsa_key_validation(True)
# asyncssh asks for known kinds of host keys; with these after them, a host with another kind shows its key.
_ALSO_OTHER_KEYS = "+ssh-ed25519,ecdsa-sha2-nistp*,rsa-sha2-*"


@dataclass(frozen=True)
class Hop:
    """A machine on the way to a host, or the host: as the settings name it, and as `~/.ssh/config` completes it.

    Args:
        who: how errors name it.
        name: the host's name, for `codepipeline hosts trust`.
        options: everything for the login, ready for `asyncssh.connect`.
        keys: the known host keys.
        through: the jump host before it.
    """

    who: str
    name: str
    options: asyncssh.SSHClientConnectionOptions = field(repr=False)
    keys: HostKeys = field(repr=False)
    through: str | None = None

    @property
    def address(self) -> str:
        return str(self.options.host)

    @property
    def port(self) -> int:
        return int(self.options.port)

    @property
    def user(self) -> str:
        return str(self.options.username)


@dataclass(frozen=True)
class _Place:
    """`user@address:port`, as it is written."""

    address: str
    user: str | None = None
    port: int | None = None


def way_to(host: Host, ssh: SshAccess) -> list[Hop]:
    """The jump hosts in order, and the host as the last.

    Raises:
        HostUnreachable: a key, a file or a setting cannot be used.
    """
    who = f"host {host.name!r} ({host.address})"
    try:
        target = _Place(host.address, host.user or ssh.user, host.port)
        way = _way(target, who, host.name, ssh, ssh.proxy_jump, 0)
        return [way[0], *(replace(hop, through=before.options.orig_host) for before, hop in pairwise(way))]
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        problem = f"its private key or certificate cannot be read: {error}"
    except asyncssh.ConfigParseError as error:
        problem = f"the configuration of SSH cannot be read: {error}"
    except OSError as error:
        problem = f"{error.filename} cannot be read: {error.strerror}"
    except ValueError as error:
        problem = str(error)
    raise HostUnreachable(f"{who}: {problem}", permanent=True)


def _way(place: _Place, who: str, name: str, ssh: SshAccess, jump: str | None, depth: int) -> list[Hop]:
    if depth > MOST_HOPS:
        raise ValueError(f"there are more than {MOST_HOPS} jump hosts, or one that is reached through itself")
    hop = _hop(place, who, name, ssh)
    jumps = str(jump or hop.options.tunnel or "none")
    if jumps.lower() == "none":
        return [hop]
    first, *others = [_place(text) for text in jumps.split(",")]
    if depth and not others and first.address == place.address:
        return [hop]  # `Host *` of the configuration concerns the jump host, too

    before = _way(first, _jump(first), name, ssh, None, depth + 1)
    return [*before, *(_hop(each, _jump(each), name, ssh) for each in others), hop]


def _jump(place: _Place) -> str:
    return f"jump host {place.address!r}"


def _place(text: str) -> _Place:
    """Of `[user@]address[:port]`; an IPv6 address with a port is in brackets."""
    user, _, place = text.strip().removeprefix("ssh://").rpartition("@")
    address, colon, port = place.rpartition(":")
    if not colon or (":" in address and not address.endswith("]")):
        address, port = place, ""
    address = address.removeprefix("[").removesuffix("]")
    if not address or (port and not port.isdecimal()):
        raise ValueError(f"{text!r} is no jump host; write it as user@host:port")
    return _Place(address, user or None, int(port) if port else None)


def _hop(place: _Place, who: str, name: str, ssh: SshAccess) -> Hop:
    paths = [str(Path(ssh.config_path).expanduser())] if ssh.config_path else ()
    named: dict[str, Any] = {"host": place.address, "config": paths}
    if place.port:
        named["port"] = place.port
    if place.user:
        named["username"] = place.user
    configured = asyncssh.SSHClientConnectionOptions(**named, client_keys=None).config
    if ssh.user and not place.user and not configured.get("User"):
        named["username"] = ssh.user
    if not configured.get("HostKeyAlgorithms"):
        named["server_host_key_algs"] = _ALSO_OTHER_KEYS
    files: Any = configured.get("UserKnownHostsFile")
    keys = host_keys(ssh.known_hosts, DEFAULT_FILES if files is None else (*files, SYSTEM_FILE))
    options = asyncssh.SSHClientConnectionOptions(
        **named, **_login(ssh), **_connection(ssh), known_hosts=keys.known, client_factory=keys.client
    )
    return Hop(who, name, options, keys)


def _connection(ssh: SshAccess) -> dict[str, Any]:
    """Nothing of the worker goes to a host, whatever the configuration of SSH says."""
    return {
        "agent_forwarding": False,
        "x11_forwarding": False,
        "send_env": None,
        "request_pty": False,
        "x509_trusted_certs": None,
        "encoding": None,
        # A connection that is silent for the timeout is broken.
        "keepalive_interval": ssh.connect_timeout_in_seconds / 3,
        "keepalive_count_max": 3,
    }


def _login(ssh: SshAccess) -> dict[str, Any]:
    """The key of the settings; without one, those of the user, as `ssh` finds them."""
    if key := _private_key(ssh):
        # The only key: others of an agent could use up the attempts that the host allows.
        return {"client_keys": [key], "agent_path": None}
    if ssh.certificate:
        raise ValueError("a certificate needs the private key that it belongs to, as text or path")
    return {"passphrase": ssh.passphrase.get_secret_value()} if ssh.passphrase else {}


def _private_key(ssh: SshAccess) -> Any:  # Any: what asyncssh takes as a key
    if ssh.private_key:
        text = ssh.private_key.get_secret_value()
    elif ssh.private_key_path:
        text = Path(ssh.private_key_path).expanduser().read_text()
    else:
        return None
    certificate = ssh.certificate or _certificate_beside(ssh)
    return _imported(text, ssh.passphrase.get_secret_value() if ssh.passphrase else None, certificate)


def _certificate_beside(ssh: SshAccess) -> str | None:
    """The certificate that OpenSSH would find, too."""
    if not ssh.private_key_path or ssh.private_key:
        return None
    path = Path(f"{ssh.private_key_path}-cert.pub").expanduser()
    return path.read_text() if path.exists() else None


@lru_cache(maxsize=8)
def _imported(text: str, passphrase: str | None, certificate: str | None) -> Any:
    """A passphrase takes a tenth of a second; a group has one key for all its hosts."""
    key = asyncssh.import_private_key(text, passphrase)
    return (key, asyncssh.import_certificate(certificate)) if certificate else key
