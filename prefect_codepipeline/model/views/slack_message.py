"""The messages for Slack about executions, failures and approvals, as Block Kit.

External text (commits, custom data, reasons) goes into `plain_text` objects, in which Slack does not parse markup. The
few names in `mrkdwn` are escaped, and `verbatim` prevents Slack from creating links and mentions automatically.

https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.model.approvals.standing import Standing
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.events import EventState, StateChange
from prefect_codepipeline.model.record.facts import ApprovalRequested, ApprovalVoted
from prefect_codepipeline.model.record.notification_rules import is_of_approval
from prefect_codepipeline.model.record.state import ActionState, ExecutionState, StageState
from prefect_codepipeline.model.views.slack_text import defuse, link_to, plain
from prefect_codepipeline.model.web_links import web_link

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
_EVENT_MARKS: dict[EventState, str] = {
    "STARTED": ":large_blue_circle:",
    "RESUMED": ":large_blue_circle:",
    "SUCCEEDED": ":white_check_mark:",
    "FAILED": ":x:",
    "SUPERSEDED": ":fast_forward:",
    "STOPPING": ":black_square_for_stop:",
    "STOPPED": ":black_square_for_stop:",
    "CANCELED": ":black_square_for_stop:",
    "ABANDONED": ":black_square_for_stop:",
}
_VERBS: dict[EventState, str] = {
    "STARTED": "started",
    "RESUMED": "was resumed",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "SUPERSEDED": "was superseded",
    "STOPPING": "is being stopped",
    "STOPPED": "was stopped",
    "CANCELED": "was canceled",
    "ABANDONED": "was abandoned",
}
# AWS does not distinguish a rejection from an expiry; the reason text does.
_APPROVAL_VERBS: dict[EventState, str] = {
    "STARTED": "is needed",
    "SUCCEEDED": "was given",
    "FAILED": "was not given",
}
_WAITS = ":double_vertical_bar:"
_STANDINGS: dict[Standing, str] = {
    "open": _WAITS,
    "approved": ":white_check_mark:",
    "rejected": ":x:",
    "expired": ":hourglass:",
    "stopped": ":black_square_for_stop:",
}
# The ids that Slack sends back when a user clicks a button or submits the dialog.
APPROVE, REJECT, DECIDE, COMMENT = (
    "codepipeline-approve",
    "codepipeline-reject",
    "codepipeline-decide",
    "comment",
)
_SECTION = 3000
_REVISIONS_SHOWN = 10


def execution_message(state: ExecutionState, run_url: str | None) -> Message:
    """The message about an execution, which is edited as the execution progresses."""
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
    """The reply with the reason why an action failed or was abandoned."""
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
    return f"{text}: {first_line}", blocks + _buttons([("Open in Prefect", web_link(run_url), None)])


def event_message(change: StateChange, run_url: str | None) -> Message:
    """The message about one event for the channel of a notification rule, with the reason if there is one."""
    detail = change.detail
    names = [detail["pipeline"], *(detail[key] for key in ("stage", "action") if key in detail)]
    verb = _VERBS[change.state]
    if is_of_approval(change):
        verb = _APPROVAL_VERBS.get(change.state, verb)
    word = "approval" if is_of_approval(change) else change.level
    mark = _EVENT_MARKS.get(change.state, _MARKS[None])
    title = f"{word.title()} {{}} {verb}"
    markup_names, plain_names = (" / ".join(clean(name, 100) for name in names) for clean in (defuse, plain))
    blocks = [_section(f"{mark} *{title.format(markup_names)}*")]
    text = title.format(plain_names)
    if reason := plain(_reason(detail), 2900).strip():
        blocks.append(_plain_section(reason))
        text += f": {reason.partition(chr(10))[0]}"
    execution = f"execution {detail['execution-id'][:8]} · attempt {detail['pipeline-execution-attempt']:.0f}"
    elements = [_plain_text(plain(execution))]
    if link := link_to(run_url, "open in Prefect"):
        elements.append(_mrkdwn(link))
    return text, [*blocks, {"type": "context", "elements": elements}]


def _reason(detail: dict[str, Any]) -> str:
    result = detail.get("execution-result", {})
    has_reason = detail["state"] == "FAILED" or detail.get("type", {}).get("category") == "Approval"
    summary = result.get("external-execution-summary") if has_reason else ""
    return str(summary or detail.get("stop-execution-comments") or "")


@dataclass(frozen=True)
class Ways:
    """The ways to decide an approval from a message: buttons with the value `button_value`, and the page at `link`."""

    button_value: str | None = None
    link: str | None = None


def approval_reply(
    request: ApprovalRequested, state: ExecutionState, run_url: str | None, ways: Ways | None = None
) -> Message:
    """The reply that requests a decision: in Slack, on the gateway's page, or in Prefect's UI."""
    ways = ways or Ways()
    title = "Approval needed: {} in stage {}"
    blocks = [_section(f"{_WAITS} *{title.format(*(defuse(name, 100) for name in _names(request)))}*")]
    blocks += _what_is_asked(request, state)
    until = f"Open until {request.expires_at:%Y-%m-%d %H:%M} UTC."
    voters = [vote.approver.label for vote in _votes(request, state)]
    approved = f" Approved by {plain(', '.join(voters), 500)} so far." if voters else ""
    blocks.append({"type": "context", "elements": [_plain_text(until + approved)]})
    can_decide = ways.button_value or ways.link
    buttons = [
        ("Review and decide", ways.link, None if ways.button_value else "primary"),
        (
            "Open in Prefect" if can_decide else "Decide in Prefect",
            run_url,
            None if can_decide else "primary",
        ),
        ("Open the item to review", request.external_entity_link, None),
    ]
    decisions = _decision_buttons(ways.button_value) if ways.button_value else []
    text = _approval_title(title, request, state)
    return text, blocks + _buttons(
        [(label, web_link(url), style) for label, url, style in buttons], decisions
    )


def decided_reply(
    request: ApprovalRequested, state: ExecutionState, run_url: str | None, standing: Standing, sentence: str
) -> Message:
    """The reply that replaces the request after the approval ended; it has no buttons to decide."""
    title = "Approval {} in stage {}"
    names = tuple(defuse(name, 100) for name in _names(request))
    blocks = [
        _section(f"{_STANDINGS[standing]} *{title.format(*names)}*"),
        _plain_section(plain(sentence, 1500)),
    ]
    blocks += _what_is_asked(request, state)
    text = f"{_approval_title(title, request, state)}: {plain(sentence, 1500)}"
    return text, blocks + _buttons([("Open in Prefect", web_link(run_url), None)])


def reminder_reply(request: ApprovalRequested, state: ExecutionState, left: str) -> Message:
    """The reminder of an approval that has no decision yet."""
    title = "{} in stage {} still needs a decision"
    names = tuple(defuse(name, 100) for name in _names(request))
    until = f"It expires in {left}, at {request.expires_at:%Y-%m-%d %H:%M} UTC."
    blocks = [_section(f":hourglass_flowing_sand: *{title.format(*names)}*"), _plain_section(until)]
    return f"{_approval_title(title, request, state)}. {until}", blocks


def decision_modal(
    request: ApprovalRequested, state: ExecutionState, status: str, private_metadata: str
) -> dict[str, Any]:
    """The dialog in which a user who clicked a button adds a comment and confirms.

    https://docs.slack.dev/reference/views/modal-views
    """
    verb = "Approve" if status == "Approved" else "Reject"
    what = f"*{verb}* {defuse(request.action, 100)} in stage {defuse(request.stage, 100)} of {defuse(state.pinned.pipeline_name, 100)}?"
    comment = {
        "type": "input",
        "block_id": COMMENT,
        "optional": True,
        "label": _plain_text("Comment"),
        "element": {"type": "plain_text_input", "action_id": COMMENT, "multiline": True, "max_length": 512},
    }
    return {
        "type": "modal",
        "callback_id": DECIDE,
        "private_metadata": private_metadata,
        "title": _plain_text(f"{verb} a release"),
        "submit": _plain_text(verb),
        "close": _plain_text("Not now"),
        "blocks": [_section(what), *_revisions(state), comment],
    }


def notice_modal(title: str, text: str) -> dict[str, Any]:
    """A dialog that only displays a text."""
    return {
        "type": "modal",
        "title": _plain_text(title[:24]),
        "close": _plain_text("Close"),
        "blocks": [_plain_section(plain(text, 2900) or "-")],
    }


def _names(request: ApprovalRequested) -> tuple[str, str]:
    return request.action, request.stage


def _approval_title(title: str, request: ApprovalRequested, state: ExecutionState) -> str:
    names = (plain(name, 100) for name in _names(request))
    return f"{title.format(*names)} of {plain(state.pinned.pipeline_name, 100)}"


def _what_is_asked(request: ApprovalRequested, state: ExecutionState) -> list[Block]:
    blocks = []
    if request.custom_data and (custom_data := plain(request.custom_data, 2900)).strip():
        blocks.append(_plain_section(custom_data))
    if request.external_entity_link and not web_link(request.external_entity_link):
        blocks.append(_plain_section(f"To review: {plain(request.external_entity_link, 1500)}"))
    return blocks + _revisions(state)


def _votes(request: ApprovalRequested, state: ExecutionState) -> Iterable[ApprovalVoted]:
    return (vote for _, action in state.actions for vote in action.votes if vote.token == request.token)


def _decision_buttons(value: str) -> list[dict[str, Any]]:
    labels = (("Approve", APPROVE, "primary"), ("Reject", REJECT, "danger"))
    return [
        {
            "type": "button",
            "action_id": action_id,
            "text": {"type": "plain_text", "text": label},
            "value": value,
            "style": style,
        }
        for label, action_id, style in labels
    ]


def _stage_line(stage: StageState) -> str:
    waits = any(action.is_waiting_for_approval for action in stage.actions)
    mark = _WAITS if waits else _MARKS.get(stage.status, _MARKS[None])
    attempt = f" (attempt {stage.attempt})" if stage.attempt > 1 else ""
    what = " is waiting for approval" if waits else f" {stage.status}" if stage.status else ""
    without_worker = (
        f"\n{_WAITS} {defuse(action.name, 100)}: {defuse(action.summary, 300)}"
        for action in stage.actions
        if action.waits_for_a_worker
    )
    return f"{mark} *{defuse(stage.name, 150)}*{what}{attempt}" + "".join(without_worker)


def _sections(lines: Iterable[str]) -> list[Block]:
    """The lines in as few sections as possible; a line is never split."""
    texts = [""]
    for line in lines:
        if len(texts[-1]) + len(line) >= _SECTION:
            texts.append("")
        texts[-1] += f"\n{line}" if texts[-1] else line
    return [_section(text) for text in texts if text]


def _revisions(state: ExecutionState) -> list[Block]:
    """A line for each source action: its commit as a link, and the first line of the commit message."""
    revisions = list(state.source_revisions.items())
    blocks = [_revision(name, revision) for name, revision in revisions[:_REVISIONS_SHOWN]]
    if left := len(revisions) - _REVISIONS_SHOWN:
        more = _plain_text(f"and {left} more source revision{'s' if left > 1 else ''}")
        blocks += [{"type": "context", "elements": [more]}] if left > 0 else []
    return blocks


def _revision(name: str, revision: SourceRevision) -> Block:
    commit = defuse(revision.revision_id[:12], 50) or "?"
    shown = link_to(revision.revision_url, commit) or commit
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
    if link := link_to(run_url, "open in Prefect"):
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


def _buttons(
    wanted: list[tuple[str, str | None, str | None]], first: list[dict[str, Any]] | None = None
) -> list[Block]:
    elements = (first or []) + [
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
