"""The status of an execution as a tree of stages and actions, and what a person does next, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from prefect_codepipeline.engine.executions.gate_state import Gates, TransitionType
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.model.record.state import ActionState, ConditionState, ExecutionState, StageState
from prefect_codepipeline.model.views.page import symbol
from prefect_codepipeline.model.views.pipeline_stages import StageNow, rollback_sentence, short
from prefect_codepipeline.prefect_api.ui import run_url

_KINDS: tuple[TransitionType, ...] = ("Inbound", "Outbound")
_STYLES = {
    "Succeeded": "green",
    "InProgress": "blue",
    "Failed": "red",
    "Abandoned": "magenta",
    "Stopped": "magenta",
    "Cancelled": "magenta",
    "Superseded": "magenta",
}


def execution_view(name: str, known: KnownExecution, gates: Gates) -> Group:
    """All about one execution: its tree, why it waits, its revisions, the commands that continue it, the link."""
    lines = [*_about(name, known, gates)]
    url = run_url(known.id)
    link = [Text(f"in Prefect's UI: {url}", "dim")] if url else []
    return Group(*([execution_tree(known.state, known.status)] if known.state else []), *lines, *link)


def _about(name: str, known: KnownExecution, gates: Gates) -> Iterator[Text]:
    state = known.state
    if state is None:
        yield unstarted_line(known)
        return
    yield Text(progress_line(state), "dim")
    for stage in state.stages:
        if sentence := rollback_sentence(StageNow(stage.name, state)):
            yield Text(f"{stage.name}: {sentence}")
    yield from map(Text, revision_lines(state))
    yield from (Text(line, "yellow") for line in gate_lines(gates))
    if known.summary and known.status != "Succeeded" and state.failure is None:
        yield Text(f"{known.status}: {known.summary}", style_of(known.status))
    if not state.final:
        for stage, action in state.open_approvals:
            yield Text(approve_line(name, stage.name, action.name), "yellow")
    if command := retry_command(known):
        yield Text(f"retry with: {command}", "yellow")


def unstarted_line(known: KnownExecution) -> Text:
    """Why an execution has no tree."""
    if known.status != "InProgress":
        why = f": {known.summary}" if known.summary else ""
        return Text(f"execution {known.id}: {known.status} before it began{why}", style_of(known.status))
    return Text(f"execution {known.id} has not started; it waits for a worker", "yellow")


def approve_line(name: str, stage: str, action: str, execution_id: str | None = None) -> str:
    """The command that approves; it names the execution if another one waits for an approval too."""
    which = f" --execution {short(execution_id)}" if execution_id else ""
    return f"decide with: codepipeline approve {name} {stage} {action}{which} -m COMMENT"


def retry_command(known: KnownExecution) -> str | None:
    """The command that retries an execution that has failed or was stopped; None if there is nothing to retry."""
    state = known.state
    if state is None or known.status not in ("Failed", "Stopped") or not known.run["deployment_id"]:
        return None
    ended = (stage for stage in state.stages if stage.status in ("Failed", "Stopped"))
    stage = next(ended, None)
    if stage is None:
        return None
    # A stage that a condition failed has no failed action to run again.
    has_failed = any(action.status in ("Failed", "Abandoned") for action in stage.actions)
    every = " --all-actions" if stage.status == "Failed" and not has_failed else ""
    return (
        f"codepipeline retry {state.pinned.pipeline_name} {stage.name} --execution {short(known.id)}{every}"
    )


def execution_tree(state: ExecutionState, status: str | None = None) -> Tree:
    """The tree. `status` replaces the recorded status, for an execution whose record is behind Prefect's state."""
    displayed = status or state.status
    title = Text.assemble(
        (state.pinned.pipeline_name, "bold"),
        (f" v{state.pinned.pipeline_version} ", "dim"),
        (displayed, style_of(displayed)),
        (f"  {state.execution_id}", "dim"),
    )
    tree = Tree(title, guide_style="dim")
    for stage in state.stages:
        add_work(tree.add(stage_line(stage)), stage)
    return tree


def add_work(branch: Tree, stage: StageState) -> None:
    """Add the conditions and actions of a stage to its branch."""
    for condition in stage.conditions:
        if condition.kind == "beforeEntry" and condition.status:
            branch.add(_condition_line(condition))
    for action in stage.actions:
        branch.add(_action_line(action))
    for condition in stage.conditions:
        if condition.kind != "beforeEntry" and condition.status:
            branch.add(_condition_line(condition))


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
    return [
        f"{stage}: {line}"
        for stage in gates.stages
        for line in (*transition_lines(gates, stage), *waiting_lines(gates, stage))
    ]


def transition_lines(gates: Gates, stage: str) -> list[str]:
    """One line for each disabled transition of the stage, with who disabled it, when and why."""
    states = [(kind, gates.transition(stage, kind)) for kind in _KINDS]
    return [
        f"{kind.lower()} transition disabled by {state.changed_by} since "
        f"{state.changed_at:%Y-%m-%d %H:%M} UTC: {state.reason}"
        for kind, state in states
        if state and not state.enabled
    ]


def waiting_lines(gates: Gates, stage: str) -> list[str]:
    """One line for each execution that waits to enter the stage, with the reason."""
    behind = gates.holder(stage)
    awaited = gates.awaited(stage)
    why = (
        f" behind {short(behind)}" if behind else "" if awaited and awaited.is_open else " for the transition"
    )
    return [f"execution {short(ticket.execution)} waits{why}" for ticket in gates.tickets(stage)]


def stage_line(stage: StageState) -> Text:
    """The line of a stage: its symbol, its name, and its attempt if it is not the first."""
    waits = any(action.is_waiting_for_approval for action in stage.actions)
    attempt = f" (attempt {stage.attempt})" if stage.attempt > 1 else ""
    return Text.assemble(
        (f"{symbol(stage.status, waits)} ", "yellow" if waits else style_of(stage.status)),
        (stage.name, "bold"),
        (attempt, "dim"),
    )


def _condition_line(condition: ConditionState) -> Text:
    line = Text(f"{condition.kind}: {condition.status}", _STYLES.get(condition.status or "", "yellow"))
    if condition.summary:
        line.append(f"  {condition.summary}", "red" if condition.status == "Failed" else "dim")
    return line


def _action_line(action: ActionState) -> Text:
    waits = action.is_waiting_for_approval
    style = "yellow" if waits else style_of(action.status)
    line = Text.assemble((f"{symbol(action.status, waits)} ", style), action.name)
    if took := _took(action):
        line.append(f"  {took}", "dim")
    if action.finished and action.pool_run and action.pool_run.last_taken:
        line.append(f"  on {action.pool_run.last_taken.host}", "dim")
    if action.percent_complete is not None:
        line.append(f"  {action.percent_complete}%", "dim")
    if action.summary:
        line.append(f"  {action.summary.strip()}", "red" if action.status == "Failed" else "dim")
    if wait := action.wait:
        since, until = wait.since.astimezone(), (wait.deadline or wait.until).astimezone()
        line.append(f", since {since:%Y-%m-%d %H:%M}, until {until:%Y-%m-%d %H:%M} at the latest", "dim")
    return line


def style_of(status: str | None) -> str:
    """The style for a status."""
    return _STYLES.get(status or "", "dim")


def _took(action: ActionState) -> str:
    if action.started is None:
        return ""
    end = action.finished.at if action.finished else datetime.now(timezone.utc)
    seconds = (end - action.started.at).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
