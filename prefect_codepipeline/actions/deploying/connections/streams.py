"""The three streams of a program on a host: it is fed, its lines are handed over, the end of its errors is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from prefect_codepipeline.actions.deploying.connections.connection import KEPT_OF_ERRORS, LONGEST_LINE

CHUNK = 65_536
Process = TypeVar("Process")


class Readable(Protocol):
    """A stream of asyncio or of asyncssh."""

    async def read(self, n: int = -1) -> bytes: ...


class Writable(Protocol):
    """A stream of asyncio or of asyncssh."""

    def write(self, data: bytes) -> None: ...

    def write_eof(self) -> None: ...

    async def drain(self) -> None: ...


async def started(
    starting: Coroutine[Any, Any, Process], end: Callable[[Process], Awaitable[None]]
) -> Process:
    """Start a program. If the call is cancelled meanwhile, the program is there, or will be: it is ended."""
    task = asyncio.create_task(starting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.exception():
            await end(task.result())
        raise


async def exchange(
    into: Writable, lines: LineCutter, out: Readable, err: Readable, feed: AsyncIterable[bytes]
) -> str:
    """Feed a program and read it until it closes its output; the end of its errors. What is left of the feed is dropped."""
    feeder = asyncio.create_task(_feed(into, feed))
    reader = asyncio.create_task(_read_lines(out, lines))
    errors = asyncio.create_task(_read_tail(err))
    tasks = [feeder, reader, errors]
    try:
        waiting = {*tasks}
        while not (reader.done() and errors.done()):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return errors.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(into: Writable, feed: AsyncIterable[bytes]) -> None:
    async for chunk in feed:
        try:
            into.write(chunk)
            await into.drain()
        except OSError:
            return  # the program has closed its input; how it ends says why
    try:
        into.write_eof()
    except OSError:
        return


async def _read_lines(out: Readable, lines: LineCutter) -> None:
    while chunk := await out.read(CHUNK):
        lines.add(chunk)
    lines.close()


async def _read_tail(err: Readable) -> str:
    # A character has up to four bytes.
    kept = b""
    while chunk := await err.read(CHUNK):
        kept = (kept + chunk)[-4 * KEPT_OF_ERRORS :]
    return kept.decode(errors="replace")[-KEPT_OF_ERRORS:]


class LineCutter:
    """Cuts chunks into lines. Of a line only the first `LONGEST_LINE` bytes are kept."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._line = bytearray()

    def add(self, chunk: bytes) -> None:
        """Hand over the lines that end in this chunk."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._extend(part)
            self._hand_over()
        self._extend(rest)

    def close(self) -> None:
        """Hand over a last line without a newline."""
        if self._line:
            self._hand_over()

    def _extend(self, part: bytes) -> None:
        self._line += part[: LONGEST_LINE - len(self._line)]

    def _hand_over(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        self._on_line(line)
