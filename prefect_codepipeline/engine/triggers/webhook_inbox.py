"""The inbox of webhooks: what was taken is kept in Prefect before its sender is answered, until it was dealt with.

A day has one flow run of the flow `webhooks`, and a delivery is an input of it, whose key can be created once: the
cheapest thing that Prefect keeps. `waiting-<key>` is dealt with by a gateway, which writes `finished-<key>` and then
takes the former away; a gateway that dies in between is followed by another.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from pydantic import BaseModel, ValidationError

from prefect_codepipeline.model.triggers.webhook_delivery import FinishedDelivery, TakenDelivery
from prefect_codepipeline.prefect_api.client import call, call_all, client

FLOW = "webhooks"
# Of a gateway that was away for longer, nothing is dealt with: nobody would want a push of last week to be released.
DAYS = 3
KEPT_DAYS = 30
_TAG = "codepipeline-webhooks"
_WAITING, _FINISHED = "waiting-", "finished-"
_SENDER = "prefect-codepipeline"
_EVERYTHING = 100_000
_days: dict[tuple[str, str], str] = {}
_making = threading.Lock()


def take(delivery: TakenDelivery) -> bool:
    """Keep a delivery until it is dealt with; False when the same one waits already.

    Raises:
        PrefectUnavailable: it is not kept.
    """
    return _write(delivery.at, _WAITING + delivery.key, delivery)


def waiting(except_keys: Collection[str] = ()) -> list[TakenDelivery]:
    """What was taken in the last days and not dealt with, in the order in which it came; `except_keys` left out."""
    found = [
        delivery
        for run_id in _recent_days()
        for value in _read(run_id, _WAITING, [_WAITING + key for key in except_keys])
        if (delivery := _parsed(TakenDelivery, value)) is not None
    ]
    return sorted(found, key=lambda each: each.at)


def result_of(delivery: TakenDelivery) -> FinishedDelivery | None:
    """What came of it, None when nobody has dealt with it on its day."""
    path = f"/flow_runs/{_day(delivery.at)}/input/{_FINISHED}{delivery.key}"
    status, value = call("GET", path, expected=(404,))
    return _parsed(FinishedDelivery, value) if status == 200 else None


def finish(delivery: TakenDelivery, finished: FinishedDelivery) -> None:
    """Keep what came of a delivery, in place of what was known of an earlier try, and let it wait no longer."""
    key = _FINISHED + delivery.key
    if not _write(delivery.at, key, finished):
        call("DELETE", f"/flow_runs/{_day(delivery.at)}/input/{key}", expected=(404,))
        _write(delivery.at, key, finished)
    drop(delivery)


def drop(delivery: TakenDelivery) -> None:
    """Let it wait no longer."""
    call("DELETE", f"/flow_runs/{_day(delivery.at)}/input/{_WAITING}{delivery.key}", expected=(404,))


def finished(limit: int) -> list[FinishedDelivery]:
    """The last deliveries that were dealt with, the newest first."""
    found: list[FinishedDelivery] = []
    for run_id in _recent_days():
        values = (_parsed(FinishedDelivery, value) for value in _read(run_id, _FINISHED))
        found += sorted((each for each in values if each), key=lambda each: each.at, reverse=True)
        if len(found) >= limit:
            break
    return found[:limit]


def drop_old(now: datetime) -> None:
    """Delete the inboxes of days that nobody asks for any more."""
    oldest = (now - timedelta(days=KEPT_DAYS)).astimezone(timezone.utc).date().isoformat()
    for run in call_all("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [_TAG]}}}):
        if str(run["name"]) < oldest:
            call("DELETE", f"/flow_runs/{run['id']}", expected=(404,))


def _write(at: datetime, key: str, value: BaseModel) -> bool:
    body = {"key": key, "value": value.model_dump_json(), "sender": _SENDER}
    for _ in range(2):
        status, _ = call("POST", f"/flow_runs/{_day(at)}/input", body, expected=(404, 409))
        if status != 404:
            return status != 409
        # Somebody has deleted the day's run, as one does with old ones.
        _forget()
    raise AssertionError("a flow run that was just made cannot be found")


def _read(run_id: str, prefix: str, except_keys: Sequence[str] = ()) -> list[Any]:
    body = {"prefix": prefix, "limit": _EVERYTHING, "exclude_keys": list(except_keys)}
    status, found = call("POST", f"/flow_runs/{run_id}/input/filter", body, expected=(404,))
    return [item["value"] for item in found] if status == 200 else []


def _parsed(model: type[Any], value: Any) -> Any:
    """None for what a newer version wrote."""
    try:
        return model.model_validate_json(value) if isinstance(value, str) else model.model_validate(value)
    except ValidationError:
        return None


def _day(at: datetime) -> str:
    """The id of the flow run that is the inbox of that day."""
    day = at.astimezone(timezone.utc).date().isoformat()
    key = (str(client().api_url), day)
    with _making:
        if key not in _days:
            body = {
                "flow_id": str(client().create_flow_from_name(FLOW)),
                "name": day,
                "idempotency_key": f"{FLOW}-{day}",
                "tags": [_TAG],
                # It is never run: a state that no service of Prefect's takes for work.
                "state": {"type": "COMPLETED", "name": "Inbox", "message": _MESSAGE},
            }
            _, run = call("POST", "/flow_runs/", body)
            _days[key] = str(run["id"])
        return _days[key]


_MESSAGE = "What webhooks told on this day is kept here; `codepipeline trigger list` shows it."


def _forget() -> None:
    with _making:
        _days.clear()


def _recent_days() -> list[str]:
    body = {"flow_runs": {"tags": {"all_": [_TAG]}}, "sort": "NAME_DESC", "limit": DAYS}
    _, runs = call("POST", "/flow_runs/filter", body)
    return [str(run["id"]) for run in runs]
