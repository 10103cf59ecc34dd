"""Run a command of a deployment group over a connection, to this machine or to a host, with a time limit.

No shell reads the command. It gets the variables named here and what a login of the user has, and nothing of the worker's
environment. It is ended with all that it started, also if the worker dies (`guard`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.deploying.commands import guard
from prefect_codepipeline.actions.deploying.connections.connection import HostConnection
from prefect_codepipeline.actions.deploying.connections.local import LocalConnection

MOST_BYTES = 65_536
GRACE_SECONDS = 5.0
# The program on the host counts the time of the command; so long later it counts as hanging itself.
_SLACK_SECONDS = 30.0
_SHOWN_CHARACTERS = 500
# Beyond the limit there is the end of the output, and what stands before each line.
_SLACK_BYTES = 200_000


@dataclass(frozen=True)
class Runner:
    """Where commands run, and the Python there."""

    connection: HostConnection
    python: str
    place: str

    @classmethod
    def on_worker(cls) -> Runner:
        """The worker's own machine."""
        return cls(LocalConnection(), sys.executable, "the worker")


@dataclass(frozen=True)
class Ended:
    """How a command ended; at least one field says it. `output` is what it printed, the middle left out if it is long."""

    exit_status: int | None = None
    signal: str | None = None
    timed_out: bool = False
    error: str | None = None
    output: str = field(default="", repr=False)

    @property
    def succeeded(self) -> bool:
        return self.exit_status == 0 and not self.timed_out

    @property
    def code(self) -> str:
        """CodeDeploy's code for the diagnostics of a script."""
        if self.timed_out:
            return "ScriptTimedOut"
        return "ScriptMissing" if self.error else "ScriptFailed"

    def how(self, seconds: float) -> str:
        """How it ended, for a sentence about the command. `seconds` was its limit."""
        if self.error:
            return f"could not be started: {self.error}"
        if self.timed_out:
            return f"did not end within {seconds:g} seconds and was ended"
        return f"was ended by {self.signal}" if self.signal else f"exited with {self.exit_status}"

    def last_words(self) -> str:
        """The end of its output, for the end of a sentence; empty if there is none."""
        text = " / ".join(line.strip() for line in self.output.splitlines()[-5:] if line.strip())
        return f"; its last output: {text[-_SHOWN_CHARACTERS:]}" if text else ""


async def run_command(
    runner: Runner,
    command: Sequence[str],
    variables: Mapping[str, str],
    seconds: float,
    *,
    most_bytes: int = MOST_BYTES,
) -> Ended:
    """Run a command to its end, or that of its time. If the call is cancelled, the command is ended first.

    Raises:
        HostUnreachable: the connection broke, and the command is ended by the host itself.
    """
    call = _Call(command, variables, seconds, most_bytes)
    running = asyncio.create_task(_run(runner, call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        call.ends.set()
        with suppress(Exception):
            await asyncio.wait_for(running, GRACE_SECONDS + 5)
        raise


async def _run(runner: Runner, call: _Call) -> Ended:
    # Isolated: in the folder of a login there may be files that are named as modules of Python.
    command = [runner.python, "-I", "-S", "-c", _guard()]
    running = runner.connection.run(command, call.feed(), call.receive)
    try:
        finished = await asyncio.wait_for(running, call.seconds + GRACE_SECONDS + _SLACK_SECONDS)
    except TimeoutError:
        return Ended(timed_out=True, output=call.output)
    if call.ended is None:
        error = finished.errors.strip() or f"{runner.python} exited with {finished.exit_status}"
        return Ended(error=error[-_SHOWN_CHARACTERS:])
    ended = call.ended
    return Ended(
        exit_status=ended.get("exit_status"),
        signal=ended.get("signal"),
        timed_out=bool(ended.get("timed_out")),
        error=ended.get("error"),
        output=call.output,
    )


class _Call:
    """What is sent to the program on the host, and what comes back."""

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], seconds: float, most_bytes: int
    ) -> None:
        self.command, self.variables, self.seconds, self.most_bytes = command, variables, seconds, most_bytes
        self.ends = asyncio.Event()
        self.ended: dict[str, Any] | None = None
        # The program on the host keeps the limit; a host that is not itself does not.
        self._left = most_bytes + _SLACK_BYTES
        self._lines: list[bytes] = []

    @property
    def output(self) -> str:
        return b"\n".join(self._lines).decode(errors="replace")

    async def feed(self) -> AsyncIterator[bytes]:
        """The call; then the input stays open, for its end is what ends the command."""
        call = {
            "command": list(self.command),
            "environment": dict(self.variables),
            "seconds": self.seconds,
            "grace": GRACE_SECONDS,
            "bytes": self.most_bytes,
        }
        yield json.dumps(call).encode() + b"\n"
        await self.ends.wait()

    def receive(self, line: bytes) -> None:
        if line.startswith(b"|"):
            self._left -= len(line)
            if self._left >= 0:
                self._lines.append(line[1:])
        elif ended := _read_end(line):
            self.ended = ended
            self.ends.set()


def _read_end(line: bytes) -> dict[str, Any] | None:
    """How the command ended, or None: a login shell may print lines of its own."""
    try:
        ended = json.loads(line)
    except ValueError:
        return None
    return ended if isinstance(ended, dict) and "cut" in ended else None


@cache
def _guard() -> str:
    return Path(guard.__file__).read_text(encoding="utf-8")
