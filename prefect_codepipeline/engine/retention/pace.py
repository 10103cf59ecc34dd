"""How fast retention works: a server and a store that are busy with executions must not notice it."""

from __future__ import annotations

import threading
import time

# Requests to Prefect and to artifact stores, together.
REQUESTS_PER_SECOND = 20.0


class StoppedError(Exception):
    """The process is to end. The next round does the rest."""


class Pace:
    """Waits before each request until it may be sent.

    Args:
        stop: ends the work between two requests when it is set.
        per_second: how many requests are sent in a second at most.
    """

    def __init__(self, stop: threading.Event | None = None, per_second: float = REQUESTS_PER_SECOND) -> None:
        self._stop = stop or threading.Event()
        self._seconds = 1 / per_second
        self._next = time.monotonic()

    def wait(self, requests: int = 1) -> None:
        """Wait for the turn of so many requests. Raises `StoppedError`."""
        now = time.monotonic()
        self._next = max(self._next, now) + requests * self._seconds
        if self._stop.wait(self._next - requests * self._seconds - now):
            raise StoppedError
