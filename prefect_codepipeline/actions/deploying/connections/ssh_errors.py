"""What went wrong with a connection over SSH, in words for the user, and whether trying again can help."""

from __future__ import annotations

import asyncio
import os
import socket

import asyncssh

from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable
from prefect_codepipeline.actions.deploying.connections.host_keys import Place
from prefect_codepipeline.actions.deploying.connections.ssh_access import Hop

# The two reasons that a look at the host's key explains better.
_UNKNOWN = ("Host key is not trusted", "Host CA key is not trusted")
_TOO_MANY_KEYS = "Too many authentication failures"


async def unreachable(
    error: Exception, hop: Hop, before: asyncssh.SSHClientConnection | None, seconds: float
) -> HostUnreachable:
    """The error for a host that could not be logged in to."""
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        if not error.reason.startswith(_UNKNOWN):
            return HostUnreachable(f"{hop.who}: its host key is refused: {error.reason}", permanent=True)
        place = Place(str(hop.options.host_key_alias or hop.address), hop.port)
        presented = hop.keys.presented or await presented_key(hop, before)
        return hop.keys.refusal(hop.who, hop.name, place, presented)
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return HostUnreachable(f"{_connecting(hop)}: {error.reason}", permanent=True)
    if _TOO_MANY_KEYS in str(error):
        return HostUnreachable(
            f"{hop.who} refuses the login of user {hop.user!r} after too many keys; name the right key in its settings",
            permanent=True,
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return HostUnreachable(
            f"{hop.who} refuses the login of user {hop.user!r}; check the user, and that the host accepts the private key",
            permanent=True,
        )
    reason = _reason(error)
    if isinstance(error, TimeoutError) and not error.errno:
        reason = f"no answer within {seconds:g} seconds"
    return HostUnreachable(f"{_connecting(hop)}: {reason}")


def broken(hop: Hop, error: Exception | None) -> HostUnreachable:
    """The error for a connection that broke in a call, or over which no further program can be started."""
    if isinstance(error, asyncssh.ChannelOpenError):
        return HostUnreachable(
            f"{hop.who} starts no further program for this connection: {_reason(error)}; its sshd may have reached "
            "MaxSessions"
        )
    return HostUnreachable(
        f"the connection to {hop.who} broke{f': {_reason(error)}' if error and _reason(error) else ''}"
    )


async def presented_key(hop: Hop, before: asyncssh.SSHClientConnection | None) -> asyncssh.SSHKey | None:
    """The host key that a host presents now, which is not trusted by that; None if it cannot be read."""
    options = hop.options
    try:
        async with asyncio.timeout(options.keepalive_interval * options.keepalive_count_max):
            return await asyncssh.get_server_host_key(
                options.orig_host, options.port, tunnel=before, config=None, options=options
            )
    except (asyncssh.Error, OSError, ValueError):
        return None


def _connecting(hop: Hop) -> str:
    through = f", through jump host {hop.through!r}" if hop.through else ""
    return f"cannot connect to {hop.who}, at {hop.address}, port {hop.port}{through}"


def _reason(error: Exception | None) -> str:
    if isinstance(error, asyncssh.Error):
        return error.reason
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error)
    return str(error or "")
