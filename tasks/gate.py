"""One execution of a pipeline at a time: a lock, and tickets in the order of arrival.

Lock and tickets are Prefect variables: a name is created once, and of several who delete the same id one is told
that it did. Only the oldest ticket may try the lock, or a newcomer would overtake one that is still starting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prefect_codepipeline.model.names import slug
from prefect_codepipeline.tasks.lease import is_stale, server_time
from prefect_codepipeline.tasks.prefect_api import call, flow_run
from prefect_codepipeline.tasks.record import RecordOf
from prefect_codepipeline.tasks.suspension import resume

_PAGE = 200
_TAG = "codepipeline"


def take_ticket(pipeline_name: str, execution_id: str) -> None:
    """Line up in front of the pipeline; once is enough, and the first place is kept."""
    _create(f"{_tickets_of(pipeline_name)}{execution_id}", pipeline_name, execution_id)


def try_enter(pipeline_name: str, execution_id: str) -> bool:
    """Take the lock when it is this execution's turn; True when it holds it."""
    if holder_of(pipeline_name) != execution_id:
        if waiting(pipeline_name)[:1] != [execution_id]:
            return False
        if not _create(_lock_name(pipeline_name), pipeline_name, execution_id):
            return False
    _drop_ticket(pipeline_name, execution_id)
    return True


def leave(pipeline_name: str, execution_id: str) -> None:
    """Give the lock and the ticket back, and wake whoever is next."""
    _drop_ticket(pipeline_name, execution_id)
    lock = _lock_of(pipeline_name)
    if lock and lock["value"]["execution"] == execution_id:
        call("DELETE", f"/variables/{lock['id']}", expected=(404,))
    admit(pipeline_name)


def admit(pipeline_name: str) -> None:
    """Wake the execution whose turn it is; those that ended while they waited lose their tickets."""
    for execution_id in waiting(pipeline_name):
        if not _has_ended(execution_id):
            # Answered with ABORT when it is not suspended: then it looks by itself.
            resume(execution_id)
            return
        _drop_ticket(pipeline_name, execution_id)


def free_dead_lock(pipeline_name: str) -> str | None:
    """Delete the lock of an execution that is over; the execution's id when there was one."""
    lock = _lock_of(pipeline_name)
    if lock is None or not _is_over(lock["value"]["execution"]):
        return None
    status, _ = call("DELETE", f"/variables/{lock['id']}", expected=(404,))
    return str(lock["value"]["execution"]) if status != 404 else None


def holder_of(pipeline_name: str) -> str | None:
    """The id of the execution that holds the lock."""
    lock = _lock_of(pipeline_name)
    return str(lock["value"]["execution"]) if lock else None


def pipelines_with_gates() -> set[str]:
    """The names of the pipelines that have a lock or a ticket."""
    return {
        variable["value"]["pipeline"] for variable in _all_like("codepipeline-lock-", "codepipeline-ticket-")
    }


def waiting(pipeline_name: str) -> list[str]:
    """The ids of the executions that wait, first come first."""
    tickets = _all_like(_tickets_of(pipeline_name))
    return [ticket["value"]["execution"] for ticket in sorted(tickets, key=lambda ticket: ticket["created"])]


def wait_in_process(
    pipeline_name: str, execution_id: str, seconds: float | None, give_up: Callable[[], None]
) -> bool:
    """Look again and again until entered or `seconds` are over (None: for ever); `give_up` may raise."""
    until = None if seconds is None else time.monotonic() + seconds
    while not try_enter(pipeline_name, execution_id):
        if until is not None and time.monotonic() >= until:
            return False
        give_up()
        free_dead_lock(pipeline_name)
        time.sleep(0.5)
    return True


def _has_ended(execution_id: str) -> bool:
    run = flow_run(execution_id)
    return run is None or run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED")


def _is_over(execution_id: str) -> bool:
    """Ended, and no process of it is left that could still do something."""
    if not _has_ended(execution_id):
        return False
    if flow_run(execution_id) is None:
        return True
    facts = {fact.key for fact in RecordOf(execution_id).read()}
    processes = [key for key in facts if key.startswith("process-") and key.count("-") == 1]
    return f"process-{len(processes)}-ended" in facts or is_stale(execution_id, server_time())


def _create(name: str, pipeline_name: str, execution_id: str) -> bool:
    body = {"name": name, "value": {"pipeline": pipeline_name, "execution": execution_id}, "tags": [_TAG]}
    status, _ = call("POST", "/variables/", body, expected=(409,))
    return status != 409


def _lock_of(pipeline_name: str) -> dict[str, Any] | None:
    status, body = call("GET", f"/variables/name/{_lock_name(pipeline_name)}", expected=(404,))
    return body if status == 200 else None


def _all_like(*prefixes: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for prefix in prefixes:
        offset = 0
        while True:
            like = {"variables": {"name": {"like_": f"{prefix}%"}}}
            _, page = call(
                "POST", "/variables/filter", {**like, "limit": _PAGE, "offset": offset, "sort": "NAME_ASC"}
            )
            # `_` is a wildcard, and some databases are blind to case: compare once more.
            found += [variable for variable in page if variable["name"].startswith(prefix)]
            offset += len(page)
            if len(page) < _PAGE:
                break
    return found


def _drop_ticket(pipeline_name: str, execution_id: str) -> None:
    call("DELETE", f"/variables/name/{_tickets_of(pipeline_name)}{execution_id}", expected=(404,))


def _lock_name(pipeline_name: str) -> str:
    return f"codepipeline-lock-{slug(pipeline_name)}"


def _tickets_of(pipeline_name: str) -> str:
    return f"codepipeline-ticket-{slug(pipeline_name)}-"
