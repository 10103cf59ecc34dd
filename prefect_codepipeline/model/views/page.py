"""The state of an execution as a page of markdown, for Prefect's UI."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import datetime

from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.state import ActionState, ExecutionState, StageState
from prefect_codepipeline.model.views.picture import draw_execution

_SYMBOLS = {
    None: "·",
    "InProgress": "▶",
    "Succeeded": "✔",
    "Failed": "✖",
    "Stopped": "■",
    "Abandoned": "■",
    "Cancelled": "■",
    "Skipped": "↷",
    "Superseded": "■",
    "Stopping": "■",
    "Errored": "✖",
    "Overridden": "↷",
}
_ESCAPED = {character: f"\\{character}" for character in "\\`*_[]|#"} | {"<": "&lt;", ">": "&gt;"}


def plain(text: str) -> str:
    """External text, escaped for markdown and HTML, on one line."""
    return "".join(_ESCAPED.get(character, character) for character in printable(text))


def symbol(status: str | None, waits: bool = False) -> str:
    """The character for a status."""
    return "◆" if waits else _SYMBOLS.get(status, "·")


def execution_page(state: ExecutionState) -> str:
    """The whole page: a picture, the released revisions, and a table of all actions."""
    picture = base64.b64encode(draw_execution(state).encode()).decode()
    pinned = state.pinned
    lines = [
        f"# {plain(pinned.pipeline_name)}: {state.status}",
        "",
        f"![the pipeline](data:image/svg+xml;base64,{picture})",
        "",
        *([*_block(state.summary), ""] if state.summary else []),
        f"Version {pinned.pipeline_version} · {pinned.trigger_type} by {plain(pinned.trigger_detail)} · "
        f"started {_time(state.started_at)} UTC",
        "",
        *(
            f"- **{plain(name)}**: {revision_text(revision)}"
            for name, revision in state.source_revisions.items()
        ),
        *(f"- variable **{plain(name)}** = {plain(value)}" for name, value in pinned.variables.items()),
        "",
        "| Stage | Action | Status | Took | Details |",
        "|---|---|---|---|---|",
        *(row for stage in state.stages for row in _rows(stage)),
    ]
    return "\n".join(lines)


def _block(text: str) -> list[str]:
    """External text with its line breaks, as a code block that the text cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", printable(text, kept="\n\t"), fence]


def revision_text(revision: SourceRevision) -> str:
    """A revision as markdown: short id and first line, with a link if the revision has a page."""
    first_line = revision.revision_summary.partition("\n")[0]
    text = f"`{plain(revision.revision_id[:12])}` {plain(first_line)}"
    return f"[{text}]({revision.revision_url})" if revision.revision_url else text


def _rows(stage: StageState) -> Iterator[str]:
    yield from (_row(stage, action) for action in stage.actions)
    for condition in stage.conditions:
        if status := condition.status:
            why = plain(condition.summary[:200])
            yield f"| | *{condition.kind}* | {symbol(status)} {status} | | {why} |"


def _row(stage: StageState, action: ActionState) -> str:
    is_first = action.name == stage.actions[0].name
    name = f"{symbol(stage.status)} {plain(stage.name)}" if is_first else ""
    attempt = f" (attempt {action.attempt})" if action.attempt > 1 else ""
    status = f"{symbol(action.status, action.is_waiting_for_approval)} {action.status or ''}{attempt}"
    url = action.external_execution_url
    percent = f"{action.percent_complete}% " if action.percent_complete is not None else ""
    summary = percent + plain(action.summary.partition("\n")[0][:200])
    summary = (
        f"[{summary or 'details'}]({url})" if url and url.startswith(("http://", "https://")) else summary
    )
    return f"| {name} | {plain(action.name)} | {status} | {_took(action)} | {summary} |"


def _took(action: ActionState) -> str:
    if not (action.started and action.finished):
        return ""
    seconds = (action.finished.at - action.started.at).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
