"""The inbox of webhooks: a delivery is stored in Prefect before its sender gets a response, until it was processed.

Each day has one flow run of the flow `webhooks`. A delivery is an input of that run, whose key can be created only once:
the cheapest thing that Prefect stores. A gateway processes `waiting-<key>`, writes `finished-<key>` and then deletes
`waiting-<key>`; if it dies in between, another gateway processes the delivery again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from pydantic import BaseModel, ValidationError

from prefect_codepipeline.model.triggers.webhook_delivery import (
    FinishedDelivery,
    FirstDelivery,
    TakenDelivery,
)
from prefect_codepipeline.prefect_api.client import call, call_all, client

FLOW = "webhooks"
# Deliveries older than this are not processed after an outage: a push of last week must not be released.
DAYS = 3
KEPT_DAYS = 30
_TAG, _CONTENTS_TAG = "codepipeline-webhooks", "codepipeline-webhook-contents"
_WAITING, _FINISHED, _CONTENT = "waiting-", "finished-", "content-"
_SENDER = "prefect-codepipeline"
_EVERYTHING = 100_000
_days: dict[tuple[str, str], str] = {}
_making = threading.Lock()


def take(delivery: TakenDelivery) -> bool:
    """Store a delivery until it is processed; False if the same one waits already.

    Raises:
        PrefectUnavailable: it could not be stored.
    """
    return _write(delivery.at, _WAITING + delivery.key, delivery)


def waiting_as(delivery: TakenDelivery) -> TakenDelivery | None:
    """The waiting delivery with the same key, which may have come to another endpoint; None if it is processed."""
    path = f"/flow_runs/{_day(delivery.at)}/input/{_WAITING}{delivery.key}"
    status, value = call("GET", path, expected=(404,))
    return _parsed(TakenDelivery, value) if status == 200 else None


def waiting(except_keys: Collection[str] = ()) -> list[TakenDelivery]:
    """The deliveries of the last days that were not processed, in order of arrival, without `except_keys`."""
    found = [
        delivery
        for run_id in _recent_days()
        for value in _read(run_id, _WAITING, [_WAITING + key for key in except_keys])
        if (delivery := _parsed(TakenDelivery, value)) is not None
    ]
    return sorted(found, key=lambda each: each.at)


def result_of(delivery: TakenDelivery | FirstDelivery) -> FinishedDelivery | None:
    """The result of the delivery, or None if it was not processed, or is no longer kept."""
    path = f"/flow_runs/{_day(delivery.at)}/input/{_FINISHED}{delivery.key}"
    status, value = call("GET", path, expected=(404,))
    return _parsed(FinishedDelivery, value) if status == 200 else None


def finish(delivery: TakenDelivery, finished: FinishedDelivery) -> None:
    """Store the result of a delivery, replacing that of an earlier attempt, and remove it from the waiting ones."""
    replace_result(finished)
    drop(delivery)


def replace_result(finished: FinishedDelivery) -> None:
    """Store the result of a delivery, replacing an earlier one."""
    key = _FINISHED + finished.key
    if not _write(finished.at, key, finished):
        call("DELETE", f"/flow_runs/{_day(finished.at)}/input/{key}", expected=(404,))
        _write(finished.at, key, finished)


def drop(delivery: TakenDelivery) -> None:
    """Remove the delivery from the waiting ones."""
    call("DELETE", f"/flow_runs/{_day(delivery.at)}/input/{_WAITING}{delivery.key}", expected=(404,))


def finished(limit: int) -> list[FinishedDelivery]:
    """The last processed deliveries, newest first."""
    found: list[FinishedDelivery] = []
    for run_id in _recent_days():
        values = (_parsed(FinishedDelivery, value) for value in _read(run_id, _FINISHED))
        found += sorted((each for each in values if each), key=lambda each: each.at, reverse=True)
        if len(found) >= limit:
            break
    return found[:limit]


def first_with_content(delivery: TakenDelivery) -> FirstDelivery:
    """The first delivery with this content, in this month or the one before; the delivery itself if it is the first."""
    own = FirstDelivery(key=delivery.key, at=delivery.at, endpoint=delivery.endpoint)
    months = [_month(delivery.at), _month(delivery.at.replace(day=1) - timedelta(days=1))]
    for month in reversed(months):
        if found := _content(month, delivery.token):
            return found
    is_new = _write_to(lambda: _run(months[0], _CONTENTS_TAG), _CONTENT + delivery.token, own)
    return own if is_new else _content(months[0], delivery.token) or own


def drop_old(now: datetime) -> None:
    """Delete the inboxes that are older than `KEPT_DAYS`, and the contents of the months that are not looked at."""
    oldest = (now - timedelta(days=KEPT_DAYS)).astimezone(timezone.utc).date()
    for tag, name in ((_TAG, oldest.isoformat()), (_CONTENTS_TAG, f"{oldest:%Y-%m}")):
        for run in call_all("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [tag]}}}):
            if str(run["name"]) < name:
                call("DELETE", f"/flow_runs/{run['id']}", expected=(404,))


def _content(month: str, token: str) -> FirstDelivery | None:
    path = f"/flow_runs/{_run(month, _CONTENTS_TAG)}/input/{_CONTENT}{token}"
    status, value = call("GET", path, expected=(404,))
    return _parsed(FirstDelivery, value) if status == 200 else None


def _write(at: datetime, key: str, value: BaseModel) -> bool:
    return _write_to(lambda: _day(at), key, value)


def _write_to(run: Callable[[], str], key: str, value: BaseModel) -> bool:
    """Create an input of the run; False if it exists."""
    body = {"key": key, "value": value.model_dump_json(), "sender": _SENDER}
    for _ in range(2):
        status, _ = call("POST", f"/flow_runs/{run()}/input", body, expected=(404, 409))
        if status != 404:
            return status != 409
        # A user has deleted the day's run.
        _forget()
    raise AssertionError("a flow run that was just created cannot be found")


def _read(run_id: str, prefix: str, except_keys: Sequence[str] = ()) -> list[Any]:
    body = {"prefix": prefix, "limit": _EVERYTHING, "exclude_keys": list(except_keys)}
    status, found = call("POST", f"/flow_runs/{run_id}/input/filter", body, expected=(404,))
    return [item["value"] for item in found] if status == 200 else []


def _parsed(model: type[Any], value: Any) -> Any:
    """The parsed value, or None if a newer version wrote it in another form."""
    try:
        return model.model_validate_json(value) if isinstance(value, str) else model.model_validate(value)
    except ValidationError:
        return None


def _day(at: datetime) -> str:
    """The id of the flow run that is the inbox of that day."""
    return _run(at.astimezone(timezone.utc).date().isoformat(), _TAG)


def _month(at: datetime) -> str:
    return f"{at.astimezone(timezone.utc):%Y-%m}"


def _run(name: str, tag: str) -> str:
    """The id of the flow run that stores things of that day or month."""
    key = (str(client().api_url), name)
    with _making:
        if key not in _days:
            body = {
                "flow_id": str(client().create_flow_from_name(FLOW)),
                "name": name,
                "idempotency_key": f"{FLOW}-{name}",
                "tags": [tag],
                # It is never run: no service of Prefect acts on a run in this state.
                "state": {"type": "COMPLETED", "name": "Inbox", "message": _MESSAGE},
            }
            _, run = call("POST", "/flow_runs/", body)
            _days[key] = str(run["id"])
        return _days[key]


_MESSAGE = "This run stores the webhooks and the polled pushes of one day; `codepipeline trigger list` displays them."


def _forget() -> None:
    with _making:
        _days.clear()


def _recent_days() -> list[str]:
    body = {"flow_runs": {"tags": {"all_": [_TAG]}}, "sort": "NAME_DESC", "limit": DAYS}
    _, runs = call("POST", "/flow_runs/filter", body)
    return [str(run["id"]) for run in runs]
