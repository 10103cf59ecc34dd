"""Which action types have a provider, found without importing any: providers bring Prefect and much else along."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from prefect_codepipeline.model.declaration import ActionTypeId

PLUGINS = "prefect_codepipeline.providers"
_DECORATOR = "\n@action_provider("
_FOLDER = Path(__file__).parent / "providers"


@cache
def built_in_action_types() -> frozenset[ActionTypeId]:
    """The action types of the files in `tasks/providers/`."""
    return frozenset(
        kind for path in sorted(_FOLDER.glob("*.py")) for kind in _action_types_in(path.read_text("utf-8"))
    )


@cache
def has_plugins() -> bool:
    """Whether an installed package offers further providers, which only the registry knows."""
    return bool(entry_points(group=PLUGINS))


def _action_types_in(text: str) -> Iterator[ActionTypeId]:
    start = text.find(_DECORATOR)
    while start >= 0:
        end = text.find("\ndef ", start)
        call = ast.parse(text[start + 2 : end].strip(), mode="eval").body
        assert isinstance(call, ast.Call)
        given = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg in _WORDS}
        yield ActionTypeId(**{"owner": "AWS", "version": "1", **given})
        start = text.find(_DECORATOR, end)


_WORDS = {"category", "owner", "provider", "version"}
