"""A shell on a host, for the terminal of a person, or for a script on the standard input."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from prefect_codepipeline.actions.commands.interactive import ignoring, raw_terminal
from prefect_codepipeline.actions.deploying.connections.local import clean_environment
from prefect_codepipeline.actions.deploying.connections.opening import require_asyncssh
from prefect_codepipeline.actions.deploying.connections.streams import CHUNK
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host

if TYPE_CHECKING:
    import asyncssh

# The folder, then the variables: values never become part of the program.
_PROGRAM = """\
case $1 in "~/"*) folder=$HOME/${1#"~/"};; *) folder=$1;; esac
shift
cd -- "$folder" || exit 1
if [ -t 0 ]; then exec env -- "$@" "${SHELL:-/bin/sh}" -i; fi
exec env -- "$@" /bin/sh"""


def shell_on(host: Host, group: DeploymentGroup, folder: str, variables: Mapping[str, str]) -> int:
    """Run a shell in a folder of a host, with these variables; its exit code.

    Raises:
        HostUnreachable: the host cannot be reached, or refuses the login.
        ActionFailed: with code `ConfigurationError`, the package for SSH is not installed.
    """
    given = [f"{name}={value}" for name, value in variables.items()]
    command = ["/bin/sh", "-c", _PROGRAM, "sh", folder, *given]
    if group.place == "local":
        return _here(command)
    require_asyncssh(host)
    from prefect_codepipeline.actions.deploying.connections.logins import log_in
    from prefect_codepipeline.actions.deploying.connections.ssh_access import way_to

    async def run() -> int:
        way = await asyncio.to_thread(way_to, host, group.ssh)
        login = await log_in(way, group.ssh)
        try:
            return await _session(login.connection, f"exec {shlex.join(command)}")
        finally:
            await login.end()

    return asyncio.run(run())


def _here(command: Sequence[str]) -> int:
    with (
        subprocess.Popen(command, env={**clean_environment(), **_terminal()}) as process,
        ignoring(signal.SIGINT),  # Ctrl-C is for the program in the shell
    ):
        return process.wait()


def _terminal() -> dict[str, str]:
    return {"TERM": os.environ.get("TERM", "dumb")} if sys.stdin.isatty() else {}


async def _session(connection: asyncssh.SSHClientConnection, command: str) -> int:
    """Connect the shell with the standard streams of this process, until it ends."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    terminal: dict[str, Any] = (
        {
            "request_pty": "force",
            "term_type": os.environ.get("TERM", "dumb"),
            "term_size": shutil.get_terminal_size(),
        }
        if is_terminal
        else {}
    )
    process = await connection.create_process(command, encoding=None, **terminal)
    window = raw_terminal(lambda size: process.change_terminal_size(*size)) if is_terminal else nullcontext()
    with window:
        # A read of the standard input cannot be ended, so it is in a thread that may be left.
        threading.Thread(target=_feed, args=(process, asyncio.get_running_loop()), daemon=True).start()
        await asyncio.gather(
            _copy(process.stdout, sys.stdout.buffer), _copy(process.stderr, sys.stderr.buffer)
        )
        await process.wait_closed()
    return 255 if process.exit_status is None else process.exit_status


def _feed(process: asyncssh.SSHClientProcess[bytes], loop: asyncio.AbstractEventLoop) -> None:
    """Hand the standard input of this process over to the shell, no faster than it takes it."""

    async def hand_over(data: bytes) -> None:
        if data:
            process.stdin.write(data)
            await process.stdin.drain()
        else:
            process.stdin.write_eof()

    with suppress(OSError, RuntimeError):  # the shell, or the loop, has ended
        data = b"-"
        while data:
            data = os.read(sys.stdin.fileno(), CHUNK)
            asyncio.run_coroutine_threadsafe(hand_over(data), loop).result()


async def _copy(source: asyncssh.SSHReader[bytes], target: BinaryIO) -> None:
    while data := await source.read(CHUNK):
        target.write(data)
        target.flush()
