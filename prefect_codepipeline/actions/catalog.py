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
# Action types of AWS that are not available yet, and the reason. A type that gets a provider leaves the list.
ACTION_TYPES_NOT_YET = {
    "Invoke/AWS/CodePipeline/1": "this version cannot start another pipeline from an action",
    "Invoke/AWS/Lambda/1": "the function answers through the job result API, which this version does not have",
}
_OF_WORKERS = "job workers serve it: create it with `codepipeline action-type add`, and run a worker for it"
# Action types of AWS's table whose work is that of job workers, and what to do. One that was created runs.
ACTION_TYPES_OF_WORKERS = dict.fromkeys(
    (
        "Build/Custom/Jenkins/1",
        "Test/Custom/Jenkins/1",
        "Build/Custom/CloudBees/1",
        "Build/Custom/TeamCity/1",
        "Test/Custom/BlazeMeter/1",
        "Test/ThirdParty/GhostInspector/1",
        "Test/ThirdParty/Nouvola/1",
        "Test/ThirdParty/Runscope/1",
        "Test/ThirdParty/StormRunnerLoad/1",
        "Deploy/Custom/XebiaLabs/1",
        "Deploy/ThirdParty/AlexaSkillsKit/1",
        "Invoke/ThirdParty/Snyk/1",
    ),
    _OF_WORKERS,
)
# Action types that will never have a provider here, and the reason.
ACTION_TYPES_REFUSED = {
    "Deploy/AWS/OpsWorks/1": "AWS ended OpsWorks in May 2024, and boto3 has it no more; remove the action",
}
_CUSTOM = (
    "job workers run custom actions; no installed package provides this type, and it was not created with "
    "`codepipeline action-type add`"
)


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


def why_no_provider(kind: ActionTypeId) -> str:
    """Why no provider runs an action type, as the end of a sentence: it comes later, never, or is not known."""
    name = str(kind)
    if reason := ACTION_TYPES_REFUSED.get(name) or ACTION_TYPES_OF_WORKERS.get(name):
        return f"does not run here: {reason}"
    if reason := ACTION_TYPES_NOT_YET.get(name):
        return f"is not available yet: {reason}"
    if kind.owner != "AWS":
        return f"does not run here: {_CUSTOM}"
    return "does not exist"


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
