"""Logins over SSH: from hop to hop on the way to a host. Hosts behind the same jump hosts share the connection to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import asyncssh

from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable
from prefect_codepipeline.actions.deploying.connections.ssh_access import Hop
from prefect_codepipeline.actions.deploying.connections.ssh_errors import unreachable
from prefect_codepipeline.model.codedeploy.group import SshAccess

SECONDS_TO_CLOSE = 2.0
# The connections to jump hosts of each event loop.
_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, _Jumps]] = WeakKeyDictionary()


@dataclass
class _Jumps:
    """The connections to jump hosts, one through the other, and how many logins use them."""

    opening: asyncio.Task[list[asyncssh.SSHClientConnection]]
    users: int = 0

    @property
    def is_usable(self) -> bool:
        if not self.opening.done():
            return True
        failed = self.opening.cancelled() or self.opening.exception()
        return not failed and not any(each.is_closed() for each in self.opening.result())


@dataclass
class Login:
    """A host that is logged in to."""

    connection: asyncssh.SSHClientConnection
    jumps: _Jumps | None

    async def end(self) -> None:
        """Close the connection; those to the jump hosts with the last login that uses them."""
        await _close(self.connection)
        if self.jumps:
            await _leave(self.jumps)


async def log_in(way: Sequence[Hop], ssh: SshAccess) -> Login:
    """Log in to the last hop of a way, through those before it.

    A jump host would drop many logins at once, and count each refused one.

    Raises:
        HostUnreachable: a hop cannot be reached, or refuses the login.
    """
    *before, host = way
    if not before:
        return Login(await _opened(host, None, ssh), None)
    jumps = _jumps(before, ssh)
    jumps.users += 1
    try:
        try:
            through = await asyncio.shield(jumps.opening)
        except HostUnreachable as error:
            raise error.on_the_way_to(host.who) from error
        return Login(await _opened(host, through[-1], ssh), jumps)
    except BaseException:
        await _leave(jumps)
        raise


def _jumps(before: Sequence[Hop], ssh: SshAccess) -> _Jumps:
    open_here = _shared.setdefault(asyncio.get_running_loop(), {})
    key = (ssh, *((hop.address, hop.port, hop.user) for hop in before))
    jumps = open_here.get(key)
    if jumps is None or not jumps.is_usable:
        jumps = open_here[key] = _Jumps(asyncio.create_task(_opened_in_turn(before, ssh)))
    return jumps


async def _leave(jumps: _Jumps) -> None:
    jumps.users -= 1
    if jumps.users:
        return
    open_here = _shared[asyncio.get_running_loop()]
    for key in [key for key, each in open_here.items() if each is jumps]:
        del open_here[key]
    jumps.opening.cancel()
    with suppress(HostUnreachable, asyncio.CancelledError):
        await _close_all(await jumps.opening)


async def _opened_in_turn(hops: Sequence[Hop], ssh: SshAccess) -> list[asyncssh.SSHClientConnection]:
    connections: list[asyncssh.SSHClientConnection] = []
    try:
        for hop in hops:
            connections.append(await _opened(hop, connections[-1] if connections else None, ssh))
    except BaseException:
        await _close_all(connections)
        raise
    return connections


async def _opened(
    hop: Hop, before: asyncssh.SSHClientConnection | None, ssh: SshAccess
) -> asyncssh.SSHClientConnection:
    seconds = ssh.connect_timeout_in_seconds
    try:
        async with asyncio.timeout(seconds):
            return await asyncssh.connect(
                tunnel=before, options=hop.options, host=hop.options.orig_host, config=None
            )
    except (asyncssh.Error, OSError, ValueError) as error:
        raise await unreachable(error, hop, before, seconds) from error


async def _close_all(connections: Sequence[asyncssh.SSHClientConnection]) -> None:
    for connection in reversed(connections):
        await _close(connection)


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection; one that is broken is left after two seconds."""
    connection.close()
    try:
        await asyncio.wait_for(connection.wait_closed(), SECONDS_TO_CLOSE)
    except TimeoutError:
        connection.abort()
