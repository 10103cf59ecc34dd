"""The worker's side of the fork server (`fork_server.py`): starts it, requests forks, replaces it, ends it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

from prefect_codepipeline.actions.commands.hidden_environment import visible_environment
from prefect_codepipeline.deployments.worker.fingerprint import fingerprint
from prefect_codepipeline.deployments.worker.prefect_internals import usual_environment

_MODULE = "prefect_codepipeline.deployments.worker.fork_server"
Answers = asyncio.Queue[dict[str, Any] | None]


class Child:
    """A process that the fork server has forked."""

    def __init__(self, pid: int, answers: Answers) -> None:
        self.pid = pid
        self._answers = answers

    async def exit_code(self) -> int:
        """Wait until it has ended; if the fork server dies, so does the child."""
        if answer := await self._answers.get():
            return int(answer["exit"])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return -signal.SIGKILL


class ForkClient:
    """The fork server. It is restarted after it died, or when the installed code differs from the imported code."""

    def __init__(self) -> None:
        self._current: _ForkServer | None = None
        self._retired: list[_ForkServer] = []
        self._starting = asyncio.Lock()
        self.stopped = False

    @contextlib.asynccontextmanager
    async def fork(self, **request: Any) -> AsyncIterator[Child]:
        """A child for the request, with the code of the last `ready`. Raises `RuntimeError` if it cannot be forked."""
        server = self._current
        if self.stopped or not server or not server.is_alive:
            server = await self.ready()
        with server.asked(request) as answers:
            answer = await answers.get() or {"error": "the fork server has died"}
            if "error" in answer:
                raise RuntimeError(answer["error"])
            yield Child(answer["pid"], answers)

    async def ready(self) -> _ForkServer:
        """A fork server with the current code. Raises `RuntimeError` if it does not start."""
        async with self._starting:
            if self.stopped:
                raise RuntimeError("the worker is being stopped")
            current = self._current
            if current and current.is_alive and current.code == fingerprint():
                return current
            if current:
                current.retire()
                self._retired = [old for old in (*self._retired, current) if old.has_process]
            self._current = _ForkServer()
            await self._current.start()
            return self._current

    async def stop(self) -> None:
        """End the fork servers and their children, and wait until they have ended."""
        self.stopped = True
        servers = [server for server in (self._current, *self._retired) if server]
        await asyncio.gather(*(server.stop() for server in servers))


class _ForkServer:
    """One fork server process, and the socket to it."""

    def __init__(self) -> None:
        self.code = fingerprint()
        self._numbers = itertools.count()
        self._asked: dict[int, Answers] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *_options(), "-m", _MODULE, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                env=visible_environment(),
                pass_fds=[theirs.fileno()],
            )
        # Not as its environment, which a build can read.
        self._writer.write(json.dumps({**os.environ, **usual_environment()}).encode() + b"\n")
        if not await reader.readline():
            await self._process.wait()
            raise RuntimeError("the fork server did not start; see the worker's log")
        self._listening = asyncio.create_task(self._listen(reader))

    @property
    def is_alive(self) -> bool:
        return self.has_process and self._listening is not None and not self._listening.done()

    @property
    def has_process(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @contextlib.contextmanager
    def asked(self, request: dict[str, Any]) -> Any:
        """Send a request. Its answers arrive in the queue; None means that no more will arrive."""
        number = next(self._numbers)
        answers = self._asked[number] = asyncio.Queue()
        try:
            self._writer.write(json.dumps({**request, "number": number}).encode() + b"\n")
            yield answers
        finally:
            del self._asked[number]

    def retire(self) -> None:
        """Request that it accepts no more requests and ends after its last run."""
        if self.is_alive:
            self._writer.write(b'{"retire": true}\n')

    async def stop(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        await self._process.wait()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            async for line in reader:
                answer = json.loads(line)
                if asker := self._asked.get(answer["number"]):
                    asker.put_nowait(answer)
        self._writer.close()
        for asker in self._asked.values():
            asker.put_nowait(None)


def _options() -> list[str]:
    """The options `-X` of this process: by one of them, people find the processes of an embedded set-up."""
    return [
        part
        for name, value in sys._xoptions.items()
        for part in ("-X", name if value is True else f"{name}={value}")
    ]
