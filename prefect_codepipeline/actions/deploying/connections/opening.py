"""Open the connection to a host: over SSH, or to this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect_codepipeline.actions.deploying.connections.connection import HostConnection
from prefect_codepipeline.actions.deploying.connections.local import LocalConnection
from prefect_codepipeline.errors import wrong_configuration
from prefect_codepipeline.model.codedeploy.group import Host, SshAccess, Where


@asynccontextmanager
async def connected(host: Host, ssh: SshAccess, where: Where | None) -> AsyncIterator[HostConnection]:
    """A connection to the host, for many calls, closed at the end.

    Raises:
        HostUnreachable: the host cannot be reached, or refuses the login, or its host key is not the known one.
        ActionFailed: with code `ConfigurationError`, the package for SSH is not installed.
    """
    connection = LocalConnection() if where == "local" else await _by_ssh(host, ssh)
    try:
        yield connection
    finally:
        await connection.close()


def require_asyncssh(host: Host) -> None:
    """Raise `ActionFailed` with code `ConfigurationError` if the package for SSH is not installed."""
    if importlib.util.find_spec("asyncssh") is None:
        raise wrong_configuration(
            f"host {host.name!r} is reached over SSH, and asyncssh is not installed here; install it with: "
            "pip install 'prefect-codepipeline[ssh]'"
        )


async def _by_ssh(host: Host, ssh: SshAccess) -> HostConnection:
    require_asyncssh(host)
    # asyncssh takes a third of a second to import, and is an extra.
    from prefect_codepipeline.actions.deploying.connections.ssh import open_ssh

    return await open_ssh(host, ssh)
