"""The state of a pipeline for a terminal: each stage with its own latest execution, its transitions, and what waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from prefect_codepipeline.cli.executions.tree import (
    add_work,
    approve_line,
    retry_command,
    stage_line,
    style_of,
    transition_lines,
    unstarted_line,
    waiting_lines,
)
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.operations.pipeline_state import PipelineState
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.views.page import symbol
from prefect_codepipeline.model.views.pipeline_stages import StageNow, revisions, rollback_sentence, short
from prefect_codepipeline.prefect_api.ui import run_url


def pipeline_view(pipeline: PipelineState) -> Group:
    """All about a pipeline: its stages, what waits and why, the commands that continue it, the link."""
    latest = pipeline.latest
    status = latest.status if latest else "no execution yet"
    title = Text.assemble(
        (pipeline.name, "bold"),
        (f" v{pipeline.declaration.version} ", "dim"),
        (status, style_of(status)),
        (f"  {pipeline.declaration.execution_mode}", "dim"),
    )
    tree = Tree(title, guide_style="dim")
    for now in pipeline.stages:
        _add_stage(tree, pipeline, now)
    return Group(tree, *_what_next(pipeline))


def _add_stage(tree: Tree, pipeline: PipelineState, now: StageNow) -> None:
    branch = tree.add(_stage_line(now))
    for line in (*transition_lines(pipeline.gates, now.name), *waiting_lines(pipeline.gates, now.name)):
        branch.add(Text(line, "yellow"))
    if sentence := rollback_sentence(now):
        branch.add(Text(sentence))
    if now.state:
        add_work(branch, now.state)


def _stage_line(now: StageNow) -> Text:
    if now.state is None or now.execution is None:
        return Text.assemble((f"{symbol(None)} ", "dim"), (now.name, "bold"), ("  no execution yet", "dim"))
    line = stage_line(now.state)
    at = f"  {time_text(now.changed_at)}" if now.changed_at else ""
    line.append(f"  {now.state.status or 'InProgress'}", style_of(now.state.status))
    line.append(f"{at}  {short(now.execution.execution_id)}", "dim")
    if text := revisions(now.execution.source_revisions.values()):
        line.append(f"  {text}")
    line.append(f"  {_who(now.execution)}", "dim")
    return line


def _who(execution: ExecutionState) -> str:
    return f"{execution.pinned.trigger_type} {execution.pinned.trigger_detail}".strip()


def _what_next(pipeline: PipelineState) -> Iterator[Text]:
    """What waits, why it ended, and the commands to continue."""
    for known in pipeline.executions:
        if known.state is None and (known.status == "InProgress" or known == pipeline.latest):
            yield unstarted_line(known)
    yield from map(Text, _elsewhere(pipeline))
    latest = pipeline.latest
    if latest is None:
        yield Text(f"start it with: codepipeline start {pipeline.name}", "dim")
        return
    if latest.state and latest.status != "Succeeded" and latest.summary and latest.state.failure is None:
        yield Text(f"{latest.status}: {latest.summary}", style_of(latest.status))
    is_alone = len(pipeline.open_approvals) == 1
    for execution, stage, action in pipeline.open_approvals:
        which = None if is_alone else execution.execution_id
        yield Text(approve_line(pipeline.name, stage.name, action.name, which), "yellow")
    for known in _retryable(pipeline):
        yield Text(f"retry with: {retry_command(known)}", "yellow")
    if url := run_url(latest.id):
        yield Text(f"latest execution in Prefect's UI: {url}", "dim")


def _elsewhere(pipeline: PipelineState) -> Iterator[str]:
    """One line for each execution in progress that the tree does not show: in PARALLEL mode a stage may have several."""
    shown = {now.execution.execution_id for now in pipeline.stages if now.execution}
    shown |= {ticket.execution for now in pipeline.stages for ticket in pipeline.gates.tickets(now.name)}
    for state in pipeline.started:
        inside = [stage.name for stage in state.stages if stage.entered and not stage.finished]
        if not state.final and state.execution_id not in shown and inside:
            yield f"execution {short(state.execution_id)} is in stage {inside[-1]} too"


def _retryable(pipeline: PipelineState) -> list[KnownExecution]:
    """The executions that failed or were stopped and are still the last ones in that stage, of this version."""
    last = {now.execution.execution_id for now in pipeline.stages if now.execution and now.state
            and now.state.status in ("Failed", "Stopped")}  # fmt: skip
    return [
        known
        for known in pipeline.executions
        if known.id in last
        and known.state
        and known.state.pinned.pipeline_version == pipeline.declaration.version
        and retry_command(known)
    ]


def pipelines_view(pipelines: list[PipelineState]) -> Group:
    """A table of all pipelines, and a line for each stage that was rolled back."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Name", "Version", "State", "Stages", "Revision", "Approvals"):
        table.add_column(column)
    for pipeline in pipelines:
        table.add_row(*_row(pipeline))
    rollbacks = [
        Text(f"{pipeline.name}/{now.name}: {sentence}")
        for pipeline in pipelines
        for now in pipeline.stages
        if (sentence := rollback_sentence(now))
    ]
    return Group(table, *rollbacks)


def _row(pipeline: PipelineState) -> list[Text]:
    latest = pipeline.latest
    status = latest.status if latest else "no execution yet"
    found = latest.state.source_revisions.values() if latest and latest.state else ()
    waiting = ", ".join(f"{stage.name}/{action.name}" for _, stage, action in pipeline.open_approvals)
    return [
        Text(pipeline.name),
        Text(str(pipeline.declaration.version)),
        Text(status, style_of(status)),
        Text("  ").join(_stage_cell(pipeline, now) for now in pipeline.stages),
        Text(revisions(found)),
        Text(waiting, "yellow"),
    ]


def _stage_cell(pipeline: PipelineState, now: StageNow) -> Text:
    status = now.state.status if now.state else None
    waits = bool(now.state and any(action.is_waiting_for_approval for action in now.state.actions))
    is_closed = bool(transition_lines(pipeline.gates, now.name))
    return Text.assemble(
        (f"{symbol(status, waits)} ", "yellow" if waits else style_of(status)),
        now.name,
        (" (transition disabled)" if is_closed else "", "yellow"),
    )


def time_text(moment: datetime) -> str:
    """A time in the time zone of the terminal."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
