"""What is served by an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future
from typing import Self


class OwnLoop(ABC):
    """Served from the beginning of a `with` block to its end. `_serve` sets `_ends` and the result of `started`."""

    _ends: asyncio.Event

    def __enter__(self) -> Self:
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        self._loop = started.result(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join(20)

    @abstractmethod
    async def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None: ...
