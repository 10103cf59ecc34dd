"""Record the progress that an action reports while it runs, at a limited rate."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.record.facts import ActionProgressed

SHORTEST_PAUSE_SECONDS = 2.0
# The longer an action runs, the less often its progress is recorded: about 180 times in a day.
PAUSE_PER_SECOND = 0.05
SUMMARY_LENGTH = 2048
_logger = logging.getLogger(__name__)


class ProgressReport:
    """Takes the reports of a provider; of several reports within the pause, only the last one is recorded.

    Args:
        write: writes a fact to the record.
        number: of the last report of the same action execution, which may be from an earlier process.
        identity: the fields that identify this action execution, for its facts.
    """

    def __init__(self, write: Callable[[ActionProgressed], Any], number: int, **identity: Any) -> None:
        self._write = write
        self._number = number
        self._identity = identity
        self._started_at = time.monotonic()
        self._written_at = float("-inf")
        self._reported: dict[str, Any] = {}
        self._written: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join(timeout=10)

    def __call__(
        self,
        summary: str = "",
        percent: int | None = None,
        external_id: str | None = None,
        url: str | None = None,
    ) -> None:
        """Report progress; an argument that is left out keeps its last value. `percent` is between 0 and 100."""
        news = {
            "summary": summary[:SUMMARY_LENGTH] or None,
            "percent_complete": percent if percent is None else min(max(percent, 0), 100),
            "external_execution_id": external_id,
            "external_execution_url": url,
        }
        with self._changed:
            self._reported.update({key: value for key, value in news.items() if value is not None})
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._follow, name="codepipeline-progress", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def _follow(self) -> None:
        while report := self._next():
            self._number += 1
            fact = ActionProgressed(at=utc_now(), number=self._number, **self._identity, **report)
            try:
                self._write(fact)
            except CodePipelineError as error:  # the action continues, and the next report may succeed
                _logger.warning("the progress of an action could not be recorded: %s", error)
            self._written, self._written_at = report, time.monotonic()

    def _next(self) -> dict[str, Any] | None:
        """Wait until a report is due; None when the action has ended."""
        with self._changed:
            while not self._closed:
                left = self._written_at + self._pause() - time.monotonic()
                if self._reported == self._written:
                    self._changed.wait()
                elif left > 0:
                    self._changed.wait(left)
                else:
                    return dict(self._reported)
        return None

    def _pause(self) -> float:
        return max(SHORTEST_PAUSE_SECONDS, PAUSE_PER_SECOND * (time.monotonic() - self._started_at))
