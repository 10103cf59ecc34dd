"""Places of a definition in words, for messages about values of an import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_OF_ACTION = re.compile(r"stages\[(\d+)\]\.actions\[(\d+)\]\.(?:configuration\.)?(.+)")
_OF_PROJECT = re.compile(r"resources\.(.+)\.Source\.BuildSpec")


def place_in_words(wire: Mapping[str, Any], path: str) -> str:
    """Where a path of a definition or its resources file is.

    Example:
        >>> place_in_words({"stages": [{"name": "S", "actions": [{"name": "A"}]}]}, "stages[0].actions[0].region")
        'region of S/A'
    """
    if path == "name":
        return "the name of the pipeline"
    if of_action := _OF_ACTION.fullmatch(path):
        stage = _item(wire, "stages", int(of_action[1]))
        action = _item(stage, "actions", int(of_action[2]))
        return f"{of_action[3]} of {_name(stage)}/{_name(action)}"
    if of_project := _OF_PROJECT.fullmatch(path):
        return f"the buildspec of project {of_project[1]}"
    return path


def _item(part: Mapping[str, Any], key: str, index: int) -> Mapping[str, Any]:
    items = part.get(key)
    item = items[index] if isinstance(items, list) and index < len(items) else None
    return item if isinstance(item, dict) else {}


def _name(part: Mapping[str, Any]) -> str:
    return str(part.get("name", "?"))
