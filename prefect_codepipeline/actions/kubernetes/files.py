"""Manifests, charts and values in the input artifact, with the action's environment variables in place of `$NAME`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_MANIFESTS = (".yaml", ".yml", ".json")


def variables_of(context: ActionContext) -> dict[str, str]:
    """The environment variables that the action declares."""
    return {each.name: each.value for each in context.action.environment_variables or ()}


def find(context: ActionContext, path: str, key: str, below: Path | None = None) -> Path:
    """A file or folder in the input artifact.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is none; the message starts with `key`.
    """
    artifact = context.input_artifacts[0]
    root = artifact.directory.resolve()
    found = ((below or root) / path.lstrip("/")).resolve()
    if found.is_relative_to(root) and found.exists():
        return found
    raise ActionFailed(f"{key}: input artifact {artifact.name!r} has no {path!r}", code="ConfigurationError")


def manifests_in(place: Path, key: str) -> list[Path]:
    """The file itself, or the manifests in a folder, as `kubectl apply -f` finds them."""
    if place.is_file():
        return [place]
    found = sorted(path for path in place.iterdir() if path.suffix in _MANIFESTS and path.is_file())
    if not found:
        raise ActionFailed(f"{key}: folder {place.name!r} has no manifests", code="ConfigurationError")
    return found


def names_in(text: str | None) -> list[str]:
    """The names in a list with commas."""
    return [each for each in map(str.strip, (text or "").split(",")) if each]


def substitute(source: Path, target: Path, variables: Mapping[str, str]) -> Path:
    """Write the file with values in place of the variables that are declared; other `$NAME` stay as they are.

    Raises:
        ActionFailed: with code `ConfigurationError`, the file is not text.
    """

    def value(match: re.Match[str]) -> str:
        return variables.get(match[1] or match[2], match[0])

    try:
        text = source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ActionFailed(f"file {source.name!r} is not UTF-8 text", code="ConfigurationError") from error
    target.write_text(_VARIABLE.sub(value, text), encoding="utf-8")
    return target
