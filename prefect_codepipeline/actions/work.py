"""What the work of actions and rules has in common: its end before time, and the trees it takes and makes."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, MissingBlock
from prefect_codepipeline.model.record.artifacts import ArtifactFormat

_Found = TypeVar("_Found")


def required(find: Callable[[], _Found]) -> _Found:
    """What `find` returns. Raises `ActionFailed` with code `ConfigurationError` for its `MissingBlock`."""
    try:
        return find()
    except MissingBlock as error:
        raise ActionFailed(str(error), code="ConfigurationError") from None


class CancellationToken:
    """Fired once when the execution is cancelled; every wait of a provider ends then."""

    def __init__(self) -> None:
        self._fired = threading.Event()

    def cancel(self) -> None:
        self._fired.set()

    @property
    def cancelled(self) -> bool:
        return self._fired.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, less when cancelled; True when it is."""
        return self._fired.wait(seconds)


@dataclass(frozen=True)
class InputTree:
    """An input artifact, unpacked and checked: `directory` belongs to this action alone and may be written to."""

    name: str
    directory: Path
    format: ArtifactFormat = "CODE_ZIP"
    revision_id: str | None = None


@dataclass(frozen=True)
class OutputTree:
    """What becomes an output artifact: `files` (relative, POSIX) below `directory`, all of it when None."""

    directory: Path
    files: Sequence[str] | None = None
    format: ArtifactFormat = "CODE_ZIP"


class TimedWork(ABC):
    """What ends the work of an action or a rule early: the end of its execution, and that of its time."""

    deadline: float
    cancellation: CancellationToken
    logger: logging.Logger | logging.LoggerAdapter[Any]

    @property
    @abstractmethod
    def what(self) -> str:
        """What works, for messages."""

    @property
    def remaining_seconds(self) -> float:
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """Leave when there is no point in going on.

        Raises:
            ActionAbandoned: the execution was cancelled.
            ActionFailed: with code `Timeout`, the deadline is past.
        """
        if self.cancellation.cancelled:
            raise ActionAbandoned(f"{self.what} was abandoned: its execution was cancelled")
        if self.remaining_seconds <= 0:
            raise ActionFailed(f"{self.what} ran out of time and was ended", code="Timeout")
