"""Run one action: resolve its variables, fetch its inputs, call its provider, store its outputs, write its facts."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from pydantic import ValidationError

from prefect_codepipeline.actions.registry import (
    Waiting,
)
from prefect_codepipeline.engine.executions.attempt import (
    SUMMARY_LENGTH,
    attempting,
    configuration_of,
    displayed_configuration,
    failure,
    log_end,
    task_state_of,
    worker_died,
)
from prefect_codepipeline.engine.executions.keeping import Keeper
from prefect_codepipeline.engine.executions.process import Execution, OutcomeUnknown, current_execution
from prefect_codepipeline.engine.executions.progress import ProgressReport
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.jobs.provider import find_provider
from prefect_codepipeline.engine.pool_runs.action_context import (
    ActionPlace,
    earlier_of,
    end_if_it_must,
    make_context,
    store_outputs,
    success,
)
from prefect_codepipeline.engine.pool_runs.provider import may_restart, provider_for
from prefect_codepipeline.errors import (
    ActionAbandoned,
    ActionFailed,
    ActionInterrupted,
    PrefectRefused,
    PrefectUnavailable,
)
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.definition.variables import resolve_action
from prefect_codepipeline.model.record.facts import ActionFinished, ActionStarted
from prefect_codepipeline.model.record.state import ActionState, StageState
from prefect_codepipeline.model.record.waiting_facts import ActionWaits
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.runs import count_from

_KEY = re.compile(r"[a-z0-9-]+")


@task(cache_policy=NO_CACHE, persist_result=False)
def run_action(stage_name: str, action_name: str) -> State[Any]:
    """Run the current attempt of an action of the current execution, unless its facts say that it has finished."""
    execution = current_execution()
    stage = execution.state.stage(stage_name)
    known = stage.action(action_name)
    if known.finished:
        return task_state_of(known.finished)
    if known.started:
        count_from(known.started.at)
    cleanups: list[Callable[[], None]] = []
    outcome = _run(execution, stage, known, cleanups)
    if isinstance(outcome, ActionWaits):
        return _waiting_state(execution.write(outcome))
    state = task_state_of(execution.write(outcome))
    for clean_up in cleanups:
        clean_up()
    return state


def _run(
    execution: Execution, stage: StageState, known: ActionState, cleanups: list[Callable[[], None]]
) -> ActionFinished | ActionWaits:
    identity = _identity(stage, known)
    unexpected = (
        f"Action {known.name!r} of stage {stage.name!r} failed unexpectedly: "
        "a bug in its provider or in the engine"
    )
    try:
        with attempting(get_run_logger(), unexpected) as scratch:
            try:
                outcome = _attempt(execution, stage, known, identity, scratch, cleanups)
            except PrefectUnavailable as error:
                raise _unreached(execution, stage.name, known, error) from error
        if isinstance(outcome, ActionWaits):
            return outcome
    except ActionInterrupted:
        outcome = _interruption(execution, stage.name, known)
    except ActionAbandoned as error:
        outcome = {"status": "Abandoned", "summary": str(error)}
    except ActionFailed as error:
        outcome = failure(error)
    try:
        finished = ActionFinished(**identity, at=utc_now(), **outcome)
    except ValidationError as error:
        refusal = ActionFailed(f"the provider's result cannot be recorded: {error}", code="InternalError")
        finished = ActionFinished(**identity, at=utc_now(), **failure(refusal))
    if finished.status != "Succeeded":
        execution.look_for_stop()  # the failure of a process that was replaced does not count
    log_end(get_run_logger(), finished)
    return finished


def _interruption(execution: Execution, stage_name: str, known: ActionState) -> dict[str, Any]:
    """Failed, as after a crash. Raises if the next process continues the action, or already does."""
    execution.look_for_stop()
    _leave_to_the_next_process(execution, stage_name, known, "the worker was shut down")
    details = ErrorDetails(code="InternalError", message="the worker was shut down while the action ran")
    return {"status": "Failed", "error_details": details}


def _unreached(
    execution: Execution, stage_name: str, known: ActionState, error: PrefectUnavailable
) -> ActionFailed:
    """The failure of an action about which Prefect did not answer. Raises if the next process continues the action."""
    if isinstance(error, PrefectRefused):  # the next process would be refused too
        return ActionFailed(str(error), code="ConfigurationError")
    _leave_to_the_next_process(execution, stage_name, known, str(error))
    return ActionFailed(str(error), code="SystemUnavailable")


def _leave_to_the_next_process(execution: Execution, stage_name: str, known: ActionState, why: str) -> None:
    """Raise `OutcomeUnknown` if the next process can continue the action."""
    if known.waits or may_restart(execution, stage_name, known):
        raise OutcomeUnknown(f"{why}; the next process continues the action")


def _attempt(
    execution: Execution,
    stage: StageState,
    known: ActionState,
    identity: dict[str, Any],
    scratch: Path,
    cleanups: list[Callable[[], None]],
) -> dict[str, Any] | ActionWaits:
    """Do the work between the started and the finished fact; the fields of the finished fact, or that it waits."""
    resolved = action = known.action
    try:
        provider = provider_for(execution, stage.name, known)
        resolved = resolve_action(action, execution.state.namespaces)
    finally:
        # An action whose variables cannot be resolved fails, and every failed action needs a started fact.
        started = execution.write(_start_fact(resolved, identity))
    if started.action_execution_id != identity["action_execution_id"]:
        _end_what_another_process_started(execution, identity, started)
    configuration = configuration_of(provider, f"action {action.name!r}", resolved.configuration)
    if not known.waits:
        get_run_logger().info("Action %r of stage %r started", action.name, stage.name)
    place = ActionPlace.of(execution, stage.name, action.name)
    context = make_context(place, resolved, identity["action_execution_id"], scratch, started.at, provider)
    reported = known.progress.number if known.progress else 0
    with (
        closing(Keeper(execution.write, known.kept, identity)) as keep,
        ProgressReport(execution.write, reported, **identity) as report,
    ):
        earlier = earlier_of(known.started.at, known.kept) if known.started else None
        context = replace(
            context, logger=get_run_logger(), report_progress=report, keep=keep, earlier=earlier
        )
        if known.waits:
            end_if_it_must(provider, configuration, context)
        elif known.started and not provider.may_restart(configuration, context):
            raise worker_died()
        elif not known.started and execution.cancellation.cancelled:
            context.check()  # nothing starts in an execution that was abandoned meanwhile
        result = provider.call(configuration, context)
    if isinstance(result, Waiting):
        return _waits(result, known, identity, started.at + timedelta(minutes=provider.timeout_in_minutes))
    cleanups.append(result.cleanup)
    context.check()
    return success(result, store_outputs(place, resolved, result))


def _waits(wanted: Waiting, known: ActionState, identity: dict[str, Any], deadline: datetime) -> ActionWaits:
    if wanted.until is None and wanted.fact is None:
        raise ActionFailed("the provider waits, but for no time and for no fact", code="InternalError")
    if wanted.until and wanted.until.tzinfo is None:
        raise ActionFailed("the provider waits until a time without a time zone", code="InternalError")
    if wanted.fact is not None and not _KEY.fullmatch(wanted.fact):
        raise ActionFailed(
            f"the provider waits for a fact with the key {wanted.fact!r}; keys have a-z, 0-9 and '-' only",
            code="InternalError",
        )
    now, before = utc_now(), known.waits
    return ActionWaits(
        **identity,
        at=now,
        number=before.number + 1 if before else 1,
        since=(before.since or before.at) if before else now,
        deadline=deadline,
        until=min(wanted.until or deadline, deadline),
        fact=wanted.fact,
        summary=wanted.summary[:SUMMARY_LENGTH],
    )


def _waiting_state(waits: ActionWaits) -> State[Any]:
    message = f"since {waits.since:%Y-%m-%d %H:%M:%S} UTC, until {waits.deadline:%Y-%m-%d %H:%M:%S} UTC at the latest"
    if waits.until != waits.deadline:
        message += f", looked at again at {waits.until:%H:%M:%S} UTC"
    if waits.summary:
        message = f"{waits.summary}; {message}"
    return State(type=StateType.PAUSED, name="Waiting", message=message)


def _end_what_another_process_started(
    execution: Execution, identity: dict[str, Any], started: ActionStarted
) -> NoReturn:
    """Raise `TakenOver` if that process is the next one; the end of an interrupted action if it is an earlier one."""
    execution.look_for_stop()
    identity["action_execution_id"] = started.action_execution_id
    raise ActionFailed(
        "another process started it; what it had done by then is not known", code="InternalError"
    )


def _identity(stage: StageState, known: ActionState) -> dict[str, Any]:
    """The fields that all facts of this attempt share; a restarted attempt keeps its id."""
    action_execution_id = known.started.action_execution_id if known.started else str(uuid4())
    return {
        "stage": stage.name,
        "action": known.name,
        "attempt": stage.attempt,
        "action_execution_id": action_execution_id,
    }


def _start_fact(action: ActionDeclaration, identity: dict[str, Any]) -> ActionStarted:
    displayed = displayed_configuration(find_provider(action.action_type_id), action.configuration)
    run_id = str(task_run.id) if task_run.id else None
    inputs = [artifact.name for artifact in action.input_artifacts]
    return ActionStarted(
        **identity, at=utc_now(), resolved_configuration=displayed, input_artifacts=inputs, task_run_id=run_id
    )
