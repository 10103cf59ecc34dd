"""Write what an action keeps for later processes: the id of its work in another system, and what else finds it again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.record.waiting_facts import ActionKept

MOST_CALLS = 1000
MOST_BYTES = 16 * 1024


class Keeper:
    """`ActionContext.keep` of one action: each call is a fact, and returns when the fact is written.

    Args:
        write: writes a fact to the record.
        kept: what an earlier process kept.
        identity: the fields that identify this action execution, for its facts.
    """

    def __init__(
        self, write: Callable[[ActionKept], ActionKept], kept: ActionKept | None, identity: Mapping[str, Any]
    ) -> None:
        self._write = write
        self._kept = kept or ActionKept(at=utc_now(), number=0, **identity)
        self._closed = False
        self._lock = threading.Lock()

    def __call__(self, external_id: str | None = None, url: str | None = None, **state: str) -> None:
        """Keep these values; one that is left out keeps its last value.

        A process that was replaced may have written a fact under the next number. Then these come after it.

        Raises:
            ActionFailed: with code `InternalError`, the provider keeps too much, or too often, or after its end.
        """
        with self._lock:
            if self._closed:
                raise ActionFailed(
                    "the provider kept something after the action had ended", code="InternalError"
                )
            while True:
                before = self._kept
                news = {
                    "at": utc_now(),
                    "number": before.number + 1,
                    "external_execution_id": external_id or before.external_execution_id,
                    "external_execution_url": url or before.external_execution_url,
                    "state": {**before.state, **state},
                }
                wanted = _checked(ActionKept(**{**before.model_dump(), **news}))
                self._kept = self._write(wanted)
                if self._kept == wanted:
                    return

    def close(self) -> None:
        """Refuse to keep anything more."""
        with self._lock:
            self._closed = True


def _checked(fact: ActionKept) -> ActionKept:
    size = len(fact.model_dump_json().encode())
    if size > MOST_BYTES:
        raise ActionFailed(
            f"the provider keeps {size} bytes; the limit is {MOST_BYTES}", code="InternalError"
        )
    if fact.number > MOST_CALLS:
        raise ActionFailed(
            f"the provider kept something {MOST_CALLS} times, which is the limit", code="InternalError"
        )
    return fact
