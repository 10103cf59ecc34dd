"""Every action and rule type that AWS documents, from `action_types.json` beside this file.

https://docs.aws.amazon.com/codepipeline/latest/userguide/integrations-action-type.html
https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from prefect_codepipeline.model.definition.declaration import (
    ActionCategory,
    ActionOwner,
    ActionTypeId,
    PipelineType,
    RuleTypeId,
)

ValueType = Literal[
    "string", "enum", "boolean", "integer", "number", "list", "json", "arn", "sns-arn", "url",
    "artifact", "artifact-file", "cron", "time-zone",
]  # fmt: skip


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class When(_Row):
    """When a configuration key is required, depending on the rest of the action. Exactly one field is set.

    `key` with `any_of`: another key has one of these values. `present`: another key is set. `absent`: all these keys
    are missing. `input_artifacts`: the minimum number of artifacts. `input_artifacts_at_most`: the maximum number.
    """

    key: str | None = None
    any_of: tuple[str, ...] = Field((), alias="in")
    present: str | None = None
    absent: tuple[str, ...] = ()
    input_artifacts: int | None = None
    input_artifacts_at_most: int | None = None

    def holds(
        self, configuration: Mapping[str, str], inputs: int, defaults: Mapping[str, str]
    ) -> bool | None:
        """Whether the condition is true; None if the value contains a variable and is not known yet."""
        if self.key:
            value = configuration.get(self.key, defaults.get(self.key, ""))
            return None if "#{" in value or "${" in value else value in self.any_of
        if self.present:
            return self.present in configuration
        if self.absent:
            return not any(key in configuration for key in self.absent)
        if self.input_artifacts is not None:
            return inputs >= self.input_artifacts
        return inputs <= (self.input_artifacts_at_most or 0)

    def __str__(self) -> str:
        if self.key:
            return f"when {self.key} is {' or '.join(self.any_of)}"
        if self.present:
            return f"with {self.present}"
        if self.absent:
            return f"without {' and '.join(self.absent)}"
        if self.input_artifacts is not None:
            return f"with {self.input_artifacts} or more input artifacts"
        return f"with {self.input_artifacts_at_most or 'no'} input artifact"


class ConfigurationKey(_Row):
    """One key of an action's `configuration`. In JSON each value is a string; `type` says how to parse it."""

    key: str
    type: ValueType
    required: bool = False
    required_when: When | None = None
    only_with: When | None = None
    secret: bool = False
    allowed: tuple[str, ...] = ()
    default: str | None = None
    pattern: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    maximum_items: int | None = None
    description: str = ""


class ActionType(_Row):
    """One row of AWS's table. `published`: the artifact counts are examples; the publisher of the type chooses them."""

    category: ActionCategory | Literal["Rule"]
    owner: ActionOwner
    provider: str
    version: str
    pipeline_types: tuple[PipelineType, ...]
    input_artifacts: tuple[int, int]
    output_artifacts: tuple[int, int]
    configuration: tuple[ConfigurationKey, ...]
    output_variables: tuple[str, ...] = ()
    other_output_variables: str = ""
    published: bool = False
    allowed_with_skip: bool = False
    timeout: str = ""
    notes: str = ""

    @cached_property
    def keys(self) -> Mapping[str, ConfigurationKey]:
        return {key.key: key for key in self.configuration}

    @cached_property
    def defaults(self) -> Mapping[str, str]:
        return {key.key: key.default for key in self.configuration if key.default is not None}

    def __str__(self) -> str:
        return f"{self.category}/{self.owner}/{self.provider}/{self.version}"


# Finds an action type of one's own, which job workers serve.
FindType: TypeAlias = Callable[["ActionTypeId"], ActionType | None]
_TABLE: TypeAdapter[dict[str, list[ActionType]]] = TypeAdapter(dict[str, list[ActionType]])


@cache
def _table() -> dict[str, list[ActionType]]:
    return _TABLE.validate_json(Path(__file__).with_suffix(".json").read_bytes())


@cache
def action_types() -> Mapping[str, ActionType]:
    """The action types by `Category/Owner/Provider/Version`."""
    return MappingProxyType({str(known): known for known in _table()["actionTypes"]})


@cache
def rule_types() -> Mapping[str, ActionType]:
    """The rule types by provider."""
    return MappingProxyType({known.provider: known for known in _table()["ruleTypes"]})


def find_no_own(kind: ActionTypeId) -> None:
    """There are no action types of one's own."""


def find_action_type(kind: ActionTypeId) -> ActionType | None:
    """The row of an action type, or None if AWS does not document the type."""
    return action_types().get(str(kind))


def find_rule_type(kind: RuleTypeId) -> ActionType | None:
    """The row of a rule type, or None if AWS does not document the type or the owner is Custom."""
    found = rule_types().get(kind.provider)
    is_known = found and kind.version in (None, found.version) and kind.owner != "Custom"
    return found if is_known else None


@cache
def secret_keys() -> Collection[str]:
    """The configuration keys, of all action types, whose values must never be displayed."""
    return frozenset(
        key.key for known in _table()["actionTypes"] for key in known.configuration if key.secret
    )
