"""Follow the changes of an execution in a separate thread. The follower may lag; the execution never waits for it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType

from prefect_codepipeline.engine.executions.process import Execution


class Follower(ABC):
    """Reads an execution after its facts have changed, and once more when the `with` block ends.

    Args:
        execution: the execution to follow.
        name: the name of the thread.
        pause_seconds: the wait after a change for the rest of a burst of facts.
    """

    def __init__(self, execution: Execution, name: str, pause_seconds: float) -> None:
        self._execution = execution
        self._pause_seconds = pause_seconds
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)

    def __enter__(self) -> Follower:
        self._execution.listeners.append(lambda _: self._changed.set())
        self._changed.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._changed.set()
        self._thread.join(timeout=10)

    @abstractmethod
    def _follow(self) -> None:
        """Iterate over `_changes()`."""

    def _changes(self) -> Iterator[None]:
        ended = False
        while not ended:
            self._changed.wait()
            ended = self._ended.wait(self._pause_seconds)
            self._changed.clear()
            yield
