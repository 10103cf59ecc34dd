"""Threads for requests that ask Prefect: few, so that Prefect answers each in time. Further requests wait for a thread.

With a thread for each of 60 requests, every single question to Prefect would take so long that all of them fail.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request

# Slack's users do not wait for the readers of pages, nor anybody for the update of a message.
PAGES, SLACK, UPDATES, AWS = "pages", "slack", "updates", "aws"
# Parts of files that are transferred, and whole artifacts, which take seconds.
TRANSFERS, ARTIFACTS = "transfers", "artifacts"
T = TypeVar("T")
# Some of AWS's operations wait some seconds for an execution to end.
_AT_ONCE = {PAGES: 6, SLACK: 6, UPDATES: 2, AWS: 16, TRANSFERS: 6, ARTIFACTS: 4}


def provide_threads(app: Starlette) -> None:
    """Give the app its threads; called in its event loop."""
    app.state.threads = {group: CapacityLimiter(count) for group, count in _AT_ONCE.items()}


async def in_thread(request: Request, group: str, function: Callable[..., T], *arguments: Any) -> T:
    """Call the function in a thread of that group, once one is free; its result."""
    limiter = request.app.state.threads[group]
    return await run_sync(partial(function, *arguments), limiter=limiter)
