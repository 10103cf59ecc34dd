"""Turns of requests whose bodies are read into memory: few at once, and clients that send slowly delay no others."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

# A turn is certain for this long, in which any large body of a git host arrives. Then it may go to an address with fewer.
SURE_SECONDS = 1.0
_LOOK_SECONDS = 0.25


class NoTurn(Exception):  # noqa: N818  # answered with 503, not an error of the service
    """The turn did not come in time."""


class TurnLost(Exception):  # noqa: N818  # answered with 429, not an error of the service
    """The body arrived slowly, and the turn went to another address."""


@dataclass(eq=False)
class Turn:
    """A request whose body is read, or that waits for it."""

    source: str
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    admitted: anyio.Event = field(default_factory=anyio.Event)
    since: float = 0.0

    def keep(self) -> None:
        """Let nothing take this turn away any more: the body has arrived."""
        self.since = math.inf


class Turns:
    """The turns, in one event loop.

    Args:
        most: at once.
        most_of_source: of one address; its further requests wait.
    """

    def __init__(self, most: int, most_of_source: int) -> None:
        self._most = most
        self._most_of_source = most_of_source
        self._reading: list[Turn] = []
        self._waiting: list[Turn] = []

    @asynccontextmanager
    async def turn(self, source: str, seconds: float) -> AsyncIterator[Turn]:
        """Wait for a turn, at most `seconds`. The block may be cancelled until it calls `keep`.

        Raises:
            NoTurn: it did not come.
            TurnLost: another address got it during the block.
        """
        own = Turn(source)
        self._waiting.append(own)
        try:
            await self._wait(own, seconds)
            with own.scope:
                yield own
        finally:
            for turns in (self._waiting, self._reading):
                if own in turns:
                    turns.remove(own)
            self._admit()
        if own.scope.cancelled_caught:
            raise TurnLost

    async def _wait(self, own: Turn, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._admit()
        while not own.admitted.is_set():
            if time.monotonic() > until:
                raise NoTurn
            with anyio.move_on_after(_LOOK_SECONDS):
                await own.admitted.wait()
            self._admit()

    def _admit(self) -> None:
        """Give the free turns, and those that can be taken away, to who waits: the address with the fewest first."""
        while self._waiting:
            has = Counter(turn.source for turn in self._reading)
            first = min(self._waiting, key=lambda turn: has[turn.source])
            if has[first.source] >= self._most_of_source:
                return
            if len(self._reading) >= self._most and not self._take_away(has, has[first.source]):
                return
            self._waiting.remove(first)
            self._reading.append(first)
            first.since = time.monotonic()
            first.admitted.set()

    def _take_away(self, has: Counter[str], fewer: int) -> bool:
        """End the oldest turn of the address with the most turns, if it has more than `fewer`; whether there was one."""
        until = time.monotonic() - SURE_SECONDS
        old = [turn for turn in self._reading if turn.since <= until and has[turn.source] > fewer]
        if not old:
            return False
        slow = max(old, key=lambda turn: has[turn.source])
        self._reading.remove(slow)
        slow.scope.cancel()
        return True
