"""The end of an action that waited: its work is ended first, or by the next process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from prefect_codepipeline.actions.registry import (
    ActionContext,
    ActionProvider,
    ActionResult,
    Waiting,
    get_provider,
)
from prefect_codepipeline.engine.executions.process import Execution, OutcomeUnknown
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.pool_runs.action_context import end_if_it_must
from prefect_codepipeline.engine.pool_runs.provider import may_restart
from prefect_codepipeline.errors import (
    ActionAbandoned,
    ActionFailed,
    ActionInterrupted,
    PrefectRefused,
    PrefectUnavailable,
)
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    ActionTypeId,
    PipelineDeclaration,
)
from prefect_codepipeline.model.record.facts import ActionStarted
from prefect_codepipeline.model.record.state import ActionState
from prefect_codepipeline.model.record.waiting_facts import ActionWaits
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.tasks.action import _unreached, _waits

IDENTITY: dict[str, Any] = {"stage": "S", "action": "A", "attempt": 1, "action_execution_id": "a1"}
NOW = datetime.now(timezone.utc)
STACK = ActionTypeId(category="Deploy", owner="AWS", provider="CloudFormation", version="1")
COMMANDS = ActionTypeId(category="Compute", owner="AWS", provider="Commands", version="1")


@pytest.fixture
def context(make_aws_context: Any) -> ActionContext:
    made: ActionContext = make_aws_context("Deploy/CloudFormation", seconds=-1)
    return made


def provider(stop: Callable[[Any, ActionContext], None]) -> ActionProvider:
    return replace(get_provider(STACK), run=lambda *_: ActionResult(), stop=stop)


def action(kind: ActionTypeId, waits: ActionWaits | None = None) -> ActionState:
    return ActionState(ActionDeclaration(name="A", action_type_id=kind), waits=waits)


def test_a_worker_that_is_shut_down_while_the_time_limit_ends_the_work_leaves_that_to_the_next(
    context: ActionContext,
) -> None:
    def stop(_: Any, called: ActionContext) -> None:
        called.cancellation.leave()
        called.check()

    with pytest.raises(ActionInterrupted):
        end_if_it_must(provider(stop), None, context)


def test_the_work_is_not_left_running_because_prefect_does_not_answer(context: ActionContext) -> None:
    def stop(*_: Any) -> None:
        raise PrefectUnavailable("no answer")

    context.cancellation.cancel()

    with pytest.raises(PrefectUnavailable):
        end_if_it_must(provider(stop), None, context)


@pytest.mark.parametrize("error", [ActionFailed("no"), RuntimeError("no"), PrefectRefused("no")])
def test_work_that_cannot_be_ended_keeps_no_action_open(context: ActionContext, error: Exception) -> None:
    def stop(*_: Any) -> None:
        raise error

    context.cancellation.cancel()

    with pytest.raises(ActionAbandoned):
        end_if_it_must(provider(stop), None, context)


def execution(**settings: Any) -> Execution:
    """An execution whose settings are known already."""
    declaration = PipelineDeclaration(name="p", role_arn="arn:aws:iam::111122223333:role/pipeline", stages=[])
    made = Execution(RecordOf("e"), declaration, [], 1, can_suspend=True)
    made.__dict__["settings"] = StoredSettings(defaults=ActionSettings(**settings))
    return made


def test_an_action_with_a_work_pool_is_found_again_unless_it_had_begun_here() -> None:
    begun = replace(action(COMMANDS), started=ActionStarted(**IDENTITY, at=NOW))

    assert not may_restart(execution(), "S", action(COMMANDS))
    assert may_restart(execution(work_pool="gpu"), "S", action(COMMANDS))
    assert not may_restart(execution(work_pool="gpu"), "S", begun), (
        "it may have worked before the settings changed"
    )
    assert may_restart(execution(), "S", action(STACK))


def test_what_prefect_does_not_answer_about_is_continued_by_the_next_process() -> None:
    waits = ActionWaits(**IDENTITY, at=NOW, number=1, until=NOW)
    for continued in (action(STACK), action(COMMANDS, waits)):
        with pytest.raises(OutcomeUnknown, match="no answer; the next process continues the action"):
            _unreached(execution(), "S", continued, PrefectUnavailable("no answer"))
    assert (
        _unreached(execution(), "S", action(COMMANDS), PrefectUnavailable("no answer")).code
        == "SystemUnavailable"
    )
    assert _unreached(execution(), "S", action(STACK), PrefectRefused("never")).code == "ConfigurationError"


def test_a_wait_for_what_cannot_come_is_refused() -> None:
    for key in ("", "Job 1", "a\0b"):
        with pytest.raises(ActionFailed, match="keys have a-z, 0-9 and '-' only"):
            _waits(Waiting(fact=key), action(STACK), IDENTITY, NOW)
    with pytest.raises(ActionFailed, match="without a time zone"):
        _waits(Waiting(until=datetime(2030, 1, 1)), action(STACK), IDENTITY, NOW)
