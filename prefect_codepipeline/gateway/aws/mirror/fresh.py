"""A value from Prefect that many answers use, never older than a second, and never older than one that was used before."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.prefect_api.client import within

MOST_SECONDS = 1.0
# A value of that age is read again beside the answer, so that a client that asks all the time never waits for Prefect.
_AHEAD_SECONDS = 0.6
# AWS's clients expect an answer, or that the service is unavailable, long before their own limit of 60 s.
PREFECT_SECONDS = 4.0
_beside = ThreadPoolExecutor(2, thread_name_prefix="mirror")
_logger = logging.getLogger("codepipeline.gateway")
T = TypeVar("T")


class Fresh(Generic[T]):
    """A value that is read when it is asked for and is too old. Of many threads that ask, one reads it.

    Args:
        read: reads the value.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._known: tuple[float, T] | None = None  # when the reading began
        self._failed: tuple[float, Exception] | None = None
        self._expired_at = 0.0
        self._lock = threading.Lock()
        self._is_ahead = False

    def get(self) -> T:
        """The value. Raises what reading it raises."""
        asked = time.monotonic()
        known = self._known
        if known and self._is_fresh(known[0], asked):
            if asked - known[0] > _AHEAD_SECONDS and not self._is_ahead:
                self._is_ahead = True
                _beside.submit(self._read_ahead)
            return known[1]
        with self._lock:
            known = self._known
            if known and self._is_fresh(known[0], asked):
                return known[1]
            if self._failed and self._failed[0] >= asked:  # for all who waited meanwhile
                raise self._failed[1]
            return self._read_now()

    def expire(self) -> None:
        """Have the next one who asks read the value anew: something has changed."""
        self._expired_at = time.monotonic()

    @property
    def read_at(self) -> float:
        """When the value was last read, by the monotonic clock; 0 if never."""
        return self._known[0] if self._known else 0.0

    def _is_fresh(self, began: float, now: float) -> bool:
        return began > now - MOST_SECONDS and began > self._expired_at

    def _read_now(self) -> T:
        began = time.monotonic()
        try:
            with within(PREFECT_SECONDS):
                value = self._read()
        except Exception as error:
            self._failed = (began, error)
            raise
        self._known = (began, value)
        return value

    def _read_ahead(self) -> None:
        try:
            with self._lock:
                self._read_now()
        except CodePipelineError as error:
            _logger.debug("the mirror did not read ahead: %s", error)
        except Exception:
            _logger.exception("the mirror failed unexpectedly; it will read again")
        finally:
            self._is_ahead = False
