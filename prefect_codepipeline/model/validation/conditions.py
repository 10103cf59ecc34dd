"""Rules for the conditions of stages, and for the rules in those conditions.

https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-conditions.html
"""

from __future__ import annotations

from collections.abc import Iterator

from prefect_codepipeline.model.definition.action_types import ActionType, find_rule_type, rule_types
from prefect_codepipeline.model.definition.conditions import read_pattern
from prefect_codepipeline.model.definition.declaration import Condition, FailureConditions, StageDeclaration
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.rules import Pipeline, RulePlace, conditions_of, is_known, rules_of

_RESULTS = {"beforeEntry": ("FAIL", "SKIP"), "onSuccess": ("FAIL", "ROLLBACK"), "onFailure": ("ROLLBACK",)}

_condition = rules_of("Conditions", "InvalidStageDeclarationException")
_rule = rules_of("Rules of conditions", "InvalidStageDeclarationException")

BOTH = _condition(
    "result-or-conditions",
    "`onFailure` has a result or conditions, not both. A stage with automatic retry therefore has no conditions.",
    "The following stage cannot have a failure exit gate configured with both top level result and conditions: "
    "'{stage}'",
)
ROLLBACK_IN_PARALLEL = _condition(
    "no-rollback-in-parallel",
    "No result is `ROLLBACK` in a pipeline of execution mode `PARALLEL`.",
    "Failure conditions with rollback result type cannot be added to a PARALLEL pipeline.",
)
RETRY_WITH_CONDITIONS = _condition(
    "no-retry-with-conditions",
    "Automatic retry is not combined with conditions of `onFailure`.",
    "You cannot use automatic stage retry with onFailure conditions: '{stage}'",
)
RETRY_MODE_ALONE = _condition(
    "retry-mode-of-retry",
    "`retryConfiguration` needs the result `RETRY`.",
    "'retryConfiguration' has an effect only with result RETRY",
    severity="warning",
)
RESULT = _condition(
    "result-of-kind",
    "The result of a condition fits its kind: `FAIL` or `SKIP` before entry, `FAIL` or `ROLLBACK` on success, "
    "`ROLLBACK` on failure.",
    "A condition of {kind} can have the result {known}, not {result}",
)
FAILURE_RESULT = _condition(
    "result-of-failure",
    "The result of `onFailure` itself is `ROLLBACK` or `RETRY`.",
    "onFailure can have the result ROLLBACK or RETRY, not {result}",
)
FAIL_OF_FAILED = _condition(
    "fail-of-failed",
    "`onFailure` does not have the result `FAIL`, which has no effect.",
    "a failed stage stays failed: result FAIL has no effect here",
    severity="warning",
)
ROLLBACK_OF_SOURCES = _condition(
    "no-rollback-of-sources",
    "The source stage cannot be rolled back.",
    "a source stage cannot be rolled back: result ROLLBACK has no effect here",
    severity="warning",
)
NO_RULES = _condition(
    "condition-has-rules",
    "A condition has 1 to 5 rules.",
    "A condition of {kind} of stage '{stage}' has no rules",
)
UNKNOWN_RULE = _rule(
    "rule-type-exists",
    "A rule type is listed in the table below.",
    "RuleType (Category: 'Rule', Provider: '{provider}', Owner: 'AWS', Version: '{version}') in rule '{rule}' is not "
    "available",
)
RULE_WITH_SKIP = _rule(
    "rules-of-skip",
    "A condition with the result `SKIP` has only rules of type LambdaInvoke and VariableCheck.",
    "Rule '{rule}' of type {provider} cannot be used with result SKIP; only {known} can",
)
RULE_COMMANDS = _rule(
    "rule-commands",
    "A Commands rule has commands, each a single line; other rules have no commands.",
    "{message}",
)
RULE_PATTERN = _rule(
    "rule-pattern",
    "With the operator `MATCHES`, `Value` is a regular expression.",
    "Rule configuration for rule '{rule}' contains an invalid value for 'Value': {error}",
)
RULE_WITHOUT_REFERENCE = _rule(
    "rule-of-variable",
    "The `Variable` of a rule is a reference.",
    "{variable!r} is not a reference, so this text itself is compared",
    severity="warning",
)
RULE_ENDS_EARLY = _rule(
    "rule-timeout-and-wait",
    "A rule's `timeoutInMinutes` is not shorter than its `WaitTime`.",
    "the rule times out after {timeout} minutes, before its WaitTime of {wait} minutes ends",
    severity="warning",
)
RULE_COUNT = _rule(
    "rule-artifacts",
    "A rule has as many input artifacts as its type allows.",
    "Rule {rule} declares {count} input artifacts which {demand}",
)


def check_conditions(pipeline: Pipeline) -> Iterator[Problem]:
    """Check conditions and their results."""
    for index, stage in enumerate(pipeline.declaration.stages):
        if stage.on_failure:
            yield from _failure(stage, stage.on_failure, f"stages[{index}].onFailure", pipeline)
        for kind, conditions in conditions_of(stage):
            for number, condition in enumerate(conditions):
                path = f"stages[{index}].{kind}.conditions[{number}]"
                yield from _condition_of(kind, condition, path, stage, pipeline)
        yield from _rollbacks(index, stage, pipeline)


def _failure(
    stage: StageDeclaration, failure: FailureConditions, path: str, pipeline: Pipeline
) -> Iterator[Problem]:
    if failure.conditions and failure.result:
        yield BOTH.at(path, stage=stage.name)
    if failure.conditions and failure.retry_configuration and not failure.result:
        yield RETRY_WITH_CONDITIONS.at(path, stage=stage.name)
    elif failure.retry_configuration and failure.result != "RETRY":
        yield RETRY_MODE_ALONE.at(f"{path}.retryConfiguration")
    if failure.result == "SKIP":
        yield FAILURE_RESULT.at(f"{path}.result", result=failure.result)
    if failure.result == "FAIL":
        yield FAIL_OF_FAILED.at(f"{path}.result")


def _condition_of(
    kind: str, condition: Condition, path: str, stage: StageDeclaration, pipeline: Pipeline
) -> Iterator[Problem]:
    if not condition.rules:
        yield NO_RULES.at(path, kind=kind, stage=stage.name)
    if kind == "onFailure" and condition.result == "FAIL":
        yield FAIL_OF_FAILED.at(f"{path}.result")
    elif condition.result and condition.result not in _RESULTS[kind]:
        known = " or ".join(_RESULTS[kind])
        yield RESULT.at(f"{path}.result", kind=kind, known=known, result=condition.result)
    if condition.result != "SKIP":
        return
    allowed = [name for name, known in rule_types().items() if known.allowed_with_skip]
    for index, rule in enumerate(condition.rules or []):
        # AWS does not have custom rules, so its restriction does not apply to them.
        if rule.rule_type_id.owner != "Custom" and rule.rule_type_id.provider not in allowed:
            yield RULE_WITH_SKIP.at(
                f"{path}.rules[{index}].ruleTypeId.provider", rule=rule.name,
                provider=rule.rule_type_id.provider, known=" and ".join(allowed),
            )  # fmt: skip


def _rollbacks(index: int, stage: StageDeclaration, pipeline: Pipeline) -> Iterator[Problem]:
    paths = [
        f"stages[{index}].{kind}.conditions[{number}].result"
        for kind, conditions in conditions_of(stage)
        for number, condition in enumerate(conditions)
        if condition.result == "ROLLBACK"
    ]
    if stage.on_failure and stage.on_failure.result == "ROLLBACK":
        paths.append(f"stages[{index}].onFailure.result")
    for path in paths:
        if pipeline.declaration.execution_mode == "PARALLEL":
            yield ROLLBACK_IN_PARALLEL.at(path)
        if index == 0:
            yield ROLLBACK_OF_SOURCES.at(path)


def check_rules(pipeline: Pipeline) -> Iterator[Problem]:
    """Check the types, commands and artifacts of rules."""
    for found in pipeline.rule_places:
        if found.rule.rule_type_id.owner == "Custom":
            continue  # not an AWS rule: its provider checks it
        kind = find_rule_type(found.rule.rule_type_id)
        if kind is None:
            provider = found.rule.rule_type_id.provider
            yield UNKNOWN_RULE.at(
                f"{found.path}.ruleTypeId", provider=provider, version=found.rule.rule_type_id.version or "1",
                rule=found.rule.name, hint=pipeline.propose(provider, lambda: rule_types().keys()),
            )  # fmt: skip
        else:
            yield from _rule_of(found, kind)


def _rule_of(found: RulePlace, kind: ActionType) -> Iterator[Problem]:
    rule = found.rule
    if kind.provider == "Commands" and not rule.commands:
        message = f"Rule {rule.name} must have a non-empty commands field"
        yield RULE_COMMANDS.at(f"{found.path}.commands", message=message)
    if kind.provider != "Commands" and rule.commands:
        yield RULE_COMMANDS.at(f"{found.path}.commands", message="only Commands rules can have this field")
    for index, command in enumerate(rule.commands or []):
        if "\n" in command or "\r" in command:
            yield RULE_COMMANDS.at(f"{found.path}.commands[{index}]", message="a command is a single line")
    yield from _values_of(found)
    count, (least, most) = len(rule.input_artifacts or []), kind.input_artifacts
    path = f"{found.path}.inputArtifacts"
    if count < least:
        demand = f"is less than the minimum count ({least})"
        yield RULE_COUNT.at(path, rule=rule.name, count=count, demand=demand)
    if count > most:
        yield RULE_COUNT.at(path, rule=rule.name, count=count, demand=f"exceeds the maximum count ({most})")


def _values_of(found: RulePlace) -> Iterator[Problem]:
    """Check the values of a rule that depend on each other."""
    configuration, rule = found.rule.configuration or {}, found.rule
    variable, value = configuration.get("Variable", ""), configuration.get("Value", "")
    if rule.rule_type_id.provider == "VariableCheck":
        if variable and is_known(variable):
            yield RULE_WITHOUT_REFERENCE.at(
                f"{found.path}.configuration.Variable", variable=variable,
                hint="a variable is written #{namespace.key}",
            )  # fmt: skip
        if configuration.get("Operator") == "MATCHES" and is_known(value):
            try:
                read_pattern(value)
            except ValueError as error:
                yield RULE_PATTERN.at(f"{found.path}.configuration.Value", rule=rule.name, error=error)
    wait, timeout = configuration.get("WaitTime", ""), rule.timeout_in_minutes
    if timeout and wait.isdecimal() and int(wait) > timeout:
        yield RULE_ENDS_EARLY.at(f"{found.path}.timeoutInMinutes", timeout=timeout, wait=wait)
