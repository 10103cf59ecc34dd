"""What Slack is told: an execution, a failure, an approval, as Block Kit.

https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import re
from typing import Any

from prefect_codepipeline.model.execution import ApprovalRequested, SourceRevision
from prefect_codepipeline.model.state import ActionState, ExecutionState, StageState

Message = tuple[str, list[dict[str, Any]]]

_MARKS = {
    None: ":white_circle:",
    "InProgress": ":large_blue_circle:",
    "Succeeded": ":white_check_mark:",
    "Failed": ":x:",
    "Stopped": ":black_square_for_stop:",
    "Abandoned": ":black_square_for_stop:",
    "Cancelled": ":black_square_for_stop:",
    "Superseded": ":fast_forward:",
    "Skipped": ":fast_forward:",
}
_WAITS = ":double_vertical_bar:"
_SECTION = 3000
_HEADER = 150
_BUTTON_URL = 3000
_STAGES_SHOWN = 40
# A space without width after `@` and inside `<!`: what looks like a mention is none any more.
_JOINER = "\u2060"


def defuse(text: str, length: int = 500) -> str:
    """Text from outside as plain text: no mention, no link, no markup, no control characters, not longer than that."""
    clean = "".join(c for c in text if c.isprintable() or c in "\n\t")
    clean = re.sub(r"@(?=\w)", f"@{_JOINER}", clean)
    clean = re.sub(r"[`*_~]", lambda match: f"{_JOINER}{match[0]}", clean)
    if len(clean) > length:
        clean = clean[: length - 1] + "…"
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def execution_message(state: ExecutionState, run_url: str | None) -> Message:
    """The one message about an execution, edited as it moves on."""
    name, pinned = state.pinned.pipeline_name, state.pinned
    text = f"{defuse(name, 100)}: {state.status}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": f"{name}: {state.status}"[:_HEADER]}},
        _section("\n".join(_stage_line(stage) for stage in state.stages[:_STAGES_SHOWN]) + _more(state)),
    ]
    if revisions := state.source_revisions:
        blocks.append(_section("\n".join(_revision_line(*item) for item in revisions.items())))
    if state.summary and state.status != "Succeeded":
        blocks.append(_section(defuse(state.summary, 1000)))
    started = f"started by {defuse(pinned.trigger_detail or pinned.trigger_type, 100)} · version {pinned.pipeline_version}"
    link = f" · <{run_url}|open in Prefect>" if run_url else ""
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": started + link}]})
    return text, blocks


def failure_reply(stage: StageState, action: ActionState, run_url: str | None) -> Message:
    """The reply that says why an execution failed."""
    text = f"Action {defuse(action.name, 100)} of stage {defuse(stage.name, 100)} failed"
    blocks: list[dict[str, Any]] = [
        _section(f":x: *{text}*"),
        _section(defuse(action.summary or "no reason was given", 2500)),
    ]
    return text, blocks + _buttons([("Open in Prefect", run_url, None)])


def approval_reply(request: ApprovalRequested, state: ExecutionState, run_url: str | None) -> Message:
    """The reply that asks for a decision, which is made in Prefect's UI."""
    text = f"Approval needed: {defuse(request.action, 100)} in stage {defuse(request.stage, 100)}"
    lines = [defuse(request.custom_data, 1500)] if request.custom_data else []
    lines += [_revision_line(*item) for item in state.source_revisions.items()]
    link = request.external_entity_link or ""
    is_link = link.startswith(("http://", "https://")) and len(link) <= _BUTTON_URL
    if link and not is_link:
        lines.append(defuse(link))
    lines.append(f"Open until {request.expires_at:%Y-%m-%d %H:%M} UTC.")
    blocks: list[dict[str, Any]] = [_section(f"{_WAITS} *{text}*"), _section("\n".join(lines))]
    review = ("What is to be reviewed", link if is_link else None, None)
    return text, blocks + _buttons([("Decide in Prefect", run_url, "primary"), review])


def _stage_line(stage: StageState) -> str:
    waits = any(action.is_waiting_for_approval for action in stage.actions)
    mark = _WAITS if waits else _MARKS.get(stage.status, _MARKS[None])
    attempt = f" (attempt {stage.attempt})" if stage.attempt > 1 else ""
    what = " waits for approval" if waits else f" {stage.status}" if stage.status else ""
    return f"{mark} *{defuse(stage.name, 50)}*{what}{attempt}"


def _more(state: ExecutionState) -> str:
    left = len(state.stages) - _STAGES_SHOWN
    return f"\nand {left} more stages" if left > 0 else ""


def _revision_line(name: str, revision: SourceRevision) -> str:
    first_line = revision.revision_summary.partition("\n")[0]
    commit = defuse(revision.revision_id[:12])
    url = revision.revision_url or ""
    shown = f"<{url}|{commit}>" if re.fullmatch(r"https?://[^\s|<>]+", url) else commit
    return f"{defuse(name, 50)}: {shown} {defuse(first_line, 200)}"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:_SECTION] or " "}}


def _buttons(wanted: list[tuple[str, str | None, str | None]]) -> list[dict[str, Any]]:
    elements = [
        {
            "type": "button",
            "action_id": f"open-{number}",
            "text": {"type": "plain_text", "text": label},
            "url": url,
            **({"style": style} if style else {}),
        }
        for number, (label, url, style) in enumerate(wanted)
        if url
    ]
    return [{"type": "actions", "elements": elements}] if elements else []
