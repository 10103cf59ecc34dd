"""What the busy reconcile service measures of all executions: those that have ended, and what waits for people or for it.

The processes that run executions come and go, so nothing could ask them. The record of an execution has it all.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from prefect_codepipeline.deployments.observing.traces import Traces
from prefect_codepipeline.engine.executions.lookup import KnownExecution, find_all_runs, known_executions
from prefect_codepipeline.engine.pool_runs.asking import TAG as ACTION_TAG
from prefect_codepipeline.engine.retention.prune import stored_bytes
from prefect_codepipeline.engine.triggers.webhook_inbox import waiting
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.model.record.account import action_ends, since_last_end, waits
from prefect_codepipeline.model.record.spans import spans_of
from prefect_codepipeline.prefect_api.client import call_all, moment
from prefect_codepipeline.prefect_api.leases import server_time

EVERY_SECONDS = 15.0
# A run is found once more when it ended that long ago: its end may be visible later than that of others.
_OVERLAP = timedelta(seconds=60)
_ENDED = ["COMPLETED", "FAILED", "CANCELLED"]
_AT_ONCE = 50
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_BUCKETS = (1, 5, 15, _MINUTE, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 12 * _HOUR, 2 * _DAY, 7 * _DAY)
_logger = logging.getLogger("codepipeline.metrics")

_executions = Counter("codepipeline_executions", "Executions that have ended.", ["pipeline", "status"])
_actions = Counter(
    "codepipeline_actions",
    "Actions of ended executions; the error code is empty without an error.",
    ["provider", "status", "error_code"],
)
_waits = Histogram(
    "codepipeline_execution_wait_seconds",
    "How long ended executions waited for a worker, at gates, for approvals, and their actions for a machine.",
    ["waited_for"],
    buckets=_BUCKETS,
)
_in_flight = Gauge("codepipeline_executions_in_flight", "Executions that have not ended.", ["state"])
_late = Gauge(
    "codepipeline_executions_late", "Executions that no worker took in time, by work pool.", ["work_pool"]
)
_actions_late = Gauge(
    "codepipeline_actions_late",
    "Actions with a work pool of their own that no worker took in time, by it.",
    ["work_pool"],
)
_deliveries = Gauge(
    "codepipeline_webhooks_waiting", "Webhook deliveries that are kept and not yet processed."
)
_oldest_delivery = Gauge(
    "codepipeline_webhooks_oldest_waiting_seconds", "Age of the oldest delivery that is not yet processed."
)
_stored = Gauge("codepipeline_store_bytes", "What the artifact stores had after the last round of retention.")


class Observer:
    """Looks at executions from time to time, while this service is the busy one.

    Args:
        traces: where executions that have ended are sent as spans.
    """

    def __init__(self, traces: Traces | None = None) -> None:
        self._traces = traces
        self._since: datetime | None = None
        # The ends that were counted, by run and state: a run that is retried ends again.
        self._counted: dict[tuple[str, str], datetime] = {}

    def look_until(self, stop: threading.Event, is_wanted: Callable[[], bool]) -> None:
        """Look at intervals until the stop."""
        while not stop.wait(EVERY_SECONDS):
            if not is_wanted():
                self._since = None  # the service that is busy instead counts what ends now
                continue
            try:
                self.look()
            except PrefectUnavailable as error:
                _logger.debug("not measured: %s", error)
            except Exception:  # one bad execution must not end the measuring
                _logger.exception("measuring failed unexpectedly; it will be tried again")
        if self._traces:
            self._traces.close()

    def look(self, now: datetime | None = None) -> None:
        """Count what has ended since the last look, and what is there now. The first look counts what ends after it."""
        now = now or server_time()
        if self._since:
            self._count_ended(self._since)
        self._since = now - _OVERLAP if self._since else now
        self._counted = {key: at for key, at in self._counted.items() if at >= self._since - _OVERLAP}
        _count_in_flight(find_all_runs(state_types=["RUNNING", "PAUSED", "PENDING", "CANCELLING", "CRASHED"]))
        _count_late(_late, find_all_runs(state_names=["Late"]))
        of_actions = {"tags": {"all_": [ACTION_TAG]}, "state": {"name": {"any_": ["Late"]}}}
        _count_late(_actions_late, call_all("/flow_runs/filter", {"flow_runs": of_actions}))
        deliveries = waiting()
        _deliveries.set(len(deliveries))
        _oldest_delivery.set(max(0.0, (now - deliveries[0].at).total_seconds()) if deliveries else 0.0)
        _stored.set(stored_bytes())

    def _count_ended(self, since: datetime) -> None:
        found = find_all_runs(state_types=_ENDED, ended_after=since)
        new = [run for run in found if _end_of(run) not in self._counted]
        for first in range(0, len(new), _AT_ONCE):
            some = new[first : first + _AT_ONCE]
            for known in known_executions(some, shows_newer=True):
                # Before: if it cannot be counted, those before it must not be counted again and again.
                self._counted[_end_of(known.run)] = moment(known.run["end_time"])
                _count(known)
                if self._traces and known.state:
                    self._traces.send(known.id, spans_of(known.state, known.facts))
            self._counted.update((_end_of(run), moment(run["end_time"])) for run in some)


def _end_of(run: dict[str, Any]) -> tuple[str, str]:
    return str(run["id"]), str(run["state_id"])


def _count_in_flight(runs: Iterable[dict[str, Any]]) -> None:
    tally = Tally(str(run["state_type"]).lower() for run in runs)
    for state in ("running", "paused", "pending", "cancelling", "crashed"):
        _in_flight.labels(state).set(tally[state])


def _count_late(late: Gauge, runs: Iterable[dict[str, Any]]) -> None:
    late.clear()  # pools that have none any more
    for pool, count in Tally(str(run["work_pool_name"]) for run in runs).items():
        late.labels(pool).set(count)


def _count(known: KnownExecution) -> None:
    if known.state is None:
        return  # it has not begun, or a newer release has to count it
    _executions.labels(known.state.pinned.pipeline_name, known.status).inc()
    for end in action_ends(known.state, known.facts):
        _actions.labels(end.provider, end.status, end.code).inc()
    for each in waits(known.facts):
        _waits.labels(each.what).observe(each.seconds)
    if since_last_end(known.facts) == 0 and known.run["start_time"] and known.run["expected_start_time"]:
        late = moment(known.run["start_time"]) - moment(known.run["expected_start_time"])
        _waits.labels("worker").observe(max(0.0, late.total_seconds()))
