"""What an action waits for follows from its facts, and when the wait has ended from the time, the facts and a stop."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalDecided,
    ApprovalRequested,
)
from prefect_codepipeline.model.record.state import ActionState
from prefect_codepipeline.model.record.waiting_facts import ActionWaits, Wait

NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
LATER = NOW + timedelta(hours=1)
OF = {"stage": "S", "action": "A", "attempt": 1}


def declared(category: str) -> ActionDeclaration:
    kind = {"category": category, "owner": "AWS", "provider": "P", "version": "1"}
    return ActionDeclaration.model_validate({"name": "A", "actionTypeId": kind})


def started() -> ActionStarted:
    return ActionStarted(**OF, at=NOW, action_execution_id="1")


def ended(started: ActionStarted) -> ActionFinished:
    return started.finished(LATER, "Succeeded")


def test_an_approval_waits_for_its_decision_until_it_expires() -> None:
    request = ApprovalRequested(**OF, at=NOW, token="t", expires_at=LATER)
    decision = ApprovalDecided(at=NOW, token="t", status="Approved", by="ana")
    asked = ActionState(declared("Approval"), started(), request=request)

    assert asked.wait
    assert (asked.wait.since, asked.wait.until, asked.wait.fact) == (NOW, LATER, decision.key)
    assert asked.wait.what == "waiting for approval of action 'A' of stage 'S'"
    assert asked.looks == 1
    decided = ActionState(declared("Approval"), started(), request=request, decision=decision)
    assert decided.wait, "until its action has ended"
    assert ActionState(declared("Approval"), started(), ended(started()), request, decision).wait is None


def test_an_action_waits_as_its_provider_said_last() -> None:
    said = ActionWaits(
        **OF, at=NOW, action_execution_id="1", number=3, until=LATER, fact="job", summary="for the job"
    )
    action = ActionState(declared("Test"), started(), waits=said)

    assert action.wait == Wait("action 'A' waits: for the job", NOW, LATER, "job", "job", False)
    assert action.looks == 3
    later = said.model_copy(update={"since": NOW - timedelta(days=1), "deadline": LATER + timedelta(days=1)})
    wait = ActionState(declared("Test"), started(), waits=later).wait
    assert wait == Wait(
        "action 'A' waits: for the job",
        NOW - timedelta(days=1),
        LATER,
        "job",
        "job",
        False,
        LATER + timedelta(days=1),
    )
    assert ActionState(declared("Test"), started(), ended(started()), waits=said).wait is None
    assert ActionState(declared("Test"), started()).wait is None


def test_an_action_is_called_at_once_with_an_answer_that_it_has_not_seen() -> None:
    answer = ApprovalDecided(at=NOW, token="t", status="Approved", by="ana")
    first, second = (
        ActionWaits(**OF, at=NOW, action_execution_id="1", number=number, until=LATER, fact=answer.key)
        for number in (1, 2)
    )

    assert first.has_been_answered([started(), first, answer, ended(started())])
    assert not first.has_been_answered([started(), first])
    assert not second.has_been_answered([first, answer, second]), "it has begun to wait again in spite of it"
    assert not first.model_copy(update={"fact": None}).has_been_answered([first, answer])


@pytest.mark.parametrize("ends_with_a_stop", [True, False])
@pytest.mark.parametrize(
    ("now", "keys", "stopped", "expected"),
    [
        (NOW, set(), None, False),
        (LATER, set(), None, True),
        (NOW, {"job"}, None, True),
        (NOW, {"job-2"}, None, False),
        (NOW, set(), "abandon", True),
        (NOW, set(), "stop", "ends_with_a_stop"),
        (NOW, set(), "cancel", "ends_with_a_stop"),
    ],
)
def test_when_a_wait_has_ended(
    now: datetime, keys: set[str], stopped: str | None, expected: Any, ends_with_a_stop: bool
) -> None:
    wait = Wait("it", NOW, LATER, "job", "job", ends_with_a_stop)

    assert wait.has_ended(now, keys, stopped) == (
        ends_with_a_stop if expected == "ends_with_a_stop" else expected
    )
