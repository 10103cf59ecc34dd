"""Check whether a rule of a condition can run: its provider, configuration, commands and artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from prefect_codepipeline.actions.catalog import RULES_NOT_YET, built_in_rules
from prefect_codepipeline.deployments.checking.requirements import Provided
from prefect_codepipeline.model.definition.action_types import find_rule_type
from prefect_codepipeline.model.definition.declaration import RuleDeclaration
from prefect_codepipeline.model.definition.variables import find_references
from prefect_codepipeline.model.validation import Problem, nearest

if TYPE_CHECKING:
    from prefect_codepipeline.actions.rule_registry import RuleProvider

_EXCEPTION = "InvalidStageDeclarationException"


def check_rule(rule: RuleDeclaration, path: str) -> Iterator[Problem]:
    """Every error that prevents one rule from running, and warnings about unexpected behaviour.

    Args:
        rule: the declared rule, with unresolved variables.
        path: its place in the definition, `stages[1].beforeEntry.conditions[0].rules[0]`.
    """
    kind = rule.rule_type_id
    if kind.owner == "Custom":
        yield from _check_custom(rule, path)
    elif find_rule_type(kind) and f"Rule/AWS/{kind.provider}/1" not in built_in_rules():
        # AWS's rule types are checked by AWS's rules, which also report unknown types.
        why = RULES_NOT_YET.get(kind.provider, "this version cannot run it")
        yield Problem(
            f"{path}.ruleTypeId",
            f"rule type Rule/AWS/{kind.provider}/1 is not available yet: {why}; available: "
            f"{', '.join(sorted(built_in_rules()))}",
            _EXCEPTION,
            rule="not-available",
        )


def _check_custom(rule: RuleDeclaration, path: str) -> Iterator[Problem]:
    """Check a rule that is not AWS's, as its provider declares it."""
    # The rule registry imports Prefect, which the other checks do not need.
    from prefect_codepipeline.actions.rule_registry import RuleType, no_provider, rule_providers

    kind = RuleType.of(rule.rule_type_id)
    provider = rule_providers().get(kind)
    if provider is None:
        known = [str(rule_type) for rule_type in rule_providers()]
        hint = nearest(str(kind), known)
        yield Problem(f"{path}.ruleTypeId", no_provider(kind), _EXCEPTION, hint=hint, rule="not-available")
        return
    provided = Provided("Rule", rule.name, path, _EXCEPTION)
    yield from provided.check_count("input", len(rule.input_artifacts or ()), provider.inputs)
    yield from _check_commands(rule, provider, path)
    yield from _check_configuration(rule, provider, provided)


def _check_commands(rule: RuleDeclaration, provider: RuleProvider, path: str) -> Iterator[Problem]:
    if provider.commands and not rule.commands:
        yield Problem(
            f"{path}.commands", f"Rule {rule.name} must have a non-empty commands field", _EXCEPTION
        )
    if rule.commands and not provider.commands:
        yield Problem(f"{path}.commands", "only Commands rules can have commands", _EXCEPTION)
    for index, command in enumerate(rule.commands or []):
        if "\n" in command or "\r" in command:
            yield Problem(f"{path}.commands[{index}]", "a command must be a single line", _EXCEPTION)


def _check_configuration(
    rule: RuleDeclaration, provider: RuleProvider, provided: Provided
) -> Iterator[Problem]:
    configuration = rule.configuration or {}
    for key, problem in provided.check_configuration(provider, configuration):
        values = [configuration.get(key, "")] if key else configuration.values()
        if any(any(find_references(value)) for value in values):
            continue  # can be checked only when its variables are known
        below = f".{problem.path}" if problem.path else ""
        message = problem.message.removeprefix("Value error, ")
        yield replace(problem, path=f"{provided.path}.configuration{below}", message=message)
