"""Send several requests at the same time: a command that needs many answers waits for the slowest, not for their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

_AT_ONCE = 8
T = TypeVar("T")


def together(functions: Iterable[Callable[[], T]]) -> list[T]:
    """The results of the functions, in their order. Raises what the first of them raises that fails."""
    waiting = list(functions)
    if len(waiting) < 2:
        return [function() for function in waiting]
    with ThreadPoolExecutor(min(_AT_ONCE, len(waiting))) as threads:
        # Each in a context of its own, with the settings and the limits of the caller.
        return list(threads.map(lambda each: each[0].run(each[1]), [(copy_context(), f) for f in waiting]))
