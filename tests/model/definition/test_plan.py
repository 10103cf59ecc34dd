"""Run-order groups, and how approvals cut a stage into segments."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.model.definition.declaration import StageDeclaration
from prefect_codepipeline.model.definition.plan import cut_into_segments, run_order_groups
from prefect_codepipeline.model.names import slug


def stage(*actions: tuple[str, int]) -> StageDeclaration:
    def declare(name: str, run_order: int) -> dict[str, Any]:
        category = "Approval" if name.startswith("ok") else "Test"
        kind = {"category": category, "owner": "AWS", "provider": "P", "version": "1"}
        return {"name": name, "runOrder": run_order, "actionTypeId": kind}

    return StageDeclaration.model_validate({"name": "S", "actions": [declare(*action) for action in actions]})


def shape(declared: StageDeclaration) -> list[tuple[list[list[str]], list[str]]]:
    return [
        ([[a.name for a in group] for group in segment.groups], [a.name for a in segment.approvals])
        for segment in cut_into_segments(declared)
    ]


@pytest.mark.parametrize(
    ("actions", "segments"),
    [
        pytest.param([("a", 1)], [([["a"]], [])], id="one action"),
        pytest.param([("a", 1), ("b", 1)], [([["a", "b"]], [])], id="together"),
        pytest.param([("b", 7), ("a", 2)], [([["a"], ["b"]], [])], id="sorted by run order, gaps allowed"),
        pytest.param([("ok", 1)], [([], ["ok"])], id="approval alone"),
        pytest.param(
            [("a", 1), ("ok", 2), ("b", 3)],
            [([["a"]], []), ([], ["ok"]), ([["b"]], [])],
            id="approval between work",
        ),
        pytest.param(
            [("a", 1), ("ok", 1), ("b", 2)], [([["a"]], ["ok"]), ([["b"]], [])], id="approval beside work"
        ),
        pytest.param([("ok1", 1), ("ok2", 1)], [([], ["ok1", "ok2"])], id="two approvals at once"),
        pytest.param([("ok1", 1), ("ok2", 2)], [([], ["ok1"]), ([], ["ok2"])], id="two approvals in turn"),
        pytest.param(
            [("a", 1), ("b", 2), ("ok", 3), ("c", 4), ("d", 5)],
            [([["a"], ["b"]], []), ([], ["ok"]), ([["c"], ["d"]], [])],
            id="groups without approvals share a segment",
        ),
    ],
)
def test_cuts_at_approvals(actions: list[tuple[str, int]], segments: Any) -> None:
    assert shape(stage(*actions)) == segments


ACTIONS = st.lists(st.tuples(st.sampled_from(["w", "ok"]), st.integers(1, 5)), min_size=1, max_size=12).map(
    lambda drawn: [(f"{kind}{index}", order) for index, (kind, order) in enumerate(drawn)]
)


@given(ACTIONS)
def test_segments_in_a_row_are_the_stage_in_run_order(actions: list[tuple[str, int]]) -> None:
    declared = stage(*actions)
    in_order = [{action.name for action in group} for group in run_order_groups(declared)]

    groups: list[set[str]] = []
    for segment in cut_into_segments(declared):
        approvals = {action.name for action in segment.approvals}
        assert not (approvals and len(segment.groups) > 1)
        own = [{action.name for action in group} for group in segment.groups] or [set()]
        groups += [own[0] | approvals, *own[1:]]

    assert groups == in_order


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
