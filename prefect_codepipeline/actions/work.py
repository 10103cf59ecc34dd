"""Types for the work of actions and rules: cancellation and time limits, and the input and output trees."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted, MissingBlock
from prefect_codepipeline.model.record.artifacts import ArtifactFormat, StoredArtifact

_Found = TypeVar("_Found")


def required(find: Callable[[], _Found]) -> _Found:
    """What `find` returns. Raises `ActionFailed` with code `ConfigurationError` for its `MissingBlock`."""
    try:
        return find()
    except MissingBlock as error:
        raise ActionFailed(str(error), code="ConfigurationError") from None


class CancellationToken:
    """Set once when the execution is cancelled, or this process must leave it; ends every wait of a provider."""

    def __init__(self) -> None:
        self._fired = threading.Event()
        self._left = False

    def cancel(self) -> None:
        """The execution was cancelled or stopped: end its work."""
        self._fired.set()

    def leave(self) -> None:
        """This process must end, and another one continues the execution: leave work on other systems alone."""
        if not self._fired.is_set():
            self._left = True
            self._fired.set()

    @property
    def left(self) -> bool:
        return self._left

    @property
    def cancelled(self) -> bool:
        return self._fired.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until the execution is cancelled; whether it is cancelled."""
        return self._fired.wait(seconds)


@dataclass(frozen=True)
class InputTree:
    """An input artifact, unpacked and checked. Only this action uses `directory`, and may write to it.

    `stored` is the artifact in the store, by which it can be fetched again later.
    """

    name: str
    directory: Path
    format: ArtifactFormat = "CODE_ZIP"
    revision_id: str | None = None
    stored: StoredArtifact | None = None


class FetchedWhenUsed(Sequence[InputTree]):
    """Input artifacts that are fetched when the first of them is used: what only looks at its work needs none.

    Args:
        count: their number.
        fetch: fetches all of them. It may raise `ActionFailed`.
    """

    def __init__(self, count: int, fetch: Callable[[], Sequence[InputTree]]) -> None:
        self._count = count
        self._fetch = fetch
        self._lock = threading.Lock()
        self._trees: Sequence[InputTree] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> InputTree: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[InputTree]: ...
    def __getitem__(self, index: int | slice) -> InputTree | Sequence[InputTree]:
        with self._lock:
            if self._trees is None:
                self._trees = self._fetch()
            return self._trees[index]


@dataclass(frozen=True)
class OutputTree:
    """The content of an output artifact: `files` (relative, POSIX) below `directory`, or all of it if None."""

    directory: Path
    files: Sequence[str] | None = None
    format: ArtifactFormat = "CODE_ZIP"


class TimedWork(ABC):
    """Work of an action or a rule, which ends early when its execution is cancelled or its time is up."""

    deadline: float
    cancellation: CancellationToken
    logger: logging.Logger | logging.LoggerAdapter[Any]

    @property
    @abstractmethod
    def what(self) -> str:
        """The name of the action or rule, for messages."""

    @property
    def remaining_seconds(self) -> float:
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """Raise if the work must end.

        Raises:
            ActionAbandoned: the execution was cancelled; as `ActionInterrupted`, only this process ends.
            ActionFailed: with code `Timeout`, the deadline has passed.
        """
        if self.cancellation.left:
            raise ActionInterrupted(f"{self.what} was interrupted: the process that ran it had to end")
        if self.cancellation.cancelled:
            raise ActionAbandoned(f"{self.what} was abandoned: its execution was cancelled")
        if self.remaining_seconds <= 0:
            raise ActionFailed(f"{self.what} ran out of time and was ended", code="Timeout")
