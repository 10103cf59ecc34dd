"""What Slack sends is read, and nothing else: whatever comes, there is an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.model.views.slack_interaction import (
    Pressed,
    SlackUser,
    Submitted,
    dialog_metadata,
    read_interaction,
)

ANA = SlackUser("U01", "ana")
PRESSED: dict[str, Any] = {
    "type": "block_actions",
    "user": {"id": "U01", "username": "ana"},
    "trigger_id": "1.2",
    "actions": [
        {"action_id": "open-1", "url": "https://x"},
        {"action_id": "codepipeline-reject", "value": "v"},
    ],
}
SUBMITTED: dict[str, Any] = {
    "type": "view_submission",
    "user": {"id": "U01", "name": "ana"},
    "view": {
        "callback_id": "codepipeline-decide",
        "private_metadata": dialog_metadata(Pressed(ANA, "v", "Approved", "1.2")),
        "state": {"values": {"comment": {"comment": {"value": "go"}}}},
    },
}


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        pytest.param(PRESSED, Pressed(ANA, "v", "Rejected", "1.2"), id="a button"),
        pytest.param(SUBMITTED, Submitted(ANA, "v", "Approved", "go"), id="a dialog"),
        pytest.param(
            {**PRESSED, "actions": PRESSED["actions"][:1]}, None, id="a button that leads somewhere"
        ),
        pytest.param({**PRESSED, "user": {}}, None, id="nobody pressed it"),
        pytest.param(
            {**SUBMITTED, "view": {**SUBMITTED["view"], "callback_id": "x"}}, None, id="another's dialog"
        ),
        pytest.param(
            {**SUBMITTED, "view": {**SUBMITTED["view"], "private_metadata": "{"}}, None, id="a dialog cut off"
        ),
        pytest.param(
            {**SUBMITTED, "view": {**SUBMITTED["view"], "state": {}}},
            Submitted(ANA, "v", "Approved", ""),
            id="no comment",
        ),
        pytest.param({"type": "shortcut", "user": {"id": "U01"}}, None, id="something else"),
    ],
)
def test_what_somebody_did_is_read(payload: Any, read: Any) -> None:
    assert read_interaction(payload) == read


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in _places(each, (*path, key)))]


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = json.loads(json.dumps(value))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return copy


@pytest.mark.parametrize("payload", [PRESSED, SUBMITTED], ids=["button", "dialog"])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_else_comes_is_read_or_left(payload: Any, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(_places(payload)))

    read = read_interaction(_changed(payload, place, data.draw(_JSON)))

    assert read is None or (read.user.id and isinstance(read.value, str))
