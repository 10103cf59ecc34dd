"""Waiting for what a test expects: never for a fixed time, never for ever."""

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
    """What the condition answers once that is true; the test fails when it never is, with what was `seen` then."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} seconds: {seen()}"
        time.sleep(0.02)
    return answer
