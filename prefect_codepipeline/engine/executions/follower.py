"""Follow an execution in a thread of its own: what follows may lag, and what it follows never waits for it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType

from prefect_codepipeline.engine.executions.process import Execution


class Follower(ABC):
    """Looks at an execution when its facts have changed, and once more when the block ends.

    Args:
        execution: what is followed.
        name: of the thread.
        pause_seconds: facts come in bursts; so long it waits for the rest of one.
    """

    def __init__(self, execution: Execution, name: str, pause_seconds: float) -> None:
        self._execution = execution
        self._pause_seconds = pause_seconds
        self._changed = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)

    def __enter__(self) -> Follower:
        self._execution.listeners.append(lambda _: self._changed.set())
        self._changed.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._changed.set()
        self._thread.join(timeout=10)

    @abstractmethod
    def _follow(self) -> None:
        """Go through `_changes()`."""

    def _changes(self) -> Iterator[None]:
        over = False
        while not over:
            self._changed.wait()
            over = self._over.wait(self._pause_seconds)
            self._changed.clear()
            yield
