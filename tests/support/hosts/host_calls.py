"""Run programs on hosts from tests that are not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from prefect_codepipeline.actions.deploying.connections.connection import Finished, HostConnection
from prefect_codepipeline.actions.deploying.connections.opening import connected
from prefect_codepipeline.model.codedeploy.group import Host, SshAccess, Where


async def fed(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def run_on(
    host: Host, ssh: SshAccess, command: Sequence[str], feed: bytes = b"", where: Where = "hosts"
) -> tuple[Finished, list[bytes]]:
    """One program over a connection of its own: how it ended, and its lines."""

    async def run() -> tuple[Finished, list[bytes]]:
        async with connected(host, ssh, where) as connection:
            return await run_over(connection, command, feed)

    return asyncio.run(run())


async def run_over(
    connection: HostConnection, command: Sequence[str], feed: bytes = b""
) -> tuple[Finished, list[bytes]]:
    lines: list[bytes] = []
    return await connection.run(command, fed(feed), lines.append), lines


async def happens(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition without keeping the connections from working."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
