"""Waiting for a condition of a test, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 60.0


def until(
    condition: Callable[[], Any],
    seconds: float = DEADLINE_SECONDS,
    seen: Callable[[], object] = lambda: "it did not happen",
) -> Any:
    """Wait until the condition is true, and return its value; at the deadline, fail with the value of `seen`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} seconds: {seen()}"
        time.sleep(0.02)
    return answer
