"""Whatever a definition holds, it is judged: never an exception, never for long, and always at a place of its own."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.model.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import RULES, declare_or_problems, validate
from prefect_codepipeline.model.validation.lenient import declare_anyway

SHOP = json.loads((Path(__file__).parent.parent / "data" / "pipelines" / "shop-release.json").read_text())[
    "pipeline"
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.just([]), st.just({}), st.just([{}]),
    st.sampled_from(["#{a.b}", "#{variables.TargetEnv}", "#{", "${x}", "SourceArtifact", "PARALLEL", "V1", "****", "1"]),
)  # fmt: skip


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))][(not path) :]


PLACES = places(SHOP)


@st.composite
def wires(draw: st.DrawFn) -> Any:
    """The example with a few parts replaced, removed, doubled or added."""
    wire = copy.deepcopy(SHOP)
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=6)):
        parent: Any = wire
        try:
            for key in place[:-1]:
                parent = parent[key]
            change = draw(st.sampled_from(["replace", "remove", "double", "add"]))
            if change == "replace":
                parent[place[-1]] = draw(VALUES)
            elif change == "remove":
                del parent[place[-1]]
            elif change == "double" and isinstance(parent, list):
                parent.append(copy.deepcopy(parent[place[-1]]))
            elif isinstance(parent, dict):
                parent[draw(st.sampled_from(["Surprise", "region", "namespace", "commands"]))] = draw(VALUES)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    return wire


@settings(max_examples=300, deadline=1000)
@given(wires())
def test_every_definition_is_judged(wire: Any) -> None:
    declaration, problems = declare_or_problems(wire)
    if declaration:
        problems = validate(declaration)
    else:
        assert any(problem.rule.startswith("field") for problem in problems)

    for problem in problems:
        assert problem.path
        assert problem.rule in RULES or problem.rule.startswith("field")
        assert "{" not in problem.message.replace("#{", "").replace("${", "") or "{" in json.dumps(wire)


@settings(max_examples=100, deadline=1000)
@given(st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner)))
def test_data_of_any_shape_is_judged(wire: Any) -> None:
    declaration, problems = declare_or_problems(wire)

    assert declaration is None
    assert problems


@settings(max_examples=100, deadline=1000)
@given(wires())
def test_a_right_definition_is_the_same_without_its_checks(wire: Any) -> None:
    declaration, _ = declare_or_problems(wire)
    if declaration is not None:
        assert validate(declare_anyway(wire)) == validate(declaration)
        assert PipelineDeclaration.model_validate(declaration.to_wire()) == declaration
