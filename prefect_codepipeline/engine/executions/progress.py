"""What an action says of itself while it runs, written down often enough to be seen, and not more often."""

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
# The longer an action runs, the more seldom it is written down: some 180 times in a day.
PAUSE_PER_SECOND = 0.05
SUMMARY_LENGTH = 2048
_logger = logging.getLogger(__name__)


class ProgressReport:
    """Takes what a provider reports; the last of several reports that come within the pause is the one that counts.

    Args:
        write: keeps a fact.
        number: of the last report of the same action execution, which an earlier process may have made.
        identity: what the facts of this action execution have in common.
    """

    def __init__(self, write: Callable[[ActionProgressed], Any], number: int, **identity: Any) -> None:
        self._write = write
        self._number = number
        self._identity = identity
        self._began = time.monotonic()
        self._written_at = float("-inf")
        self._said: dict[str, Any] = {}
        self._written: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._over = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
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
        """Say how it goes; what is left out is as it was said before. `percent` is between 0 and 100."""
        news = {
            "summary": summary[:SUMMARY_LENGTH] or None,
            "percent_complete": percent if percent is None else min(max(percent, 0), 100),
            "external_execution_id": external_id,
            "external_execution_url": url,
        }
        with self._changed:
            self._said.update({key: value for key, value in news.items() if value is not None})
            if self._thread is None and not self._over:
                self._thread = threading.Thread(
                    target=self._follow, name="codepipeline-progress", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def _follow(self) -> None:
        while said := self._next():
            self._number += 1
            fact = ActionProgressed(at=utc_now(), number=self._number, **self._identity, **said)
            try:
                self._write(fact)
            except CodePipelineError as error:  # the action goes on, and so may its next report
                _logger.warning("how far an action is could not be written down: %s", error)
            self._written, self._written_at = said, time.monotonic()

    def _next(self) -> dict[str, Any] | None:
        """What is to be written next, once its time has come; None when the action is over."""
        with self._changed:
            while not self._over:
                left = self._written_at + self._pause() - time.monotonic()
                if self._said == self._written:
                    self._changed.wait()
                elif left > 0:
                    self._changed.wait(left)
                else:
                    return dict(self._said)
        return None

    def _pause(self) -> float:
        return max(SHORTEST_PAUSE_SECONDS, PAUSE_PER_SECOND * (time.monotonic() - self._began))
