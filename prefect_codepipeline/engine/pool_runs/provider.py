"""The provider of an action that runs on a work pool of its own: it asks for a flow run there, and waits for its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from prefect_codepipeline.actions.allowed_pools import allowed_pools, not_allowed
from prefect_codepipeline.actions.registry import ActionContext, ActionProvider, ActionResult, Waiting
from prefect_codepipeline.engine.executions.attempt import failure, worker_died
from prefect_codepipeline.engine.executions.process import Execution, current_execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.jobs.provider import JobConfiguration, find_provider, provider_of
from prefect_codepipeline.engine.pool_runs.asking import ask, find_or_create_run, forget_secrets
from prefect_codepipeline.engine.pool_runs.ending import cancel, end_of
from prefect_codepipeline.engine.pool_runs.pools import (
    Unserved,
    find_pool,
    find_unserved,
)
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, PrefectUnavailable
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.pool_run_facts import (
    PoolRunLost,
    PoolRunState,
    PoolRunTaken,
    PoolRunUnserved,
    pool_run_prefix,
    pool_run_result_key,
)
from prefect_codepipeline.model.record.state import ActionState
from prefect_codepipeline.prefect_api.client import moment
from prefect_codepipeline.prefect_api.flow_runs import set_state
from prefect_codepipeline.prefect_api.leases import STALE_SECONDS, is_stale, server_time
from prefect_codepipeline.prefect_api.ui import run_url

# The process there ends the action at the end of its time, which begins there. So long it may be in a queue before.
_QUEUE_MINUTES = 24 * 60
# How many processes may die before the action fails.
MOST_DEATHS = 3
# A worker reports a crash twice, some seconds apart.
_CRASH_SETTLES = timedelta(seconds=10)
# Between Running and the first lease a process reads its request.
_START_GRACE = timedelta(seconds=STALE_SECONDS)
# A pool may pull an image, or wait for a node, before a process starts.
_PENDING_GRACE = timedelta(minutes=15)
_CANCEL_GRACE = timedelta(minutes=1)
# How often the flow run is looked at: each fifth of its age, within these bounds, and after hours each hundredth.
_SHORTEST_PAUSE = timedelta(seconds=20)
_LONGEST_PAUSE = timedelta(seconds=60)


def provider_for(execution: Execution, stage_name: str, known: ActionState) -> ActionProvider:
    """The provider of an action of an execution. Raises `ActionFailed` with code `ConfigurationError`: there is none."""
    own = provider_of(known.action.action_type_id)
    return _on_pool(own, wait) if (wait := _wait_minutes(execution, stage_name, known, own)) else own


def may_restart(execution: Execution, stage_name: str, known: ActionState) -> bool:
    """Whether an action may run again, or is found again, after the process of its execution has died."""
    own = find_provider(known.action.action_type_id)
    if own is None or own.restartable:
        return own is not None
    try:
        return _wait_minutes(execution, stage_name, known, own) is not None
    except PrefectUnavailable:  # for the settings, which are read before an action starts: it has not
        return True


def _wait_minutes(
    execution: Execution, stage_name: str, known: ActionState, own: ActionProvider
) -> int | None:
    """How long the action may wait for a worker of its own pool; None if it runs where its execution does.

    An action that has begun stays where it is, even if the settings change. One that has begun and asked for nothing may
    have worked here.
    """
    if known.pool_run:
        return known.pool_run.asked.settings.wait_minutes
    has_begun_here = known.waits or (known.started and not own.restartable)
    if has_begun_here or own.configuration is JobConfiguration:  # the workers of jobs are elsewhere anyway
        return None
    settings = execution.settings.for_action(stage_name, known.name)
    return settings.wait_minutes if settings.work_pool else None


def _on_pool(own: ActionProvider, wait_minutes: int) -> ActionProvider:
    def run(configuration: Any, context: ActionContext) -> ActionResult | Waiting:
        return _PoolRun(own, context).run()

    def stop(configuration: Any, context: ActionContext) -> None:
        _PoolRun(own, context).stop("Abandoned" if context.cancellation.cancelled else "Failed")

    minutes = own.timeout_in_minutes + max(_QUEUE_MINUTES, wait_minutes)
    return replace(own, run=run, stop=stop, restartable=True, timeout_in_minutes=minutes)


@dataclass
class _PoolRun:
    """The pool run of one action execution, as the process of the execution deals with it."""

    own: ActionProvider
    context: ActionContext

    def run(self) -> ActionResult | Waiting:
        """Ask for it, or look at it: its result ends the action."""
        execution = current_execution()
        if self._known is None:
            self._check_allowed()
            ask(execution, self.context, self.own, self._identity)
        self._read()
        if not self._pool_run.ended:
            run = self._flow_run()
            # Kept, because as progress it would be replaced by what the process there reports.
            if self.context.earlier is None and (url := run_url(run["id"])):
                self.context.keep(url=url)
            waiting = self._look(run)
            if waiting:
                return waiting
        return self._result()

    def _flow_run(self) -> dict[str, Any]:
        try:
            return find_or_create_run(self.context, self._pool_run.asked)
        except ActionFailed:
            self._forget_secrets()  # the action ends with that
            raise

    def stop(self, status: Literal["Abandoned", "Failed"]) -> None:
        """End it without a result, if it has none by now."""
        if self._known is None:
            return
        self._read()
        if self._pool_run.ended is None:
            why = "its execution was stopped" if status == "Abandoned" else "it ran out of time"
            self._end(status, why, "Timeout")
        self._forget_secrets()

    @property
    def _execution(self) -> Execution:
        return current_execution()

    @property
    def _action(self) -> ActionState:
        return self._execution.state.stage(self.context.stage_name).action(self.context.action.name)

    @property
    def _known(self) -> PoolRunState | None:
        return self._action.pool_run

    @property
    def _pool_run(self) -> PoolRunState:
        assert self._known, "it was asked for"
        return self._known

    @property
    def _identity(self) -> dict[str, Any]:
        return {
            "stage": self.context.stage_name,
            "action": self.context.action.name,
            "attempt": self._action.attempt,
            "action_execution_id": self.context.action_execution_id,
        }

    def _read(self) -> None:
        """Read what the process there has recorded."""
        self._execution.look_for(pool_run_prefix(self.context.action_execution_id))
        identity = self._identity
        names = slug(identity["stage"], identity["action"])
        self._execution.look_for(f"action-{names}-{identity['attempt']}-progress-")

    def _check_allowed(self) -> None:
        pool = self.context.settings.work_pool
        assert pool, "only an action with a work pool is asked for"
        if why := not_allowed(pool, allowed_pools(self.context.pipeline_name)):
            raise ActionFailed(f"{self.context.what}: {why}", code="ConfigurationError")

    def _look(self, run: dict[str, Any]) -> Waiting | None:
        """What it waits for; None if it has a result now."""
        now, changed = server_time(), moment(run["state"]["timestamp"])
        age, kind = now - changed, run["state_type"]
        if kind in ("SCHEDULED", "PENDING"):
            return self._look_at_unstarted(run, kind, age)
        if (kind == "CANCELLING" and age < _CANCEL_GRACE) or (kind == "CRASHED" and age < _CRASH_SETTLES):
            return self._waiting(_CRASH_SETTLES)
        if kind == "PAUSED" or (kind == "RUNNING" and (age < _START_GRACE or not is_stale(run["id"], now))):
            return self._waiting()
        self._read()  # it may have ended since
        if self._pool_run.ended:
            return None
        return self._after_death(run)

    def _look_at_unstarted(self, run: dict[str, Any], kind: str, age: timedelta) -> Waiting | None:
        if self._pool_run.taken:
            self._lose(self._pool_run.taken)
        asked, limit = self._pool_run.asked, timedelta(minutes=self._pool_run.asked.settings.wait_minutes)
        unserved = find_unserved(asked.work_pool, run["work_queue_name"] or "default")
        if unserved and utc_now() - self._unserved_since(unserved) >= limit:
            minutes = asked.settings.wait_minutes
            self._end("Failed", f"no worker took it within {minutes} min: {unserved.why}", "Timeout")
            return None
        if kind == "PENDING" and age > self._pending_grace:
            _schedule_again(run)  # the worker that had taken it died before its process began
        if unserved and not self._pool_run.unserved:
            number = self._pool_run.deaths + 1
            self._execution.write(
                PoolRunUnserved(**self._identity, at=utc_now(), number=number, why=unserved.why)
            )
            self.context.logger.warning("Action %r waits: %s", self.context.action.name, unserved.why)
        if unserved:
            return self._waiting(self._unserved_since(unserved) + limit - utc_now(), unserved.why)
        return self._waiting(summary=f"waits for a worker of {self._pool_run.where}")

    def _unserved_since(self, unserved: Unserved) -> datetime:
        """Since when it waits without a worker that could take it."""
        lost = self._pool_run.last_lost
        since = lost.at if lost else self._pool_run.asked.at
        return max(since, unserved.last_asked or since)

    @property
    def _pending_grace(self) -> timedelta:
        pool = find_pool(self._pool_run.asked.work_pool)
        return _START_GRACE if pool and pool["type"] == "codepipeline" else _PENDING_GRACE

    def _after_death(self, run: dict[str, Any]) -> Waiting | None:
        """Have it start again if that is safe; else record its failure."""
        taken, said = self._pool_run.taken, run["state"]["message"] or run["state"]["name"]
        if run["state_type"] in ("CANCELLED", "CANCELLING"):
            self._end("Failed", f"its flow run on {self._pool_run.where} was cancelled in Prefect")
        elif taken is None:
            self._end("Failed", f"its flow run on {self._pool_run.where} could not begin: {said}")
        elif not self.own.restartable or taken.number >= MOST_DEATHS:
            died = failure(worker_died())["error_details"]
            self._end("Failed", f"{died.message} (on {self._pool_run.where})", died.code)
        else:
            self.context.logger.warning("Its process on %s died; it starts again", self._pool_run.where)
            _schedule_again(run)
            self._lose(taken)
            return self._waiting(_SHORTEST_PAUSE)
        return None

    def _lose(self, taken: PoolRunTaken) -> None:
        """Record that this process died. If this one dies before that, the next look finds the run scheduled again."""
        self._execution.write(PoolRunLost(**self._identity, at=utc_now(), number=taken.number))

    def _waiting(self, most: timedelta | None = None, summary: str = "") -> Waiting:
        age = utc_now() - self._pool_run.asked.at
        pause = max(min(max(age / 5, _SHORTEST_PAUSE), _LONGEST_PAUSE), age / 100)
        until = utc_now() + (max(min(pause, most), timedelta(0)) if most else pause)
        key = pool_run_result_key(self.context.action_execution_id)
        return Waiting(until=until, fact=key, summary=summary or f"runs on {self._pool_run.where}")

    def _end(self, status: Literal["Abandoned", "Failed"], message: str, code: str = "JobFailed") -> None:
        """Record that it ended without a result of its own, and cancel its flow run."""
        self._execution.write(end_of(self._pool_run.asked, status, message, code))
        # If there is none, it is made and cancelled: a process that was replaced cannot make another one then.
        cancel(find_or_create_run(self.context, self._pool_run.asked), message)

    def _result(self) -> ActionResult:
        ended = self._pool_run.ended
        assert ended, "it has ended"
        self._forget_secrets()
        if ended.status == "Abandoned":
            raise ActionAbandoned(ended.summary)
        if ended.status == "Failed":
            details = ended.error_details
            raise ActionFailed(
                details.message if details else ended.summary,
                code=details.code if details else "JobFailed",
                external_execution_id=ended.external_execution_id,
                external_execution_url=ended.external_execution_url,
            )
        return ActionResult(
            summary=ended.summary,
            output_artifacts={each.name: each for each in ended.output_artifacts},
            output_variables=ended.output_variables,
            external_execution_id=ended.external_execution_id,
            external_execution_url=ended.external_execution_url,
            source_revision=ended.source_revision,
        )

    def _forget_secrets(self) -> None:
        forget_secrets(self._pool_run.asked)


def _schedule_again(run: dict[str, Any]) -> None:
    set_state(run["id"], "SCHEDULED", "AwaitingRetry", "its process died", force=True)
