"""Rules for the `configuration` of actions and rules: required keys, allowed keys and allowed values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prefect_codepipeline.model.definition.action_types import ActionType, ConfigurationKey, find_rule_type
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.definition.deployment_window import check_expression, check_zone
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.rules import Pipeline, Place, Rule, is_known, rules_of

MASK = "****"
_READERS: dict[str, Callable[[str], None]] = {"cron": check_expression, "time-zone": check_zone}
_ARN = re.compile(
    r"arn:aws[\w-]*:(?P<service>[\w-]+):(?P<region>[\w-]*):(?P<account>\d*):(?P<resource>.+)", re.S
)

_key = rules_of("Configuration of actions", "InvalidActionDeclarationException")
_rule_key = rules_of("Configuration of rules", "InvalidStageDeclarationException")

MISSING = _key(
    "configuration-complete",
    "Every key that the action type requires is set, including keys that are required because of other values.",
    "Action configuration for action '{owner}' is missing required configuration '{key}'",
)
UNKNOWN = _key(
    "configuration-known",
    "Every key belongs to the action type.",
    "Action configuration for action '{owner}' contains unknown configuration '{key}'",
)
VALUE = _key(
    "configuration-value",
    "Every value has a type and content that its key allows. Values with variables are checked when the action runs.",
    "Action configuration for action '{owner}' contains an invalid value for '{key}': {demand}",
)
ARTIFACT = _key(
    "configuration-artifact",
    "A value that names an artifact (`PrimarySource`, `TemplatePath`, …) names an input artifact of its action.",
    "Action configuration for action '{owner}' refers in '{key}' to artifact '{artifact}', which is not an input "
    "artifact of the action",
)
MASKED = _key(
    "masked-secret",
    f"`{MASK}` means the stored secret, and is allowed only in an action that is already stored.",
    'Action configuration for the new action "{owner}" contains an invalid configuration for the secret property '
    f'"{{key}}". "{MASK}" may be used in secret properties only when updating an existing action.',
)
MASKED_CHANGED = _key(
    "masked-secret-unchanged",
    f"An action with a secret of `{MASK}` has the type and the other values with which it is stored.",
    'Action configuration for the action "{owner}" contains an invalid configuration for the secret property "{key}". '
    f'"{MASK}" may be used in secret properties only when the other values of the action are unchanged.',
)
ARN_FORMAT = _key(
    "notification-arn-format",
    "`NotificationArn` of an approval is an ARN.",
    "The ARN {arn} you specified for sending notifications for the approval action {owner} contains a format error.",
)
ARN_SERVICE = _key(
    "notification-arn-service",
    "`NotificationArn` of an approval is the ARN of an SNS topic.",
    "The ARN {arn} you specified for sending notifications for the approval action {owner} is a valid ARN, but the "
    "AWS service for this ARN cannot be used to send approval requests.",
)
ARN_REGION = _key(
    "notification-arn-region",
    "`NotificationArn` of an approval is in the region of the pipeline.",
    "The ARN {arn} you specified for sending notifications for the approval action {owner} is a valid ARN, but the "
    "ARN is not in the same region as the pipeline.",
)
RULE_MISSING = _rule_key(
    "rule-configuration-complete",
    "Every key that the rule type requires is set.",
    "Rule configuration for rule '{owner}' is missing required configuration '{key}'",
)
RULE_UNKNOWN = _rule_key(
    "rule-configuration-known",
    "Every key belongs to the rule type.",
    "Rule configuration for rule '{owner}' contains unknown configuration '{key}'",
)
RULE_VALUE = _rule_key(
    "rule-configuration-value",
    "Every value has a type and content that its key allows.",
    "Rule configuration for rule '{owner}' contains an invalid value for '{key}': {demand}",
)
RULE_ARTIFACT = _rule_key(
    "rule-configuration-artifact",
    "A value that names an artifact names an input artifact of its rule.",
    "Rule configuration for rule '{owner}' refers in '{key}' to artifact '{artifact}', which is not an input artifact "
    "of the rule",
)


@dataclass(frozen=True)
class _Configured:
    """An action or a rule, with its configuration and its own messages for the same mistakes."""

    path: str
    name: str
    type: ActionType
    configuration: Mapping[str, str]
    inputs: list[str]
    missing: Rule = MISSING
    unknown: Rule = UNKNOWN
    value: Rule = VALUE
    artifact: Rule = ARTIFACT


def check_configurations(pipeline: Pipeline) -> Iterator[Problem]:
    """Check the keys and values in the configurations of actions and rules."""
    for place in pipeline.places:
        if place.type and not place.type.published:
            inputs = [artifact.name for artifact in place.action.input_artifacts]
            yield from _check(
                _Configured(place.path, place.action.name, place.type, place.action.configuration, inputs),
                pipeline,
            )
            yield from _secrets(place, place.type, pipeline)
            if place.action.is_approval:
                yield from _notification(place, pipeline)
    for found in pipeline.rule_places:
        kind = find_rule_type(found.rule.rule_type_id)
        if kind:
            inputs = [artifact.name for artifact in found.rule.input_artifacts or []]
            yield from _check(
                _Configured(
                    found.path, found.rule.name, kind, found.rule.configuration or {}, inputs,
                    RULE_MISSING, RULE_UNKNOWN, RULE_VALUE, RULE_ARTIFACT,
                ),
                pipeline,
            )  # fmt: skip


def _check(subject: _Configured, pipeline: Pipeline) -> Iterator[Problem]:
    keys, configuration = subject.type.keys, subject.configuration
    for key in (key for key in configuration if key not in keys):
        hint = pipeline.propose(key, keys.keys)
        yield subject.unknown.at(
            f"{subject.path}.configuration.{key}", owner=subject.name, key=key, hint=hint
        )
    for name, row in keys.items():
        if name in configuration:
            yield from _value(subject, row, configuration[name], pipeline)
        elif _is_required(row, subject):
            yield subject.missing.at(f"{subject.path}.configuration", owner=subject.name, key=name)


def _is_required(key: ConfigurationKey, subject: _Configured) -> bool:
    if key.required or key.required_when is None:
        return key.required
    return bool(key.required_when.holds(subject.configuration, len(subject.inputs), subject.type.defaults))


def _value(subject: _Configured, key: ConfigurationKey, value: str, pipeline: Pipeline) -> Iterator[Problem]:
    if not is_known(value):
        return
    path = f"{subject.path}.configuration.{key.key}"
    if artifact := _artifact_in(key, value):
        if artifact not in subject.inputs:
            hint = pipeline.propose(artifact, lambda: subject.inputs)
            yield subject.artifact.at(path, owner=subject.name, key=key.key, artifact=artifact, hint=hint)
    elif demand := _broken_demand(key, value):
        hint = pipeline.propose(value, lambda: key.allowed)
        yield subject.value.at(path, owner=subject.name, key=key.key, demand=demand, hint=hint)


def _artifact_in(key: ConfigurationKey, value: str) -> str:
    if key.type == "artifact":
        return value
    return value.partition("::")[0] if key.type == "artifact-file" and "::" in value else ""


def _broken_demand(key: ConfigurationKey, value: str) -> str:
    """The requirement that a value does not meet, or an empty string."""
    if key.secret:
        return ""
    quoted = value if len(value) <= 60 else f"{value[:57]}..."
    demand = _demand_of_type(key, value)
    return f"'{quoted}' is not {demand}" if demand else ""


def _demand_of_type(key: ConfigurationKey, value: str) -> str:
    if key.type == "boolean":
        # Templates often contain True instead of true, and AWS accepts both.
        return "" if value.lower() in ("true", "false") else "'true' or 'false'"
    if key.type == "enum":
        return "" if value in key.allowed else f"one of {', '.join(key.allowed)}"
    if key.type == "list":
        return _demand_of_list(key, [item.strip() for item in value.split(",")])
    if key.type in ("integer", "number"):
        return _demand_of_number(key, value)
    if key.type in _READERS:
        return _demand_of_reader(_READERS[key.type], value)
    if key.type == "json":
        return "" if _is_json(value) else "JSON"
    if key.type == "arn":
        return "" if _ARN.fullmatch(value) else "an ARN"
    if key.type == "artifact-file":
        return "of the form ArtifactName::FileName"
    if key.pattern and not re.fullmatch(key.pattern, value):
        return f"of the form {key.pattern}"
    return ""


def _demand_of_list(key: ConfigurationKey, items: list[str]) -> str:
    if key.allowed and not set(items) <= set(key.allowed):
        return f"a list of {', '.join(key.allowed)}"
    if key.maximum_items and len(items) > key.maximum_items:
        return f"a list of at most {key.maximum_items}"
    return ""


def _demand_of_number(key: ConfigurationKey, value: str) -> str:
    try:
        number = int(value) if key.type == "integer" else float(value)
    except ValueError:
        return "a whole number" if key.type == "integer" else "a number"
    if (key.minimum is not None and number < key.minimum) or (
        key.maximum is not None and number > key.maximum
    ):
        return f"between {key.minimum} and {key.maximum}"
    return ""


def _demand_of_reader(read: Callable[[str], None], value: str) -> str:
    try:
        read(value)
    except ValueError as error:
        return f"valid: {error}"
    return ""


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _secrets(place: Place, kind: ActionType, pipeline: Pipeline) -> Iterator[Problem]:
    configuration = place.action.configuration
    masked = [key.key for key in kind.configuration if key.secret and configuration.get(key.key) == MASK]
    if not masked:
        return
    stored = _stored_action(place, pipeline)
    for key in masked:
        path = f"{place.path}.configuration.{key}"
        if stored is None or key not in stored.configuration:
            yield MASKED.at(path, owner=place.action.name, key=key)
        elif not _is_unchanged(place.action, stored, kind):
            yield MASKED_CHANGED.at(path, owner=place.action.name, key=key)


def _stored_action(place: Place, pipeline: Pipeline) -> ActionDeclaration | None:
    stages = pipeline.stored.stages if pipeline.stored else []
    return next(
        (
            action
            for stage in stages
            for action in stage.actions
            if (stage.name, action.name) == (place.stage.name, place.action.name)
        ),
        None,
    )


def _is_unchanged(action: ActionDeclaration, stored: ActionDeclaration, kind: ActionType) -> bool:
    """Whether an action has the type of the stored one, and the same values except for secrets."""
    secrets = {key.key for key in kind.configuration if key.secret}
    now, before = (
        {key: value for key, value in each.configuration.items() if key not in secrets}
        for each in (action, stored)
    )
    return action.action_type_id == stored.action_type_id and now == before


def _notification(place: Place, pipeline: Pipeline) -> Iterator[Problem]:
    arn = place.action.configuration.get("NotificationArn", "")
    if not arn or not is_known(arn):
        return
    path = f"{place.path}.configuration.NotificationArn"
    found = _ARN.fullmatch(arn)
    if not found:
        yield ARN_FORMAT.at(path, arn=arn, owner=place.action.name)
    elif found["service"] != "sns":
        yield ARN_SERVICE.at(path, arn=arn, owner=place.action.name)
    elif pipeline.region and found["region"] != pipeline.region:
        yield ARN_REGION.at(path, arn=arn, owner=place.action.name)
