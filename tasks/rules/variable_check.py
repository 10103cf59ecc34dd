"""Rule/AWS/VariableCheck/1: compare a variable with a value.

https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-VariableCheck.html
"""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator
from pydantic_core.core_schema import ValidationInfo

from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    rule_provider,
)
from prefect_codepipeline.model.definition.conditions import compare, read_pattern

_SHOWN_CHARACTERS = 200
_WORDS = {
    "EQ": ("is", "is not"),
    "NE": ("is not", "is"),
    "CONTAINS": ("contains", "does not contain"),
    "MATCHES": ("matches", "does not match"),
}


class VariableCheckConfiguration(RuleConfiguration):
    """`Variable` is a reference, `#{namespace.key}`; `Value` is a regular expression for `MATCHES`."""

    variable: str
    operator: Literal["EQ", "NE", "CONTAINS", "MATCHES"]
    value: str

    @field_validator("value")
    @classmethod
    def _readable(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("operator") == "MATCHES":
            read_pattern(value)
        return value


@rule_provider(provider="VariableCheck")
def check_variable(configuration: VariableCheckConfiguration, context: RuleContext) -> RuleResult:
    """Met when the comparison holds."""
    holds = compare(configuration.variable, configuration.operator, configuration.value)
    words = _WORDS[configuration.operator][0 if holds else 1]
    summary = f"{_quote(configuration.variable)} {words} {_quote(configuration.value)}"
    return RuleResult("Succeeded" if holds else "Failed", summary)


def _quote(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} [...]")
