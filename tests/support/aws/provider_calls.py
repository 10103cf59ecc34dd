"""Call a provider as the engine does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier, Waiting, WorkGoesOn


def call_to_its_end(
    function: Callable[[Any, ActionContext], ActionResult | Waiting],
    configuration: Any,
    context: ActionContext,
) -> ActionResult:
    """Call the function again and again while its work goes on, each time with what it has kept before."""
    earlier = context.earlier or Earlier(datetime.now(timezone.utc))
    kept: dict[str, Any] = {
        "external_id": earlier.external_id,
        "url": earlier.url,
        "state": {**earlier.state},
    }

    def keep(external_id: str | None = None, url: str | None = None, **state: str) -> None:
        context.keep(*filter(None, (external_id, url)), **state)
        kept.update(external_id=external_id or kept["external_id"], url=url or kept["url"])
        kept["state"].update(state)

    call = replace(context, keep=keep)
    while True:
        try:
            result = function(configuration, call)
        except WorkGoesOn as work:
            result = work.waiting
        if isinstance(result, ActionResult):
            result.cleanup()
            return result
        assert result.until, "only works with times"
        pause = (result.until - datetime.now(timezone.utc)).total_seconds()
        context.cancellation.wait(max(0.0, pause))
        call = replace(call, earlier=Earlier(earlier.started_at, **{**kept, "state": {**kept["state"]}}))
