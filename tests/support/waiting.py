"""Waiting for a condition of a test, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 60.0
SHORTEST_SECONDS, LONGEST_SECONDS = 0.02, 0.5


def until(
    condition: Callable[[], Any],
    seconds: float = DEADLINE_SECONDS,
    seen: Callable[[], object] = lambda: "it did not happen",
    longest_pause: float = LONGEST_SECONDS,
) -> Any:
    """Wait until the condition is true, and return its value; at the deadline, fail with the value of `seen`."""
    deadline = time.monotonic() + seconds
    asked = time.monotonic()
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} seconds: {seen()}"
        rest(asked, longest=longest_pause)
        asked = time.monotonic()
    return answer


def rest(asked: float, shortest: float = SHORTEST_SECONDS, longest: float = LONGEST_SECONDS) -> None:
    """Pause before a condition that was asked then is asked again: questions slow down what is waited for.

    The more work a question is, or the busier the processors are, the longer is the pause.
    """
    time.sleep(min(max(4 * (time.monotonic() - asked), shortest), longest))
