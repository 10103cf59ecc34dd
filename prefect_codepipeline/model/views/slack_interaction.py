"""Parse Slack's request after a user clicked a button or submitted a dialog; only the needed fields are read.

https://docs.slack.dev/reference/interaction-payloads
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from prefect_codepipeline.model.views.slack_message import APPROVE, COMMENT, DECIDE, REJECT

Answer = Literal["Approved", "Rejected"]
_ANSWERS: dict[Any, Answer] = {APPROVE: "Approved", REJECT: "Rejected"}


@dataclass(frozen=True)
class SlackUser:
    """The user of the interaction; `name` is the short user name."""

    id: str
    name: str


@dataclass(frozen=True)
class Pressed:
    """A user clicked a button of this package; `trigger_id` can open a dialog within three seconds."""

    user: SlackUser
    value: str
    answer: Answer
    trigger_id: str


@dataclass(frozen=True)
class Submitted:
    """A user submitted a dialog of this package."""

    user: SlackUser
    value: str
    answer: Answer
    comment: str


def dialog_metadata(pressed: Pressed) -> str:
    """The metadata of the dialog, which Slack returns with the submission."""
    return json.dumps({"value": pressed.value, "answer": pressed.answer})


def read_interaction(payload: Any) -> Pressed | Submitted | None:
    """The interaction of a user, or None if it does not belong to this package or is malformed."""
    kind, user = _at(payload, "type"), _user(payload)
    if user is None:
        return None
    if kind == "block_actions":
        return _pressed(payload, user)
    if kind == "view_submission" and _at(payload, "view", "callback_id") == DECIDE:
        return _submitted(payload, user)
    return None


def _pressed(payload: Any, user: SlackUser) -> Pressed | None:
    actions = _at(payload, "actions")
    # Slack also sends a request for buttons that only open a link.
    for action in actions if isinstance(actions, list) else []:
        action_id, value = _at(action, "action_id"), _at(action, "value")
        if isinstance(action_id, str) and action_id in _ANSWERS and isinstance(value, str):
            return Pressed(user, value, _ANSWERS[action_id], _text(payload, "trigger_id"))
    return None


def _submitted(payload: Any, user: SlackUser) -> Submitted | None:
    try:
        asked = json.loads(_text(payload, "view", "private_metadata"))
    except (ValueError, RecursionError):
        return None
    value, answer = _at(asked, "value"), _at(asked, "answer")
    if not isinstance(value, str) or answer not in ("Approved", "Rejected"):
        return None
    comment = _text(payload, "view", "state", "values", COMMENT, COMMENT, "value")
    return Submitted(user, value, answer, comment)


def _user(payload: Any) -> SlackUser | None:
    user_id = _text(payload, "user", "id")
    name = _text(payload, "user", "name") or _text(payload, "user", "username")
    return SlackUser(user_id, name) if user_id else None


def _text(value: Any, *path: str) -> str:
    found = _at(value, *path)
    return found if isinstance(found, str) else ""


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
