"""The connection to this machine itself: a program is a child process, in a session of its own."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
from collections.abc import AsyncIterable, Callable, Sequence

from prefect_codepipeline.actions.deploying.connections.connection import Finished
from prefect_codepipeline.actions.deploying.connections.streams import (
    LineCutter,
    exchange,
    started,
)

# A shell's exit status for a program that is not there, or cannot be executed.
NOT_FOUND, NOT_EXECUTABLE = 127, 126
SECONDS_TO_END = 2.0


class LocalConnection:
    """Runs programs on this machine, with nothing of the worker's environment but its user, PATH and LANG."""

    async def run(
        self, command: Sequence[str], feed: AsyncIterable[bytes], on_line: Callable[[bytes], None]
    ) -> Finished:
        try:
            process = await started(_started(command), _end)
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            return Finished(status, None, f"{command[0]}: {error.strerror}")
        into, out, err = process.stdin, process.stdout, process.stderr
        assert into is not None
        assert out is not None
        assert err is not None
        try:
            errors = await exchange(into, LineCutter(on_line), out, err, feed)
            return _finished(await process.wait(), errors)
        finally:
            await _end(process)

    async def close(self) -> None:
        """Nothing is open between calls."""


async def _started(command: Sequence[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(),
        cwd="/",
        start_new_session=True,
    )


def clean_environment() -> dict[str, str]:
    """What a login over SSH would have, too."""
    user = _user()
    return {
        "HOME": os.environ.get("HOME", "/"),
        "USER": user,
        "LOGNAME": user,
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return str(os.getuid())


def _finished(code: int, errors: str) -> Finished:
    if code >= 0:
        return Finished(code, None, errors)
    return Finished(None, signal.Signals(-code).name.removeprefix("SIG"), errors)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the program and its children if the call was cancelled or failed."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            await asyncio.wait_for(process.wait(), SECONDS_TO_END)
            break
        except TimeoutError:
            continue
