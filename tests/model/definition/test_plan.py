"""Run-order groups."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.model.definition.declaration import StageDeclaration
from prefect_codepipeline.model.definition.plan import run_order_groups
from prefect_codepipeline.model.names import slug


def stage(*actions: tuple[str, int]) -> StageDeclaration:
    def declare(name: str, run_order: int) -> dict[str, Any]:
        category = "Approval" if name.startswith("ok") else "Test"
        kind = {"category": category, "owner": "AWS", "provider": "P", "version": "1"}
        return {"name": name, "runOrder": run_order, "actionTypeId": kind}

    return StageDeclaration.model_validate({"name": "S", "actions": [declare(*action) for action in actions]})


@pytest.mark.parametrize(
    ("actions", "groups"),
    [
        pytest.param([("a", 1)], [["a"]], id="one action"),
        pytest.param([("a", 1), ("b", 1)], [["a", "b"]], id="together"),
        pytest.param([("b", 7), ("a", 2)], [["a"], ["b"]], id="sorted by run order, gaps allowed"),
        pytest.param([("a", 1), ("ok", 2), ("b", 3)], [["a"], ["ok"], ["b"]], id="approval between work"),
        pytest.param([("a", 1), ("ok", 1), ("b", 2)], [["a", "ok"], ["b"]], id="approval beside work"),
    ],
)
def test_actions_of_one_run_order_start_together(
    actions: list[tuple[str, int]], groups: list[list[str]]
) -> None:
    assert [[action.name for action in group] for group in run_order_groups(stage(*actions))] == groups


ACTIONS = st.lists(st.tuples(st.sampled_from(["w", "ok"]), st.integers(1, 5)), min_size=1, max_size=12).map(
    lambda drawn: [(f"{kind}{index}", order) for index, (kind, order) in enumerate(drawn)]
)


@given(ACTIONS)
def test_groups_in_a_row_are_the_stage_in_run_order(actions: list[tuple[str, int]]) -> None:
    groups = run_order_groups(stage(*actions))

    in_a_row = [(action.name, action.run_order) for group in groups for action in group]
    assert in_a_row == sorted(actions, key=lambda action: action[1])
    assert all(len({action.run_order for action in group}) == 1 for group in groups)
    assert len(groups) == len({run_order for _, run_order in actions})


@given(st.lists(st.text(min_size=1, max_size=120), min_size=1, max_size=3))
def test_a_slug_is_a_key_that_prefect_takes(names: list[str]) -> None:
    made = slug(*names)

    assert made
    assert len(made) <= 49
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert made == slug(*names)


@given(st.text(max_size=20), st.text(max_size=20))
def test_slugs_of_different_names_differ(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)
    assert slug("a", "b-c") != slug("a-b", "c")
