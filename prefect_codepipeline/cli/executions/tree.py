"""The status of an execution as a tree of stages and actions, for a terminal."""

from __future__ import annotations

from datetime import datetime, timezone

from rich.text import Text
from rich.tree import Tree

from prefect_codepipeline.engine.executions.gate_state import Gates, TransitionType
from prefect_codepipeline.model.record.state import ActionState, ConditionState, ExecutionState, StageState
from prefect_codepipeline.model.views.page import symbol

_STYLES = {
    "Succeeded": "green",
    "InProgress": "blue",
    "Failed": "red",
    "Abandoned": "magenta",
    "Stopped": "magenta",
    "Cancelled": "magenta",
    "Superseded": "magenta",
}


def execution_tree(state: ExecutionState, status: str | None = None) -> Tree:
    """The tree. `status` replaces the recorded status, for an execution whose record is behind Prefect's state."""
    displayed = status or state.status
    title = Text.assemble(
        (state.pinned.pipeline_name, "bold"),
        (f" v{state.pinned.pipeline_version} ", "dim"),
        (displayed, _STYLES.get(displayed, "")),
        (f"  {state.execution_id}", "dim"),
    )
    tree = Tree(title, guide_style="dim")
    for stage in state.stages:
        branch = tree.add(_stage_line(stage))
        for condition in stage.conditions:
            if condition.kind == "beforeEntry" and condition.status:
                branch.add(_condition_line(condition))
        for action in stage.actions:
            branch.add(_action_line(action))
        for condition in stage.conditions:
            if condition.kind != "beforeEntry" and condition.status:
                branch.add(_condition_line(condition))
    return tree


def progress_line(state: ExecutionState) -> str:
    """How many stages are done, and how many are still to run."""
    done = sum(stage.status == "Succeeded" for stage in state.stages)
    left = sum(stage.status is None for stage in state.stages)
    return f"{done} of {len(state.stages)} stages done, {left} still to run"


def revision_lines(state: ExecutionState) -> list[str]:
    """One line for each source action: its name, the commit, the first line of the commit message."""
    return [
        f"{name}: {revision.revision_id[:12]} {revision.revision_summary.partition(chr(10))[0]}"
        for name, revision in state.source_revisions.items()
    ]


def gate_lines(gates: Gates) -> list[str]:
    """One line for each disabled transition, and for each execution that waits at a stage."""
    lines = []
    for stage in gates.stages:
        kinds: tuple[TransitionType, ...] = ("Inbound", "Outbound")
        for kind in kinds:
            state = gates.transition(stage, kind)
            if state and not state.enabled:
                lines.append(
                    f"{stage}: {kind.lower()} transition disabled by {state.changed_by} since "
                    f"{state.changed_at:%Y-%m-%d %H:%M} UTC: {state.reason}"
                )
        behind = gates.holder(stage)
        waits = f" behind {behind}" if behind else ""
        lines += [f"{stage}: execution {ticket.execution} waits{waits}" for ticket in gates.tickets(stage)]
    return lines


def _stage_line(stage: StageState) -> Text:
    waits = any(action.is_waiting_for_approval for action in stage.actions)
    attempt = f" (attempt {stage.attempt})" if stage.attempt > 1 else ""
    return Text.assemble(
        (f"{symbol(stage.status, waits)} ", _style(stage.status, waits)),
        (stage.name, "bold"),
        (attempt, "dim"),
    )


def _condition_line(condition: ConditionState) -> Text:
    line = Text(f"{condition.kind}: {condition.status}", _STYLES.get(condition.status or "", "yellow"))
    if condition.summary:
        line.append(f"  {condition.summary}", "dim")
    return line


def _action_line(action: ActionState) -> Text:
    waits = action.is_waiting_for_approval
    style = _style(action.status, waits)
    line = Text.assemble((f"{symbol(action.status, waits)} ", style), action.name)
    if took := _took(action):
        line.append(f"  {took}", "dim")
    if action.percent_complete is not None:
        line.append(f"  {action.percent_complete}%", "dim")
    if action.summary:
        line.append(f"  {action.summary.strip()}", "red" if action.status == "Failed" else "dim")
    if wait := action.wait:
        since, until = wait.since.astimezone(), wait.until.astimezone()
        line.append(f", since {since:%Y-%m-%d %H:%M}, until {until:%Y-%m-%d %H:%M} at the latest", "dim")
    return line


def _style(status: str | None, waits: bool) -> str:
    return "yellow" if waits else _STYLES.get(status or "", "dim")


def _took(action: ActionState) -> str:
    if action.started is None:
        return ""
    end = action.finished.at if action.finished else datetime.now(timezone.utc)
    seconds = (end - action.started.at).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
