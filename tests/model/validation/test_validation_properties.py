"""Whatever a definition holds, it is judged: never an exception, never for long, and always at a place of its own."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import RULES, declare_or_problems, validate
from prefect_codepipeline.model.validation.lenient import declare_anyway

SHOP = json.loads(
    (Path(__file__).parent.parent.parent / "data" / "pipelines" / "shop-release.json").read_text()
)["pipeline"]
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


def action(number: int, **more: Any) -> dict[str, Any]:
    kind = {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
    return {"name": f"A{number}", "actionTypeId": kind, **more}


HOSTILE = {
    "300,000 references": [action(n, configuration={f"K{k}": "".join(f"#{{a.{k}{j}}}" for j in range(110)) for k in range(3)}) for n in range(900)],
    "20,000 unknown keys": [action(n, conf=1, inputArtifact=2, nam=3, x={}) for n in range(5000)],
    "60,000 configuration keys": [action(1, configuration={f"K{n}": "v" for n in range(60_000)})],
    "30,000 artifacts": [action(1, outputArtifacts=[{"name": f"x{n}"} for n in range(20_000)], inputArtifacts=[{"name": f"y{n}"} for n in range(10_000)])],
    "a key of 2 MB": [action(1, configuration={"K" * 2_000_000: "v"})],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_definition_made_to_be_slow_is_judged_in_no_time(name: str) -> None:
    start = time.process_time()

    declaration, problems = declare_or_problems({**SHOP, "stages": [{"name": "S", "actions": HOSTILE[name]}]})
    problems = problems or validate(declaration or declare_anyway(None))

    assert time.process_time() - start < 3  # some tenths of a second, on a machine that does nothing else
    assert 0 < len(problems) <= 2000


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
