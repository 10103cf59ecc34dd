"""Draw a definition: its stages, run-order groups, artifacts, approvals and conditions, as SVG or as Mermaid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    PipelineDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.model.definition.plan import run_order_groups
from prefect_codepipeline.model.validation.rules import conditions_of
from prefect_codepipeline.model.views.picture import arrow, cut

_INK, _GREY, _LINE, _CONDITION, _APPROVAL = "#1f2937", "#6b7280", "#e5e7eb", "#7c3aed", "#d97706"
_COLOURS = {
    "Source": "#0f766e", "Build": "#2f6fde", "Test": "#2f6fde", "Compute": "#2f6fde", "Deploy": "#1f9d55",
    "Invoke": "#6d28d9", "Approval": _APPROVAL,
}  # fmt: skip
_WIDTH, _GAP, _ROW, _HEAD, _PAD = 250, 34, 15, 34, 10


class Line(NamedTuple):
    """One row in the box of a stage: its shape, its text, and the text at its right end."""

    kind: str
    text: str
    colour: str = _GREY
    right: str = ""


def draw_pipeline(declaration: PipelineDeclaration) -> str:
    """The pipeline as SVG; about 500 bytes per action."""
    columns = [list(_lines(stage)) for stage in declaration.stages]
    height = max((_height(lines) for lines in columns), default=0) + 2 * _PAD
    width = max(len(columns) * (_WIDTH + _GAP) - _GAP, 0) + 2 * _PAD
    boxes = (
        _box(stage.name, lines, _left(index))
        for index, (stage, lines) in enumerate(zip(declaration.stages, columns, strict=True))
    )
    arrows = (arrow(_left(index) - _GAP + 4, _PAD + 18, _GAP) for index in range(1, len(columns)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui,sans-serif" font-size="12">'
        f"<title>{cut(declaration.name, 100)}</title>{''.join(boxes)}{''.join(arrows)}</svg>"
    )


def draw_mermaid(declaration: PipelineDeclaration) -> str:
    """The pipeline as a Mermaid flowchart: https://mermaid.js.org/syntax/flowchart.html."""
    nodes = {
        id(action): f"s{stage_index}a{action_index}"
        for stage_index, stage in enumerate(declaration.stages)
        for action_index, action in enumerate(stage.actions)
    }
    lines = ["flowchart LR"]
    for index, stage in enumerate(declaration.stages):
        lines += _mermaid_stage(index, stage, nodes)
    lines += [f"  s{index - 1} ==> s{index}" for index in range(1, len(declaration.stages))]
    lines += _mermaid_artifacts(declaration, nodes)
    return "\n".join([*lines, ""])


def graph_of(declaration: PipelineDeclaration) -> dict[str, Any]:
    """What the drawings show, for other programs that draw: the groups of actions, and the way of each artifact."""
    return {
        "name": declaration.name,
        "stages": [_stage_of(stage) for stage in declaration.stages],
        "artifacts": [
            {
                "name": artifact,
                "from": {"stageName": made_in.name, "actionName": maker.name},
                "to": {"stageName": taken_in.name, "actionName": taker.name},
            }
            for artifact, (made_in, maker), (taken_in, taker) in _artifacts(declaration)
        ],
    }


def _stage_of(stage: StageDeclaration) -> dict[str, Any]:
    conditions = [
        {"kind": kind, "result": result, "rules": rules}
        for kind in ("beforeEntry", "onSuccess", "onFailure")
        for result, rules in _conditions(stage, kind)
    ]
    groups = [
        {
            "runOrder": group[0].run_order,
            "actions": [
                {"name": action.name, "actionTypeId": action.action_type_id.to_wire()} for action in group
            ],
        }
        for group in run_order_groups(stage)
    ]
    return {"name": stage.name, "groups": groups, "conditions": conditions}


_Place = tuple[StageDeclaration, ActionDeclaration]


def _artifacts(declaration: PipelineDeclaration) -> Iterator[tuple[str, _Place, _Place]]:
    """Each use of an artifact: its name, the action that makes it, and the action that takes it."""
    places = [(stage, action) for stage in declaration.stages for action in stage.actions]
    makers: dict[str, _Place] = {}
    for place in places:
        for artifact in place[1].output_artifacts:
            makers.setdefault(artifact.name, place)
    for place in places:
        for taken in place[1].input_artifacts:
            if taken.name in makers:
                yield taken.name, makers[taken.name], place


# -- SVG


def _lines(stage: StageDeclaration) -> Iterator[Line]:
    if stage.before_entry:
        yield from _condition_lines(stage, "beforeEntry")
    for number, group in enumerate(run_order_groups(stage)):
        if number or stage.before_entry:
            yield Line("rule", "")
        for action in group:
            yield from _action_lines(action, f"run order {action.run_order}" if action is group[0] else "")
    if stage.on_success or stage.on_failure:
        yield Line("rule", "")
    for kind in ("onSuccess", "onFailure"):
        yield from _condition_lines(stage, kind)


def _action_lines(action: ActionDeclaration, right: str) -> Iterator[Line]:
    kind = action.action_type_id
    shape = "approval" if action.is_approval else "action"
    yield Line(shape, action.name, _COLOURS.get(kind.category, _GREY), right)
    yield Line("detail", f"{kind.category}: {kind.provider}")
    if action.input_artifacts:
        yield Line("detail", f"takes {', '.join(artifact.name for artifact in action.input_artifacts)}")
    if action.output_artifacts:
        yield Line("detail", f"makes {', '.join(artifact.name for artifact in action.output_artifacts)}")
    if action.namespace:
        yield Line("detail", f"variables {action.namespace}.*")


def _condition_lines(stage: StageDeclaration, kind: str) -> Iterator[Line]:
    for result, rules in _conditions(stage, kind):
        yield Line("condition", f"{kind}: {result}", _CONDITION)
        yield from (Line("detail", rule) for rule in rules)


def _conditions(stage: StageDeclaration, kind: str) -> Iterator[tuple[str, list[str]]]:
    """The results of the conditions of a kind as text, each with its rules."""
    failure = stage.on_failure
    if kind == "onFailure" and failure and failure.result:
        retry = failure.retry_configuration
        yield f"{failure.result} {retry.retry_mode}" if retry and retry.retry_mode else failure.result, []
    for condition in dict(conditions_of(stage)).get(kind, []):
        rules = [f"{rule.name} ({rule.rule_type_id.provider})" for rule in condition.rules or []]
        yield f"{condition.result or 'FAIL'} {'if' if kind == 'onFailure' else 'unless'}", rules


def _box(name: str, lines: list[Line], x: int) -> str:
    parts = [
        f'<rect x="{x}" y="{_PAD}" width="{_WIDTH}" height="{_height(lines)}" rx="8" fill="#fff" '
        f'stroke="#9aa4b2" stroke-width="2"/>',
        f'<text x="{x + 12}" y="{_PAD + 22}" font-weight="600" fill="{_INK}">{_with_tooltip(name, 30)}</text>',
    ]
    y = _PAD + _HEAD
    for line in lines:
        parts.append(_draw_line(line, x, y))
        y += _height_of(line)
    return "".join(parts)


def _draw_line(line: Line, x: int, y: int) -> str:
    if line.kind == "rule":
        return f'<line x1="{x + 10}" x2="{x + _WIDTH - 10}" y1="{y + 4}" y2="{y + 4}" stroke="{_LINE}"/>'
    if line.kind == "detail":
        return f'<text x="{x + 30}" y="{y + 11}" font-size="10" fill="{_GREY}">{_with_tooltip(line.text, 36)}</text>'
    shapes = {
        "action": f'<circle cx="{x + 17}" cy="{y + 12}" r="5" fill="{line.colour}"/>',
        "approval": f'<path d="M{x + 17} {y + 6} l6 6 l-6 6 l-6 -6 z" fill="{line.colour}"/>',
        "condition": f'<path d="M{x + 12} {y + 7} h10 l-5 9 z" fill="{line.colour}"/>',
    }
    size, colour, length = (10, line.colour, 36) if line.kind == "condition" else (12, "#374151", 22)
    text = f'<text x="{x + 30}" y="{y + 16}" font-size="{size}" fill="{colour}">{_with_tooltip(line.text, length)}</text>'
    right = f'<text x="{x + _WIDTH - 10}" y="{y + 16}" text-anchor="end" font-size="9" fill="{_GREY}">{line.right}</text>'
    return shapes[line.kind] + text + (right if line.right else "")


def _with_tooltip(text: str, length: int) -> str:
    """The text, shortened to a length, with the full text as a tooltip."""
    return cut(text, length) + (f"<title>{cut(text, 1000)}</title>" if len(text) > length else "")


def _height_of(line: Line) -> int:
    return {"rule": 9, "detail": _ROW}.get(line.kind, 21)


def _height(lines: list[Line]) -> int:
    return _HEAD + sum(map(_height_of, lines)) + 8


def _left(index: int) -> int:
    return _PAD + index * (_WIDTH + _GAP)


# -- Mermaid


def _mermaid_stage(index: int, stage: StageDeclaration, nodes: dict[int, str]) -> Iterator[str]:
    yield f"  subgraph s{index}[{_quote(stage.name)}]"
    yield "    direction TB"
    previous: list[str] = []
    for result, rules in _conditions(stage, "beforeEntry"):
        yield f"    s{index}before{_mermaid_condition('before entry', result, rules)}"
        previous = [f"s{index}before"]
    for group in run_order_groups(stage):
        here = [nodes[id(action)] for action in group]
        for node, action in zip(here, group, strict=True):
            yield f"    {node}{_mermaid_shape(action)}"
        if previous:
            yield f"    {' & '.join(previous)} --> {' & '.join(here)}"
        previous = here
    for kind, words in (("onSuccess", "on success"), ("onFailure", "on failure")):
        for result, rules in _conditions(stage, kind):
            yield f"    s{index}{kind}{_mermaid_condition(words, result, rules)}"
            yield f"    {' & '.join(previous)} -.-> s{index}{kind}"
    yield "  end"


def _mermaid_condition(words: str, result: str, rules: list[str]) -> str:
    return "{{" + _quote("<br/>".join([f"{words}: {result}", *rules])) + "}}"


def _mermaid_shape(action: ActionDeclaration) -> str:
    kind = action.action_type_id
    text = _quote(f"{action.name}<br/>{kind.category}: {kind.provider}")
    if action.is_approval:
        return f"{{{text}}}"
    return f"([{text}])" if kind.category == "Source" else f"[{text}]"


def _mermaid_artifacts(declaration: PipelineDeclaration, nodes: dict[int, str]) -> Iterator[str]:
    for artifact, (_, maker), (_, taker) in _artifacts(declaration):
        yield f"  {nodes[id(maker)]} -. {_quote(artifact)} .-> {nodes[id(taker)]}"


def _quote(text: str) -> str:
    return '"' + text.replace('"', "#quot;") + '"'
