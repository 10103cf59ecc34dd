"""The action types that have a provider, found without importing the providers, which import Prefect."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from prefect_codepipeline.model.definition.declaration import ActionTypeId

# The entry-point groups in which other packages name their providers.
PLUGINS = "prefect_codepipeline.providers"
RULE_PLUGINS = "prefect_codepipeline.rules"
_WORDS = {"category", "owner", "provider", "version"}
# Rules of AWS that are not available yet, and the reason.
RULES_NOT_YET = {
    "LambdaInvoke": "it answers through the job result API, which this version does not have",
}


@cache
def built_in_action_types() -> frozenset[ActionTypeId]:
    """The action types of the files in `tasks/providers/`."""
    return frozenset(ActionTypeId(**given) for given in _decorated("providers", "action_provider"))


@cache
def built_in_rules() -> frozenset[str]:
    """The rule types of AWS that the files in `tasks/rules/` provide, as `Rule/AWS/Provider/1`."""
    return frozenset(
        f"Rule/AWS/{given['provider']}/{given['version']}"
        for given in _decorated("rules", "rule_provider")
        if given["owner"] == "AWS"
    )


@cache
def has_plugins() -> bool:
    """Whether an installed package offers further action types, which only the registry knows."""
    return bool(entry_points(group=PLUGINS))


def _decorated(folder: str, decorator: str) -> Iterator[dict[str, Any]]:
    """What names the type of each provider of a folder: arguments of its decorator, or their defaults."""
    for path in sorted((Path(__file__).parent.parent / "tasks" / folder).rglob("*.py")):
        text = path.read_text("utf-8")
        start = text.find(f"\n@{decorator}(")
        while start >= 0:
            after = text.find(f"\n@{decorator}(", start + 1)
            end = min(place for place in (after, text.find("\ndef ", start)) if place > 0)
            call = ast.parse(text[start + 2 : end].strip(), mode="eval").body
            assert isinstance(call, ast.Call)
            given = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg in _WORDS}
            yield {"owner": "AWS", "version": "1", **given}
            start = after
