"""Send things to a receiver that may be slow, limited or unavailable. The callers that queue them never wait for it.

An outbox has a thread, which sends one item at a time. Each kind of receiver has its own outbox: it says what is waiting
and when each item is due, how to send one, and what an answer means.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from prefect_codepipeline.engine.executions.pause import Pause
from prefect_codepipeline.prefect_api.runs import AnyLogger

FLUSH_SECONDS = 8.0
_SHORTEST_TIMEOUT = 0.1
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Outbox(ABC, Generic[Item, Answer]):
    """Sends what is waiting, each item when it is due. All times are in `time.monotonic()` seconds.

    Args:
        name: the name of the thread, which starts when something is queued.
        log: receives the warnings.
    """

    def __init__(self, name: str, log: AnyLogger) -> None:
        self._log = log
        # Held by each method that reads or changes what is waiting.
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._is_stopped = False
        # The pause after a failure, for each part of the receiver that can fail on its own.
        self._pauses: defaultdict[Hashable, Pause] = defaultdict(Pause)
        self._warned: set[Hashable] = set()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @abstractmethod
    def _waiting(self) -> Sequence[tuple[Item, float]]:
        """The items that are not sent yet and the times when they are due, the most urgent first.

        It is called with the lock, the methods below without.
        """

    @abstractmethod
    def _send(self, item: Item) -> Answer:
        """Send one item; may raise any exception."""

    @abstractmethod
    def _take_answer(self, item: Item, answer: Answer) -> None:
        """Take note of what the answer means for the item. An item that was sent must not be waiting any more."""

    @abstractmethod
    def _take_failure(self, item: Item, error: Exception) -> None:
        """Take note of what an exception from `_send` means: a pause, or that the item is not sent."""

    @abstractmethod
    def _conclude(self, left: int) -> None:
        """Called by `close`, with the number of items that could not be sent in time."""

    def _disconnect(self) -> None:
        """Called by the thread when it ends."""

    def end_by(self, deadline: float) -> None:
        """Send what is waiting until the deadline; returns at once."""
        with self._changed:
            self._deadline = deadline
            for pause in self._pauses.values():
                pause.cut_short()
            self._changed.notify()

    def close(self, deadline: float) -> None:
        """Wait until everything is sent, or until the deadline that `end_by` was given."""
        if self._thread.ident is not None:
            self._thread.join(timeout=max(0.0, deadline - time.monotonic()))
        with self._changed:
            left = 0 if self._is_stopped else len(self._waiting())
        self._conclude(left)

    def _wake(self) -> None:
        """Look again at what is waiting; called with the lock."""
        if self._thread.ident is None:
            self._thread.start()
        self._changed.notify()

    def _work(self) -> None:
        try:
            while (item := self._next()) is not None:
                try:
                    answer = self._send(item)
                except Exception as error:
                    self._take_failure(item, error)
                else:
                    self._take_answer(item, answer)
        except Exception as error:  # a bug must not fail the pipeline; the error's text may quote a secret
            self._stop(f"{self._thread.name} failed unexpectedly and sends no more: {type(error).__name__}")
        finally:
            self._disconnect()

    def _next(self) -> Item | None:
        """Wait for the next item that is due; None if nothing more can be sent."""
        with self._changed:
            while not self._is_stopped:
                now, waiting = time.monotonic(), self._waiting()
                soonest = min((due for _, due in waiting), default=None)
                if self._deadline is not None and (soonest is None or max(now, soonest) >= self._deadline):
                    return None
                if soonest is not None and soonest <= now:
                    return next(item for item, due in waiting if due <= now)
                self._changed.wait(None if soonest is None else soonest - now)
            return None

    def _timeout(self, longest: float) -> float:
        """The time limit of a request, which must not last longer than the outbox."""
        if self._deadline is None:
            return longest
        return max(_SHORTEST_TIMEOUT, min(longest, self._deadline - time.monotonic()))

    def _stop(self, text: str) -> None:
        """Send nothing more, and log why."""
        with self._changed:
            self._is_stopped = True
        self._warn("stopped", text)

    def _warn(self, kind: Hashable, text: str) -> None:
        """Log each kind of problem once."""
        with self._changed:
            is_new = kind not in self._warned
            self._warned.add(kind)
        if is_new:
            self._log.warning("%s", text)


def close_all(outboxes: Sequence[Outbox[Any, Any]], seconds: float = FLUSH_SECONDS) -> None:
    """Have all of them send what is waiting at the same time, for at most `seconds` together."""
    deadline = time.monotonic() + seconds
    for outbox in outboxes:
        outbox.end_by(deadline)
    for outbox in outboxes:
        outbox.close(deadline)
