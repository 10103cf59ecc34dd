"""The queue of a project's builds, if its block limits how many run at once.

Each build leases a slot of a Prefect concurrency limit. If its worker is killed, the slot is free after a minute.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed, PrefectUnavailable
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.client import call, find_named

LEASE_SECONDS = 60.0
_RENEW_SECONDS = 15.0
_POLL_SECONDS = 1.0
_logger = logging.getLogger(__name__)


@contextmanager
def turn_of(project_name: str, limit: int, queued_minutes: int, context: ActionContext) -> Iterator[None]:
    """Hold one of the `limit` slots of a project; wait for it at most `queued_minutes`.

    Raises:
        ActionFailed: with code `Timeout`, no slot became free in time.
        ActionAbandoned: the execution was cancelled.
    """
    name = f"codebuild-{slug(project_name)}"
    _set_limit(name, limit)
    lease = _wait(name, project_name, queued_minutes, context)
    stop = threading.Event()
    renewer = threading.Thread(target=_renew, args=(lease, stop), name="codebuild-turn", daemon=True)
    renewer.start()
    try:
        yield
    finally:
        stop.set()
        renewer.join()
        # 404 or 410: the lease has expired, and its slot was released with it.
        call(
            "POST",
            "/v2/concurrency_limits/decrement-with-lease",
            {"lease_id": lease},
            expected=(404, 410),
        )


def _set_limit(name: str, limit: int) -> None:
    known = find_named("/v2/concurrency_limits", name)
    if known is None:
        call("POST", "/v2/concurrency_limits/", {"name": name, "limit": limit}, expected=(409,))
    elif known["limit"] != limit:
        call("PATCH", f"/v2/concurrency_limits/{name}", {"limit": limit}, expected=(404,))


def _wait(name: str, project_name: str, queued_minutes: int, context: ActionContext) -> str:
    until = time.monotonic() + 60 * queued_minutes
    body = {"slots": 1, "names": [name], "lease_duration": LEASE_SECONDS}
    waited = False
    while True:
        status, answer = call("POST", "/v2/concurrency_limits/increment-with-lease", body, expected=(423,))
        if status != 423:
            return str(answer["lease_id"])
        if not waited:
            context.report_progress(f"Queued: project {project_name} has reached its concurrent build limit")
            waited = True
        if time.monotonic() > until:
            raise ActionFailed(
                f"the build was queued for {queued_minutes} minutes, but no build of project {project_name!r} ended; "
                "raise concurrent_build_limit or queued_timeout_in_minutes in its CodeBuildProject block",
                code="Timeout",
            )
        context.check()
        context.cancellation.wait(_POLL_SECONDS)


def _renew(lease: str, stop: threading.Event) -> None:
    while not stop.wait(_RENEW_SECONDS):
        try:
            path = f"/v2/concurrency_limits/leases/{lease}/renew"
            call("POST", path, {"lease_duration": LEASE_SECONDS}, expected=(404, 410))
        except PrefectUnavailable as error:
            _logger.warning("could not renew the lease of a build's slot, will retry: %s", error)
