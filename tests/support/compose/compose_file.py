"""deploy/compose.yaml as data: with its variables filled in, as Compose does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy/compose.yaml"
_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?P<operator>:?-)(?P<default>[^}]*)\})")


def read(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file, with these variables in place of the user's environment."""
    content: dict[str, Any] = _filled(yaml.safe_load(FILE.read_text()), variables or {})
    return content


def _filled(part: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(value, variables) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, variables) for value in part]
    if not isinstance(part, str):
        return part
    return _VARIABLE.sub(lambda found: _value(found, variables), part)


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["escaped"]:
        return "$"
    value = variables.get(found["name"])
    if value is None or (not value and found["operator"] == ":-"):
        return found["default"]
    return value
