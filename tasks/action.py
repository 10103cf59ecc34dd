"""Run one action: resolve its variables, fetch its inputs, call its provider, store its outputs, write its facts."""

from __future__ import annotations

import re
import time
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
from prefect.logging import get_logger, get_run_logger
from prefect.runtime import task_run
from pydantic import ValidationError

from prefect_codepipeline.actions.artifacts.storing import store_tree
from prefect_codepipeline.actions.registry import (
    ActionContext,
    ActionProvider,
    ActionResult,
    Earlier,
    Waiting,
    get_provider,
    providers,
)
from prefect_codepipeline.actions.work import FetchedWhenUsed
from prefect_codepipeline.engine.executions.attempt import (
    SUMMARY_LENGTH,
    attempting,
    configuration_of,
    displayed_configuration,
    failure,
    find_input,
    log_end,
    task_state_of,
    worker_died,
)
from prefect_codepipeline.engine.executions.keeping import Keeper
from prefect_codepipeline.engine.executions.process import Execution, OutcomeUnknown, current_execution
from prefect_codepipeline.engine.executions.progress import ProgressReport
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import (
    ActionAbandoned,
    ActionFailed,
    ActionInterrupted,
    PrefectRefused,
    PrefectUnavailable,
)
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.definition.variables import resolve_action
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.record.facts import ActionFinished, ActionStarted
from prefect_codepipeline.model.record.state import ActionState, StageState
from prefect_codepipeline.model.record.waiting_facts import ActionWaits
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.prefect_api.runs import count_from

MAX_OUTPUT_VARIABLES_BYTES = 122_880
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
                raise _unreached(known, error) from error
        if isinstance(outcome, ActionWaits):
            return outcome
    except ActionInterrupted:
        outcome = _interruption(execution, known)
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


def _interruption(execution: Execution, known: ActionState) -> dict[str, Any]:
    """Failed, as after a crash. Raises if the next process continues the action, or already does."""
    execution.look_for_stop()
    _leave_to_the_next_process(known, "the worker was shut down")
    details = ErrorDetails(code="InternalError", message="the worker was shut down while the action ran")
    return {"status": "Failed", "error_details": details}


def _unreached(known: ActionState, error: PrefectUnavailable) -> ActionFailed:
    """The failure of an action about which Prefect did not answer. Raises if the next process continues the action."""
    if isinstance(error, PrefectRefused):  # the next process would be refused too
        return ActionFailed(str(error), code="ConfigurationError")
    _leave_to_the_next_process(known, str(error))
    return ActionFailed(str(error), code="SystemUnavailable")


def _leave_to_the_next_process(known: ActionState, why: str) -> None:
    """Raise `OutcomeUnknown` if the next process can continue the action."""
    provider = providers().get(known.action.action_type_id)
    if (provider and provider.restartable) or known.waits:
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
        provider = get_provider(action.action_type_id)
        resolved = resolve_action(action, execution.state.namespaces)
    finally:
        # An action whose variables cannot be resolved fails, and every failed action needs a started fact.
        started = execution.write(_start_fact(resolved, identity))
    if started.action_execution_id != identity["action_execution_id"]:
        _end_what_another_process_started(execution, identity, started)
    configuration = configuration_of(provider, f"action {action.name!r}", resolved.configuration)
    if not known.waits:
        get_run_logger().info("Action %r of stage %r started", action.name, stage.name)
    context = make_context(
        execution, stage.name, resolved, identity["action_execution_id"], scratch, started.at
    )
    reported = known.progress.number if known.progress else 0
    with (
        closing(Keeper(execution.write, known.kept, identity)) as keep,
        ProgressReport(execution.write, reported, **identity) as report,
    ):
        context = replace(
            context, logger=get_run_logger(), report_progress=report, keep=keep, earlier=_earlier(known)
        )
        if known.waits:
            _end_if_it_must(provider, configuration, context)
        elif known.started and not provider.may_restart(configuration, context):
            raise worker_died()
        elif not known.started and execution.cancellation.cancelled:
            context.check()  # nothing starts in an execution that was abandoned meanwhile
        result = provider.call(configuration, context)
    if isinstance(result, Waiting):
        return _waits(result, known, identity, started.at + timedelta(minutes=provider.timeout_in_minutes))
    cleanups.append(result.cleanup)
    context.check()
    return _success(result, _store_outputs(execution, resolved, result))


def _end_if_it_must(provider: ActionProvider, configuration: Any, context: ActionContext) -> None:
    """Raise if an action that waited must end, after its provider has ended its work."""
    try:
        context.check()
    except ActionInterrupted:
        raise
    except (ActionAbandoned, ActionFailed) as why:
        try:
            (provider.stop or provider.call)(configuration, context)
        # A provider may raise anything, and the action has to end as it must.
        except Exception as error:
            if isinstance(error, ActionInterrupted | PrefectUnavailable) and not isinstance(
                error, PrefectRefused
            ):
                raise  # the next process ends the work
            if _is_same_end(error, why):
                raise  # it also says what becomes of the work
            context.logger.warning("The work of action %r may still run: %s", context.action.name, error)
        raise


def _is_same_end(error: Exception, why: ActionAbandoned | ActionFailed) -> bool:
    return type(error) is type(why) and getattr(error, "code", None) == getattr(why, "code", None)


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


def _earlier(known: ActionState) -> Earlier | None:
    if not known.started:
        return None
    if not known.kept:
        return Earlier(known.started.at)
    kept = known.kept
    return Earlier(known.started.at, kept.external_execution_id, kept.external_execution_url, kept.state)


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
    displayed = displayed_configuration(providers().get(action.action_type_id), action.configuration)
    run_id = str(task_run.id) if task_run.id else None
    inputs = [artifact.name for artifact in action.input_artifacts]
    return ActionStarted(
        **identity, at=utc_now(), resolved_configuration=displayed, input_artifacts=inputs, task_run_id=run_id
    )


def _store_outputs(
    execution: Execution, action: ActionDeclaration, result: ActionResult
) -> list[StoredArtifact]:
    declared = {artifact.name for artifact in action.output_artifacts}
    if unknown := result.output_artifacts.keys() - declared:
        raise ActionFailed(
            f"the provider returned output artifacts that action {action.name!r} does not declare: "
            f"{', '.join(map(repr, sorted(unknown)))}"
        )
    revision = (
        result.source_revision.revision_id
        if result.source_revision
        else _revision_of_inputs(execution, action)
    )
    return [
        store_tree(execution.store, name, tree, revision) for name, tree in result.output_artifacts.items()
    ]


def _revision_of_inputs(execution: Execution, action: ActionDeclaration) -> str | None:
    artifacts = execution.state.artifacts
    inputs = (artifacts.get(artifact.name) for artifact in action.input_artifacts)
    return next((artifact.revision_id for artifact in inputs if artifact and artifact.revision_id), None)


def _success(result: ActionResult, artifacts: list[StoredArtifact]) -> dict[str, Any]:
    variables = dict(result.output_variables)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in variables.items())
    if size > MAX_OUTPUT_VARIABLES_BYTES:
        raise ActionFailed(
            f"the output variables take {size} bytes; the limit is {MAX_OUTPUT_VARIABLES_BYTES}",
            code="ConfigurationError",
        )
    return {
        "status": "Succeeded",
        "summary": result.summary[:SUMMARY_LENGTH],
        "external_execution_id": result.external_execution_id,
        "external_execution_url": result.external_execution_url,
        "output_variables": variables,
        "output_artifacts": artifacts,
        "source_revision": result.source_revision,
    }


def make_context(
    execution: Execution,
    stage_name: str,
    action: ActionDeclaration,
    action_execution_id: str,
    scratch: Path,
    started_at: datetime | None = None,
) -> ActionContext:
    """Find the input artifacts of an action and build the context for its provider.

    Args:
        execution: the execution whose artifacts and settings the action uses.
        stage_name: the stage of the action.
        action: the action, with its variables resolved.
        action_execution_id: the id of this attempt.
        scratch: an empty directory for the input artifacts and the provider's files.
        started_at: when the attempt was started, maybe by an earlier process; the time limit counts from then.

    Raises:
        ActionFailed: with code `ConfigurationError`, an input artifact was never produced.
    """
    provider = get_provider(action.action_type_id)
    can_clone = action.action_type_id.provider == "CodeBuild"
    inputs = [
        find_input(
            execution,
            artifact.name,
            scratch / "inputs" / artifact.name,
            missing="the action that declares it as an output did not produce it",
            why_no_clone=None if can_clone else "which only CodeBuild actions can use",
        )
        for artifact in action.input_artifacts
    ]
    seconds_ago = max(0.0, (utc_now() - started_at).total_seconds()) if started_at else 0.0
    (scratch / "scratch").mkdir(parents=True, exist_ok=True)
    return ActionContext(
        pipeline_name=execution.declaration.name,
        pipeline_execution_id=execution.id,
        stage_name=stage_name,
        action=action,
        action_execution_id=action_execution_id,
        scratch=scratch / "scratch",
        deadline=time.monotonic() + 60 * provider.timeout_in_minutes - seconds_ago,
        input_artifacts=FetchedWhenUsed(len(inputs), lambda: [fetch() for fetch in inputs]),
        settings=execution.settings.for_action(stage_name, action.name),
        source_revision_override=execution.state.pinned.source_revisions.get(action.name),
        cancellation=execution.cancellation,
        logger=get_logger(__name__),
        store=execution.store,
    )
