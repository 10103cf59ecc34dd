"""The action types that workers ask for, read at most once a second, however many workers ask."""

from __future__ import annotations

import threading
import time

from prefect_codepipeline.engine.jobs.action_types import find_type
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.stored.action_type import StoredActionType

_FRESH_SECONDS = 1.0
_MOST = 1000
_lock = threading.Lock()
_known: dict[ActionTypeId, tuple[float, StoredActionType | None]] = {}


def polled_type(kind: ActionTypeId, fresh_seconds: float = _FRESH_SECONDS) -> StoredActionType | None:
    """The action type as it was at most a second ago, or as long as that; None if there is none, or it is deleted."""
    with _lock:
        read_at, found = _known.get(kind, (float("-inf"), None))
        if time.monotonic() - read_at > fresh_seconds:
            if len(_known) > _MOST:  # strangers may ask for any name
                _known.clear()
            asked_at = time.monotonic()
            found = find_type(kind)
            _known[kind] = (asked_at, found)
        return found
