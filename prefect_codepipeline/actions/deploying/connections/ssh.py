"""The connection to a host over SSH, by asyncssh: many hosts in one thread."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import AsyncIterable, Callable, Sequence

import asyncssh

from prefect_codepipeline.actions.deploying.connections.connection import (
    KEPT_OF_ERRORS,
    Finished,
    HostUnreachable,
)
from prefect_codepipeline.actions.deploying.connections.logins import Login, log_in
from prefect_codepipeline.actions.deploying.connections.ssh_access import Hop, way_to
from prefect_codepipeline.actions.deploying.connections.ssh_errors import broken
from prefect_codepipeline.actions.deploying.connections.streams import (
    CHUNK,
    LineCutter,
    exchange,
    started,
)
from prefect_codepipeline.model.codedeploy.group import Host, SshAccess

SECONDS_TO_END = 10.0
# The login shell becomes this shell, and this the program: so the number of the process, which is also that of its
# group, is known before the program begins. What start files of the login shell print comes before the mark.
_RUN = 'printf "%s %s\\n" "$0" "$$"; exec "$@"'
# A host does not pass on signals for a login as root, so the group is ended by a command of its own.
_END = (
    'kill -s TERM -- "-$1" 2>/dev/null; n=0; '
    'while kill -s 0 -- "-$1" 2>/dev/null && [ $n -lt 10 ]; do n=$((n+1)); sleep 0.2; done; '
    'kill -s KILL -- "-$1" 2>/dev/null; exit 0'
)


async def open_ssh(host: Host, ssh: SshAccess) -> SshConnection:
    """Log in to a host, through its jump hosts. Raises `HostUnreachable`."""
    way = await asyncio.to_thread(way_to, host, ssh)
    return SshConnection(way, ssh, await log_in(way, ssh))


class SshConnection:
    """A host that is logged in to."""

    def __init__(self, way: Sequence[Hop], ssh: SshAccess, login: Login) -> None:
        self._way, self._ssh, self._login = way, ssh, login

    async def run(
        self, command: Sequence[str], feed: AsyncIterable[bytes], on_line: Callable[[bytes], None]
    ) -> Finished:
        mark = _Mark(on_line)
        program = shlex.join(["exec", "/bin/sh", "-c", _RUN, mark.text, *command])
        try:
            process = await started(self._started(program), lambda each: self._end(each, mark))
            try:
                errors = await exchange(process.stdin, mark.lines, process.stdout, process.stderr, feed)
                await process.wait_closed()
            except BaseException:
                await self._end(process, mark)
                raise
        except (asyncssh.Error, OSError) as error:
            raise broken(self._way[-1], error) from error
        errors = (errors + mark.noise)[-KEPT_OF_ERRORS:]
        if process.exit_signal:
            return Finished(None, process.exit_signal[0], errors)
        if process.exit_status is None:
            raise broken(self._way[-1], None)
        return Finished(process.exit_status, None, errors)

    async def close(self) -> None:
        await self._login.end()

    async def _started(self, program: str) -> asyncssh.SSHClientProcess[bytes]:
        return await self._login.connection.create_process(program, encoding=None)

    async def _end(self, process: asyncssh.SSHClientProcess[bytes], mark: _Mark) -> None:
        """End the program and its children, if the host can still be asked to."""
        try:
            async with asyncio.timeout(SECONDS_TO_END):
                while mark.process is None and (chunk := await process.stdout.read(CHUNK)):
                    mark.lines.add(chunk)
                if mark.process is not None:
                    await self._order(shlex.join(["exec", "/bin/sh", "-c", _END, "sh", mark.process]))
        except (asyncssh.Error, OSError, HostUnreachable):
            return  # the connection is broken, or the end took too long
        finally:
            process.close()

    async def _order(self, program: str) -> None:
        """Run a program that needs no streams, over a new connection if this one may have no further session."""
        try:
            await (await self._started(program)).wait_closed()
        except asyncssh.ChannelOpenError:
            login = await log_in(self._way, self._ssh)
            try:
                await (await login.connection.create_process(program, encoding=None)).wait_closed()
            finally:
                await login.end()


class _Mark:
    """The line that a program's output begins after: a text that cannot be known before, and the process number."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self.text = secrets.token_hex(8)
        self.process: str | None = None
        self.lines = LineCutter(self._receive)
        self._on_line = on_line
        self._before = b""

    @property
    def noise(self) -> str:
        """What was printed if the program did not begin, such as the words of `nologin`."""
        return "" if self.process else self._before.decode(errors="replace")

    def _receive(self, line: bytes) -> None:
        if self.process:
            self._on_line(line)
        elif self.text.encode() in line:
            self.process = line.split()[-1].decode()
        else:
            self._before = (self._before + line + b"\n")[-KEPT_OF_ERRORS:]
