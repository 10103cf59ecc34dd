"""The order of actions in a stage: run-order groups, split into segments at approvals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from prefect_codepipeline.model.definition.declaration import ActionDeclaration, StageDeclaration

Group = tuple[ActionDeclaration, ...]


@dataclass(frozen=True)
class Segment:
    """The work between two approvals: `groups` run one after another, then the segment waits for `approvals`.

    Approvals with the same run order as other actions are requested before those actions start.
    """

    number: int
    groups: tuple[Group, ...]
    approvals: Group


def run_order_groups(stage: StageDeclaration) -> list[Group]:
    """The groups of actions that start together, lowest run order first; each group is in the order of declaration."""
    ordered = sorted(stage.actions, key=lambda action: action.run_order)
    return [tuple(group) for _, group in groupby(ordered, key=lambda action: action.run_order)]


def cut_into_segments(stage: StageDeclaration) -> list[Segment]:
    """Split a stage into segments; every group with an approval is its own segment.

    Consecutive groups without approvals share a segment, and therefore one subflow run.
    """
    segments: list[tuple[list[Group], Group]] = []
    for group in run_order_groups(stage):
        approvals = tuple(action for action in group if action.is_approval)
        work = tuple(action for action in group if not action.is_approval)
        if not approvals and segments and not segments[-1][1]:
            segments[-1][0].append(work)
        else:
            segments.append(([work] if work else [], approvals))
    return [Segment(number, tuple(groups), held) for number, (groups, held) in enumerate(segments, 1)]
