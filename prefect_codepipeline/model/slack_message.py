"""What Slack is told: an execution, a failure, an approval, as Block Kit.

Text from outside (commits, custom data, reasons) goes into `plain_text` objects, where Slack looks for no markup; the few
names that stand in `mrkdwn` are defused, and `verbatim` keeps Slack from making links and mentions by itself.

https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from prefect_codepipeline.model.execution import ApprovalRequested, SourceRevision
from prefect_codepipeline.model.state import ActionState, ExecutionState, StageState

Block = dict[str, Any]
Message = tuple[str, list[Block]]

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
_BUTTON_URL = 3000
_LINK_URL = 2000
_REVISIONS_SHOWN = 10
# A space without width: what looked like a mention, or like markup, is none any more.
_JOINER = "\u2060"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_SLACK_TOKEN = re.compile(r"\b(?:xox[a-z]|xapp|xwfp)-[\w.-]+")
_GROUP_MENTION = re.compile(r"@(?=channel|here|everyone)", re.IGNORECASE)
_ANY_MENTION = re.compile(r"@(?=\w)")
_MARKUP = re.compile(r"[`*~]|(?<!\w)_|_(?!\w)")
_WEB_URL = re.compile(r"https?://[!#-;=?-\[\]^_a-z~]+")


def defuse(text: str, length: int = 500) -> str:
    """Text from outside for `mrkdwn`: no mention, no link, no markup, no control characters.

    At most `length` characters as Slack counts them, which is after escaping; never cut inside one.
    """
    clean = _MARKUP.sub(lambda match: f"{_JOINER}{match[0]}", _ANY_MENTION.sub(f"@{_JOINER}", _clean(text)))
    return _cut(clean, length)


def plain(text: str, length: int = 500) -> str:
    """Text from outside for `plain_text`, as `defuse` but that what it quotes can be copied as it was."""
    return _cut(_GROUP_MENTION.sub(f"@{_JOINER}", _clean(text)), length)


def execution_message(state: ExecutionState, run_url: str | None) -> Message:
    """The one message about an execution, edited as it moves on."""
    name = state.pinned.pipeline_name
    text = f"{plain(name, 100)}: {state.status}"
    blocks: list[Block] = [{"type": "header", "text": _plain_text(text)}]
    blocks += _sections(_stage_line(stage) for stage in state.stages)
    blocks += _revisions(state)
    if state.status != "Succeeded" and (summary := plain(state.summary, 1000).strip()):
        blocks.append(_plain_section(summary))
    return text, [*blocks, _origin(state, run_url)]


def failure_reply(
    stage: StageState, action: ActionState, state: ExecutionState, run_url: str | None
) -> Message:
    """The reply that says why an action failed, or that it was abandoned."""
    what = "was abandoned" if action.status == "Abandoned" else "failed"
    title = f"Action {{}} of stage {{}} {what}"
    reason = plain(action.summary, 2900).strip() or "no reason was given"
    names = (action.name, stage.name)
    blocks = [
        _section(f"{_MARKS[action.status]} *{title.format(*(defuse(name, 100) for name in names))}*"),
        _plain_section(reason),
    ]
    text = (
        f"{title.format(*(plain(name, 100) for name in names))} in {plain(state.pinned.pipeline_name, 100)}"
    )
    first_line = reason.partition("\n")[0]
    return f"{text}: {first_line}", blocks + _buttons([("Open in Prefect", _web_link(run_url), None)])


def approval_reply(request: ApprovalRequested, state: ExecutionState, run_url: str | None) -> Message:
    """The reply that asks for a decision, which is made in Prefect's UI."""
    title = "Approval needed: {} in stage {}"
    names = (request.action, request.stage)
    blocks = [_section(f"{_WAITS} *{title.format(*(defuse(name, 100) for name in names))}*")]
    if request.custom_data and (custom_data := plain(request.custom_data, 2900)).strip():
        blocks.append(_plain_section(custom_data))
    link = _web_link(request.external_entity_link)
    if request.external_entity_link and not link:
        blocks.append(_plain_section(f"To be reviewed: {plain(request.external_entity_link, 1500)}"))
    blocks += _revisions(state)
    until = f"Open until {request.expires_at:%Y-%m-%d %H:%M} UTC."
    blocks.append({"type": "context", "elements": [_plain_text(until)]})
    text = (
        f"{title.format(*(plain(name, 100) for name in names))} of {plain(state.pinned.pipeline_name, 100)}"
    )
    buttons = [("Decide in Prefect", _web_link(run_url), "primary"), ("What is to be reviewed", link, None)]
    return text, blocks + _buttons(buttons)


def _stage_line(stage: StageState) -> str:
    waits = any(action.is_waiting_for_approval for action in stage.actions)
    mark = _WAITS if waits else _MARKS.get(stage.status, _MARKS[None])
    attempt = f" (attempt {stage.attempt})" if stage.attempt > 1 else ""
    what = " waits for approval" if waits else f" {stage.status}" if stage.status else ""
    return f"{mark} *{defuse(stage.name, 150)}*{what}{attempt}"


def _sections(lines: Iterable[str]) -> list[Block]:
    """Whole lines, in as few sections as take them."""
    texts = [""]
    for line in lines:
        if len(texts[-1]) + len(line) >= _SECTION:
            texts.append("")
        texts[-1] += f"\n{line}" if texts[-1] else line
    return [_section(text) for text in texts if text]


def _revisions(state: ExecutionState) -> list[Block]:
    """A line for each source action: its commit as a link, and the first line of what was said with it."""
    revisions = list(state.source_revisions.items())
    blocks = [_revision(name, revision) for name, revision in revisions[:_REVISIONS_SHOWN]]
    if left := len(revisions) - _REVISIONS_SHOWN:
        more = _plain_text(f"and {left} more source revision{'s' if left > 1 else ''}")
        blocks += [{"type": "context", "elements": [more]}] if left > 0 else []
    return blocks


def _revision(name: str, revision: SourceRevision) -> Block:
    commit = defuse(revision.revision_id[:12], 50) or "?"
    shown = _link(revision.revision_url, commit) or commit
    elements = [_mrkdwn(f"*{defuse(name, 150)}* {shown}")]
    if summary := plain(revision.revision_summary.strip().partition("\n")[0], 200).strip():
        elements.append(_plain_text(summary))
    return {"type": "context", "elements": elements}


def _origin(state: ExecutionState, run_url: str | None) -> Block:
    pinned = state.pinned
    who = f"started by {pinned.trigger_detail} · " if pinned.trigger_detail else ""
    parts = (
        f"{who}{pinned.trigger_type} · version {pinned.pipeline_version} · execution {state.execution_id[:8]}"
    )
    elements = [_plain_text(plain(parts, 500))]
    if link := _link(run_url, "open in Prefect"):
        elements.append(_mrkdwn(link))
    return {"type": "context", "elements": elements}


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text)}


def _plain_section(text: str) -> Block:
    return {"type": "section", "text": _plain_text(text)}


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _plain_text(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": False}


def _buttons(wanted: list[tuple[str, str | None, str | None]]) -> list[Block]:
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


def _link(url: str | None, label: str) -> str | None:
    escaped = _escaped(_web_link(url) or "")
    return f"<{escaped}|{label}>" if 0 < len(escaped) <= _LINK_URL else None


def _web_link(url: str | None) -> str | None:
    """The URL when it leads to a web page and says so.

    Not one with a user name, which disguises where it leads, or with a token in it.
    """
    if not url or len(url) > _BUTTON_URL or not _WEB_URL.fullmatch(url) or _SLACK_TOKEN.search(url):
        return None
    try:
        parts = urlsplit(url)
        return url if parts.hostname and "@" not in parts.netloc else None
    except ValueError:  # such as a bracket that opens no IPv6 address
        return None


def _clean(text: str) -> str:
    text = _COLOURS.sub("", text).replace("\r\n", "\n")
    spaced = (" " if c.isspace() and c not in "\n\t" else c for c in text)
    return _SLACK_TOKEN.sub("[token]", "".join(c for c in spaced if c.isprintable() or c in "\n\t"))


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _cut(text: str, length: int) -> str:
    """Escaped, and cut between characters when it is too long."""
    sizes = [len(_ESCAPES.get(character, character)) for character in text[: length + 1]]
    if len(text) <= length and sum(sizes) <= length:
        return _escaped(text)
    kept = total = 0
    while total + sizes[kept] <= length - 1:
        total += sizes[kept]
        kept += 1
    while kept and unicodedata.combining(text[kept]):  # an accent stays with its letter
        kept -= 1
    return _escaped(text[:kept]) + "…"
