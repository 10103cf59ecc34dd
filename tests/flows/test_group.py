"""Which actions of a group may be called beside one another, and their threads."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from datetime import datetime, timezone

import pytest

from prefect_codepipeline.flows.group import _may_have_a_thread, _Threads
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.record.facts import ActionStarted
from prefect_codepipeline.model.record.state import ActionState

NOW = datetime.now(timezone.utc)


def action(name: str, category: str = "Test", *, started: bool = True) -> ActionState:
    kind = {"category": category, "owner": "AWS", "provider": "P", "version": "1"}
    declared = ActionDeclaration.model_validate({"name": name, "actionTypeId": kind})
    begun = ActionStarted(stage="S", action=name, attempt=1, at=NOW, action_execution_id=name)
    return ActionState(declared, begun if started else None)


@pytest.mark.parametrize(
    ("group", "running", "may"),
    [
        ([action("1")], [], True),
        ([action("1"), action("2")], [], False),  # they wait for work elsewhere
        ([action("1"), action("2", started=False)], ["2"], False),  # its started fact is not written yet
        ([action("1"), action("ok", "Approval")], [], True),
    ],
)
def test_an_action_that_waits_keeps_its_place_among_those_in_progress(
    group: list[ActionState], running: list[str], may: bool
) -> None:
    new = action("new", started=False)

    assert _may_have_a_thread(new, [*group, new], running, 2) is may


def test_what_has_its_place_is_called_again() -> None:
    group = [action(str(number)) for number in range(5)]

    assert _may_have_a_thread(group[0], group, ["1", "2", "3", "4"], 5)
    assert _may_have_a_thread(action("ok", "Approval", started=False), group, [], 5)


def working() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("codepipeline-action")]


def test_no_thread_is_left_when_all_actions_only_wait() -> None:
    threads, together = _Threads(20), threading.Barrier(20)
    for _ in range(2):  # the actions are called, and later once more
        wait([threads.start(lambda: together.wait(30) and None) for _ in range(20)])
        assert len(working()) == 20
        threads.rest()
        assert working() == []
