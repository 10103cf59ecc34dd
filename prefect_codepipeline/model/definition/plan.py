"""The order of actions in a stage: run-order groups."""

from __future__ import annotations

from itertools import groupby

from prefect_codepipeline.model.definition.declaration import ActionDeclaration, StageDeclaration

Group = tuple[ActionDeclaration, ...]


def run_order_groups(stage: StageDeclaration) -> list[Group]:
    """The groups of actions that start together, lowest run order first; each group is in the order of declaration."""
    ordered = sorted(stage.actions, key=lambda action: action.run_order)
    return [tuple(group) for _, group in groupby(ordered, key=lambda action: action.run_order)]
