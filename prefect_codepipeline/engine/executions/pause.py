"""The pause before the next try: longer after each failure, or as long as the receiver says."""

from __future__ import annotations

import random
import re
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
_LONGEST_RETRY_AFTER = 3600.0
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


class Pause:
    """Doubles with each failure. A random part keeps senders that failed together from trying again together.

    Args:
        longest: the longest pause in seconds; a receiver may ask for a longer one.
    """

    def __init__(self, longest: float = LONGEST_SECONDS) -> None:
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """Start again with the shortest pause, and do not wait now."""
        self.until = 0.0  # in `time.monotonic()` seconds
        self._next = FIRST_SECONDS
        self._is_asked_for = False

    def begin(self, retry_after: float | None = None) -> float:
        """Start the pause after a failure; returns its length in seconds.

        Args:
            retry_after: the seconds that the receiver asked for, if it did.
        """
        seconds = self._next * random.uniform(0.5, 1) if retry_after is None else retry_after
        self._next = min(2 * self._next, self._longest)
        self._is_asked_for = retry_after is not None
        self.until = time.monotonic() + seconds
        return seconds

    def cut_short(self) -> None:
        """End the pause early, unless the receiver asked for it."""
        if not self._is_asked_for:
            self.reset()


def read_retry_after(text: str) -> float | None:
    """The seconds in a `Retry-After` header, an hour at most. It contains seconds or a date; None if neither."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
        moment = moment.replace(tzinfo=moment.tzinfo or timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)
