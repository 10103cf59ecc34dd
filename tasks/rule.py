"""Evaluate one rule: resolve its variables, fetch its inputs, call its provider, return the outcome.

`ask_rule` records the `RuleOutcome`, or the `RuleWait` for the next evaluation; `run_rule` records nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from prefect_codepipeline.actions.rule_registry import (
    RuleContext,
    RuleResult,
    RuleType,
    WaitUntil,
    get_rule_provider,
    rule_providers,
)
from prefect_codepipeline.actions.work import CancellationToken, FetchedWhenUsed, InputTree
from prefect_codepipeline.engine.executions.attempt import (
    SUMMARY_LENGTH,
    attempting,
    configuration_of,
    displayed_configuration,
    failure,
    find_input,
    reason_of,
    task_state_of,
)
from prefect_codepipeline.engine.executions.process import Execution, current_execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import (
    ActionAbandoned,
    ActionFailed,
    PrefectUnavailable,
    UnresolvedVariable,
)
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.conditions import ConditionKind, RuleOutcome, RuleWait
from prefect_codepipeline.model.definition.declaration import RuleDeclaration
from prefect_codepipeline.model.definition.variables import Namespaces, resolve
from prefect_codepipeline.model.record.condition_facts import RuleAnswered, RuleAsked, RuleWaits, override_key
from prefect_codepipeline.model.record.state import ConditionState

# A rule whose timeout passed during a wait is evaluated a last time, with this limit.
LAST_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class RuleQuestion:
    """One evaluation of a rule. `started_at` is the time of the first one; `memory` is that of the last `RuleWait`."""

    stage_name: str
    condition: ConditionKind
    rule: RuleDeclaration
    rule_execution_id: str
    started_at: datetime
    now: datetime
    memory: Mapping[str, str] = field(default_factory=dict)

    def again(self, wait: RuleWait, now: datetime) -> RuleQuestion:
        """The next evaluation, after a wait."""
        return RuleQuestion(
            self.stage_name,
            self.condition,
            self.rule,
            wait.rule_execution_id,
            wait.started_at,
            now,
            wait.memory,
        )


@dataclass(frozen=True)
class RulePlace:
    """What a rule needs from the execution that it evaluates."""

    pipeline_name: str
    pipeline_execution_id: str
    namespaces: Namespaces
    find_input: Callable[[str, Path], Callable[[], InputTree]]
    settings: ActionSettings = field(default_factory=ActionSettings)
    cancellation: CancellationToken = field(default_factory=CancellationToken)
    logger: logging.Logger | logging.LoggerAdapter[Any] = field(
        default_factory=lambda: logging.getLogger(__name__)
    )


def place_of(
    execution: Execution,
    stage_name: str,
    rule_name: str,
    logger: logging.Logger | logging.LoggerAdapter[Any],
) -> RulePlace:
    """What a rule needs from its execution; settings for `Stage/Rule` apply as for an action."""
    return RulePlace(
        pipeline_name=execution.declaration.name,
        pipeline_execution_id=execution.id,
        namespaces=execution.state.namespaces,
        find_input=lambda name, directory: find_input(
            execution.state.artifacts,
            lambda: execution.store,
            name,
            directory,
            missing="the action that declares it as an output did not produce it",
            why_no_clone="which rules do not support",
        ),
        settings=execution.settings.for_action(stage_name, rule_name),
        cancellation=execution.cancellation,
        logger=logger,
    )


def run_rule(question: RuleQuestion, place: RulePlace) -> RuleOutcome | RuleWait:
    """Evaluate a rule once; any exception becomes the outcome.

    A rule that is not met has a summary and no error details. With error details it could not be evaluated
    (`ConfigurationError`, `PermissionError`, `SystemUnavailable`, `InternalError`), its work failed (`JobFailed`)
    or it timed out (`Timeout`).
    """
    rule = question.rule
    place.logger.info(
        "Evaluating rule %r (%s of stage %r)", rule.name, question.condition, question.stage_name
    )
    unexpected = f"Rule {rule.name!r} failed with an unexpected error (a bug in the provider or the engine)"
    try:
        with attempting(place.logger, unexpected) as scratch:
            answer = _evaluate(question, place, scratch)
    except ActionAbandoned as error:
        answer = _outcome(question, status="Abandoned", summary=str(error))
    except ActionFailed as error:
        fields = failure(error)
        answer = _outcome(question, summary=fields["error_details"].message[:SUMMARY_LENGTH], **fields)
    if isinstance(answer, RuleOutcome):
        answer = answer.model_copy(
            update={"resolved_configuration": _displayed_configuration(rule, place.namespaces)}
        )
    _log(answer, place)
    return answer


def resolve_rule(rule: RuleDeclaration, namespaces: Namespaces) -> RuleDeclaration:
    """The rule with every reference replaced. Raises `UnresolvedVariable`, naming the rule and the reference."""
    try:
        return rule.model_copy(
            update={
                "configuration": {
                    key: resolve(value, namespaces) for key, value in (rule.configuration or {}).items()
                },
                "commands": rule.commands and [resolve(command, namespaces) for command in rule.commands],
            }
        )
    except UnresolvedVariable as error:
        raise UnresolvedVariable(f"rule {rule.name!r}: {error}") from None


def as_task_state(answer: RuleOutcome | RuleWait) -> State[Any]:
    """The state of the task run that evaluated the rule: one that ends in a wait has completed."""
    if isinstance(answer, RuleWait):
        return Completed(name="Waits", message=f"until {answer.at:%Y-%m-%d %H:%M:%S} UTC: {answer.summary}")
    return task_state_of(answer)


def _evaluate(question: RuleQuestion, place: RulePlace, scratch: Path) -> RuleOutcome | RuleWait:
    provider = get_rule_provider(RuleType.of(question.rule.rule_type_id))
    rule = resolve_rule(question.rule, place.namespaces)
    configuration = configuration_of(provider, f"rule {rule.name!r}", rule.configuration)
    minutes = rule.timeout_in_minutes or provider.timeout_in_minutes
    expires_at = question.started_at + timedelta(minutes=minutes)
    try:
        context = _make_context(question, place, rule, expires_at, scratch)
        context.check()
        result = provider.run(configuration, context)
    except PrefectUnavailable as error:
        raise ActionFailed(str(error), code="SystemUnavailable") from error
    if place.cancellation.cancelled:
        context.check()
    if isinstance(result, RuleResult):
        return _outcome(
            question,
            status=result.status,
            summary=result.summary[:SUMMARY_LENGTH],
            external_execution_id=result.external_execution_id,
            external_execution_url=result.external_execution_url,
        )
    return _wait(question, result, expires_at, minutes)


def _make_context(
    question: RuleQuestion, place: RulePlace, rule: RuleDeclaration, expires_at: datetime, scratch: Path
) -> RuleContext:
    inputs = [
        place.find_input(artifact.name, _created(scratch / "inputs" / artifact.name))
        for artifact in rule.input_artifacts or ()
    ]
    return RuleContext(
        pipeline_name=place.pipeline_name,
        pipeline_execution_id=place.pipeline_execution_id,
        stage_name=question.stage_name,
        condition=question.condition,
        rule=rule,
        rule_execution_id=question.rule_execution_id,
        started_at=question.started_at,
        now=question.now,
        expires_at=expires_at,
        scratch=_created(scratch / "scratch"),
        deadline=_deadline(question, expires_at),
        memory=dict(question.memory),
        input_artifacts=FetchedWhenUsed(len(inputs), lambda: [fetch() for fetch in inputs]),
        settings=place.settings,
        cancellation=place.cancellation,
        logger=place.logger,
    )


def _deadline(question: RuleQuestion, expires_at: datetime) -> float:
    return time.monotonic() + max((expires_at - question.now).total_seconds(), LAST_ANSWER_SECONDS)


def _wait(question: RuleQuestion, wait: WaitUntil, expires_at: datetime, minutes: int) -> RuleWait:
    """The wait, which ends at the rule's timeout at the latest.

    Raises:
        ActionFailed: with code `Timeout`, the timeout has passed.
    """
    if question.now >= expires_at:
        raise ActionFailed(
            f"rule {question.rule.name!r} had no answer within {minutes} minutes: {wait.summary}",
            code="Timeout",
            external_execution_id=wait.external_execution_id,
            external_execution_url=wait.external_execution_url,
        )
    return RuleWait(
        rule=question.rule.name,
        rule_execution_id=question.rule_execution_id,
        started_at=question.started_at,
        at=min(wait.at, expires_at),
        summary=wait.summary[:SUMMARY_LENGTH],
        memory=dict(wait.memory),
        external_execution_id=wait.external_execution_id,
        external_execution_url=wait.external_execution_url,
    )


def _outcome(question: RuleQuestion, **fields: Any) -> RuleOutcome:
    return RuleOutcome(
        rule=question.rule.name,
        rule_execution_id=question.rule_execution_id,
        started_at=question.started_at,
        ended_at=utc_now(),
        **fields,
    )


def _displayed_configuration(rule: RuleDeclaration, namespaces: Namespaces) -> dict[str, str]:
    """The configuration for display: with variables resolved if possible, and secrets masked."""
    try:
        values = resolve_rule(rule, namespaces).configuration
    except UnresolvedVariable:
        values = rule.configuration
    return displayed_configuration(rule_providers().get(RuleType.of(rule.rule_type_id)), values)


def _log(answer: RuleOutcome | RuleWait, place: RulePlace) -> None:
    if isinstance(answer, RuleWait):
        place.logger.info(
            "Rule %r waits until %s: %s", answer.rule, f"{answer.at:%Y-%m-%d %H:%M:%S} UTC", answer.summary
        )
        return
    reason = reason_of(answer)
    place.logger.log(
        logging.ERROR if answer.errored else logging.INFO,
        "Rule %r %s%s",
        answer.rule,
        answer.status,
        f": {reason}" if reason else "",
    )


def _created(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@task(cache_policy=NO_CACHE, persist_result=False)
def ask_rule(stage_name: str, kind: str, rule_name: str) -> State[Any]:
    """Evaluate a rule once, and record its answer."""
    execution = current_execution()
    known = known_condition(execution, stage_name, kind)
    rule = next(rule for rule in known.rules if rule.rule.name == rule_name)
    attempt = execution.state.stage(stage_name).attempt
    identity: dict[str, Any] = {"stage": stage_name, "condition": kind, "attempt": attempt}
    asked = rule.asked or execution.write(
        RuleAsked(**identity, at=utc_now(), rule=rule_name, rule_execution_id=str(uuid4()))
    )
    question = RuleQuestion(
        stage_name,
        known.kind,
        rule.rule,
        asked.rule_execution_id,
        asked.at,
        utc_now(),
        rule.wait.memory if rule.wait else {},
    )
    answer = _ask_provider(execution, question, override_key(known.kind, stage_name, attempt))
    if isinstance(answer, RuleWait):
        execution.write(RuleWaits(**identity, at=utc_now(), number=rule.waits + 1, wait=answer))
    else:
        execution.write(RuleAnswered(**identity, at=utc_now(), outcome=answer))
    return as_task_state(answer)


def _ask_provider(execution: Execution, question: RuleQuestion, key: str) -> RuleOutcome | RuleWait:
    """Evaluate the rule; abandon it if its condition is overridden meanwhile."""
    token = CancellationToken()
    place = place_of(execution, question.stage_name, question.rule.name, get_run_logger())
    execution.overridable = (key, token)
    try:
        return run_rule(question, replace(place, cancellation=token))
    finally:
        execution.overridable = None


def known_condition(execution: Execution, stage_name: str, kind: str) -> ConditionState:
    """The current state of a condition of a stage."""
    return next(c for c in execution.state.stage(stage_name).conditions if c.kind == kind)
