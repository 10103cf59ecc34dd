"""Run one action in a flow run of its own, on a machine that shares only Prefect and the artifact store with others."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
from prefect_codepipeline.actions.registry import ActionContext, ActionProvider, ActionResult, Waiting
from prefect_codepipeline.actions.work import CancellationToken
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.engine.executions.attempt import (
    attempting,
    configuration_of,
    failure,
    worker_died,
)
from prefect_codepipeline.engine.executions.keeping import Keeper
from prefect_codepipeline.engine.executions.progress import ProgressReport
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.jobs.provider import provider_of
from prefect_codepipeline.engine.pool_runs.action_context import (
    ActionPlace,
    earlier_of,
    end_if_it_must,
    make_context,
    store_outputs,
    success,
)
from prefect_codepipeline.engine.pool_runs.asking import forget_secrets, read_mark, with_secrets
from prefect_codepipeline.errors import (
    ActionAbandoned,
    ActionFailed,
    ActionInterrupted,
    NewerRecord,
    PrefectUnavailable,
)
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.facts import ActionProgressed
from prefect_codepipeline.model.record.pool_run_facts import (
    PoolRunAsked,
    PoolRunEnded,
    PoolRunTaken,
    StorePlace,
    pool_run_prefix,
)
from prefect_codepipeline.model.record.waiting_facts import ActionKept
from prefect_codepipeline.prefect_api.client import flow_run
from prefect_codepipeline.prefect_api.runs import AnyLogger

# How often the process looks whether its execution has ended the pool run, or the fact came for which it waits.
LOOK_SECONDS = 3.0
# Every so many looks it also looks whether the execution is there.
LOOKS_AT_EXECUTION = 5


@dataclass(frozen=True)
class PoolAction:
    """An action that this process runs; `first` and `taken` are the first process that took it, and this one.

    `left` is set once this process must leave it as it is: another process has taken it, because this one did not renew
    its lease, or a newer release has written into its record.
    """

    record: RecordOf
    asked: PoolRunAsked
    taken: PoolRunTaken
    first: PoolRunTaken
    cancellation: CancellationToken
    logger: AnyLogger
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that all facts of the action execution share."""
        asked = self.asked
        return {
            "stage": asked.stage,
            "action": asked.action,
            "attempt": asked.attempt,
            "action_execution_id": asked.action_execution_id,
        }


def take(
    record: RecordOf, action_execution_id: str, flow_run_id: str, logger: AnyLogger
) -> PoolAction | PoolRunEnded | None:
    """Make this process the one that runs the action. Its result if it has one; None if nothing asks for it any more.

    Raises:
        NewerRecord: a newer release wrote what is known of the action. It was not taken.
    """
    facts = record.read(pool_run_prefix(action_execution_id))
    asked = next((fact for fact in facts if isinstance(fact, PoolRunAsked)), None)
    ended = next((fact for fact in facts if isinstance(fact, PoolRunEnded)), None)
    if asked is None or ended or _is_over(record.execution_id):
        return ended
    _earlier_facts(record, asked)  # read again once it is taken: what cannot be read then is a failure
    before = [fact for fact in facts if isinstance(fact, PoolRunTaken)]
    number = 1 + max((fact.number for fact in before), default=0)
    while True:
        taken = PoolRunTaken(
            stage=asked.stage,
            action=asked.action,
            attempt=asked.attempt,
            action_execution_id=action_execution_id,
            at=utc_now(),
            number=number,
            host=socket.gethostname(),
            pid=os.getpid(),
            flow_run_id=flow_run_id,
        )
        if record.write(taken):
            return PoolAction(record, asked, taken, (before or [taken])[0], CancellationToken(), logger)
        number += 1


def run_pool_action(action: PoolAction) -> PoolRunEnded:
    """Do the work of the action, and record its result; the result that counts, which its execution may have recorded.

    Raises:
        ActionInterrupted: this process must end, and another one continues the action.
        NewerRecord: the same, since a newer release has written into the record.
        PrefectUnavailable: Prefect does not answer; another process continues the action, or it fails as after a crash.
    """
    name, stage = action.asked.action, action.asked.stage
    unexpected = (
        f"Action {name!r} of stage {stage!r} failed unexpectedly: a bug in its provider or in the engine"
    )
    try:
        with attempting(action.logger, unexpected) as scratch, _watching(action):
            try:
                outcome = _attempt(action, scratch)
            except (NewerRecord, PrefectUnavailable) as error:
                raise _NoFailure(error) from error
    except _NoFailure as error:
        raise error.cause from None
    except ActionInterrupted:
        if action.left.is_set() or provider_of(action.asked.declaration.action_type_id).restartable:
            raise
        outcome = failure(ActionFailed("the worker was shut down while the action ran", code="InternalError"))
    except ActionAbandoned:  # by its execution, which has recorded the result then, or:
        outcome = failure(ActionFailed("its flow run was cancelled in Prefect"))
    except ActionFailed as error:
        outcome = failure(error)
    return _record(action, outcome)


class _NoFailure(BaseException):
    """Carries an error past what makes each error a failure of the action."""

    def __init__(self, cause: NewerRecord | PrefectUnavailable) -> None:
        self.cause = cause


def _record(action: PoolAction, outcome: dict[str, Any]) -> PoolRunEnded:
    common = {**action.identity, "at": utc_now(), "ended_by": socket.gethostname()}
    try:
        ended = PoolRunEnded(**common, **outcome)
    except ValidationError as error:
        refusal = ActionFailed(f"the provider's result cannot be recorded: {error}", code="InternalError")
        ended = PoolRunEnded(**common, **failure(refusal))
    ended = action.record.write_or_read(ended)
    with suppress(PrefectUnavailable):  # its execution does so too, unless that has been ended from outside
        forget_secrets(action.asked)
    return ended


def _attempt(action: PoolAction, scratch: Path) -> dict[str, Any]:
    """Call the provider until it has a result; the fields of the result."""
    check_machine(sys.platform)
    asked = action.asked
    declaration = with_secrets(asked)
    provider = provider_of(declaration.action_type_id)
    configuration = configuration_of(provider, f"action {declaration.name!r}", declaration.configuration)
    place = ActionPlace(
        pipeline_name=asked.pipeline_name,
        execution_id=action.record.execution_id,
        stage_name=asked.stage,
        artifacts=asked.inputs,
        store=open_store(asked.store),
        settings=asked.settings,
        source_revision_override=asked.source_revision_override,
        cancellation=action.cancellation,
    )
    context = make_context(place, declaration, asked.action_execution_id, scratch, action.first.at, provider)
    result = _call_until_done(action, provider, configuration, context)
    context.check()
    return success(result, store_outputs(place, declaration, result))


def _call_until_done(
    action: PoolAction, provider: ActionProvider, configuration: Any, context: ActionContext
) -> ActionResult:
    kept, reported = _earlier_facts(action.record, action.asked)
    with (
        closing(Keeper(action.record.write_or_read, kept, action.identity)) as keep,
        ProgressReport(action.record.write_or_read, reported, **action.identity) as report,
    ):
        context = replace(context, logger=action.logger, report_progress=report, keep=keep)
        if action.taken.number > 1:
            context = replace(context, earlier=earlier_of(action.first.at, kept))
            if not provider.may_restart(configuration, context):
                raise worker_died()
        while isinstance(result := provider.call(configuration, context), Waiting):
            report(summary=result.summary)
            _wait(action, result, context)
            kept, _ = _earlier_facts(action.record, action.asked)
            context = replace(context, earlier=earlier_of(action.first.at, kept))
            end_if_it_must(provider, configuration, context)
        return result


def _wait(action: PoolAction, waiting: Waiting, context: ActionContext) -> None:
    """Wait as the provider says: at least a second, and at most until the end of its time."""
    ends = utc_now() + timedelta(seconds=max(0.0, context.remaining_seconds))
    until = min(waiting.until or ends, ends)
    action.cancellation.wait(1.0)
    while utc_now() < until and not action.cancellation.cancelled:
        if waiting.fact and action.record.get(waiting.fact):
            return
        left = (until - utc_now()).total_seconds()
        action.cancellation.wait(max(0.0, min(LOOK_SECONDS, left)))


def _earlier_facts(record: RecordOf, asked: PoolRunAsked) -> tuple[ActionKept | None, int]:
    """What the action has kept so far, and the number of its last report."""
    facts = record.read(f"action-{slug(asked.stage, asked.action)}-{asked.attempt}-")
    kept = [fact for fact in facts if isinstance(fact, ActionKept)]
    reports = [fact.number for fact in facts if isinstance(fact, ActionProgressed)]
    return max(kept, key=lambda fact: fact.number, default=None), max(reports, default=0)


@contextmanager
def _watching(action: PoolAction) -> Iterator[None]:
    """End the work once its execution has ended it or itself, or this process must leave it to another one."""
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(action, done), name="codepipeline-pool-run", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(action: PoolAction, done: threading.Event) -> None:
    prefix = pool_run_prefix(action.asked.action_execution_id)
    for look in count():
        if done.wait(LOOK_SECONDS):
            return
        try:
            facts = action.record.read(prefix)
            is_over = look % LOOKS_AT_EXECUTION == 0 and _is_over(action.record.execution_id)
        except PrefectUnavailable as error:  # it is looked again
            action.logger.debug("could not check whether the action must end: %s", error)
            continue
        except NewerRecord as error:
            action.logger.warning("%s", error)
            _leave(action)
            return
        if is_over or any(isinstance(fact, PoolRunEnded) for fact in facts):
            action.cancellation.cancel()
            return
        if any(isinstance(fact, PoolRunTaken) and fact.number > action.taken.number for fact in facts):
            _leave(action)
            return


def _leave(action: PoolAction) -> None:
    action.left.set()
    action.cancellation.leave()


def _is_over(execution_id: str) -> bool:
    """Whether the execution was ended from outside, or deleted with its pipeline, without a word to its actions."""
    run = flow_run(execution_id)
    return run is None or run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED")


def open_store(place: StorePlace) -> ArtifactStore:
    """The store of the execution, on this machine.

    Raises:
        ActionFailed: with code `ConfigurationError`, it is a folder of another machine; or the block is missing.
    """
    if place.folder is None:
        return load_artifact_store(place.block)
    if read_mark(Path(place.folder)) == place.mark:
        return ArtifactStore(url=place.folder)
    raise ActionFailed(
        f"the artifact store is the folder {place.folder} of machine {place.host!r}, which machine "
        f"{socket.gethostname()!r} does not share; use an ArtifactStore block with s3://, gs:// or az://, or mount "
        "the folder on both machines",
        code="ConfigurationError",
    )


def check_machine(platform: str) -> None:
    """Raise `ActionFailed` if no process supervisor holds on that platform."""
    if platform == "win32":
        raise ActionFailed(
            "actions do not run on Windows: the processes that an action starts could outlive it there; "
            "use a work pool whose workers run on Linux or macOS",
            code="ConfigurationError",
        )
