"""Rules for action types, for fields that only some types have, and for the numbers of artifacts."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_codepipeline.model.definition.action_types import action_types
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.rules import Pipeline, Place, rules_of

# The maximum that a custom action type can declare; only its publisher knows its own bounds.
# https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ArtifactDetails.html
_MOST_OF_CUSTOM = 5

_type = rules_of("Action types", "InvalidActionDeclarationException")
_field = rules_of("Fields of some action types", "InvalidActionDeclarationException")
_count = rules_of("Numbers of artifacts", "InvalidActionDeclarationException")

UNKNOWN_TYPE = _type(
    "action-type-exists",
    "An action type of owner AWS is listed in the table below.",
    "ActionType (Category: '{category}', Provider: '{provider}', Owner: '{owner}', Version: '{version}') in action "
    "'{action}' is not available{where}",
)
UNKNOWN_PARTNER = _type(
    "partner-type-known",
    "An action type of owner ThirdParty is listed in the table below; partners may publish other types.",
    "ActionType (Category: '{category}', Provider: '{provider}', Owner: '{owner}', Version: '{version}') in action "
    "'{action}' is not documented by AWS",
    severity="warning",
)
NO_COMMANDS = _field(
    "commands-needed",
    "A Commands action has commands.",
    "Action {action} must have a non-empty commands field",
)
COMMAND_OF_LINES = _field(
    "commands-single-line",
    "A command is a single line.",
    "a command is a single line",
)
ONLY_COMMANDS = _field(
    "fields-of-commands",
    "`commands`, `outputVariables` and `files` of output artifacts are for Commands actions.",
    "only Commands actions can have this field",
)
ENVIRONMENT = _field(
    "fields-of-commands-and-eks",
    "`environmentVariables` are for Commands and EKS actions.",
    "only Commands and EKS actions can have this field",
)
SECRETS = _field(
    "secrets-of-commands",
    "Environment variables of type `SECRETS_MANAGER` are for Commands actions.",
    "only environment variables of Commands actions can be of type SECRETS_MANAGER",
)
TIMEOUT = _field(
    "timeout-of-approvals",
    "`timeoutInMinutes` is for manual approvals.",
    "only Manual approval actions can have this field",
)
TOO_FEW = _count(
    "enough-artifacts",
    "An action has at least as many input and output artifacts as its type needs.",
    "Action {action} declares {count} {what} artifacts which is less than the minimum count ({least})",
)
TOO_MANY = _count(
    "not-too-many-artifacts",
    "An action has at most as many input and output artifacts as its type takes.",
    "Action {action} declares {count} {what} artifacts which exceeds the maximum count ({most})",
)


def check_action_types(pipeline: Pipeline) -> Iterator[Problem]:
    """Check that AWS has the action types."""
    for place in pipeline.places:
        kind = place.action.action_type_id
        if place.type or kind.owner == "Custom":
            continue
        region = place.action.region or pipeline.region
        where = f" in region '{region.upper().replace('-', '_')}'" if region else ""
        rule = UNKNOWN_TYPE if kind.owner == "AWS" else UNKNOWN_PARTNER
        yield rule.at(
            f"{place.path}.actionTypeId", category=kind.category, provider=kind.provider, owner=kind.owner,
            version=kind.version, action=place.action.name, where=where,
            hint=pipeline.propose(str(kind), lambda: action_types().keys()),
        )  # fmt: skip


def check_fields(pipeline: Pipeline) -> Iterator[Problem]:
    """Check fields that only some action types have."""
    for place in pipeline.places:
        if place.is_of("Compute", "Commands"):
            yield from _commands(place)
        else:
            yield from _fields_of_others(place)
        if place.action.timeout_in_minutes and not place.action.is_approval:
            yield TIMEOUT.at(f"{place.path}.timeoutInMinutes")


def _commands(place: Place) -> Iterator[Problem]:
    if not place.action.commands:
        yield NO_COMMANDS.at(f"{place.path}.commands", action=place.action.name)
    for index, command in enumerate(place.action.commands or []):
        if "\n" in command or "\r" in command:
            yield COMMAND_OF_LINES.at(f"{place.path}.commands[{index}]")


def _fields_of_others(place: Place) -> Iterator[Problem]:
    action = place.action
    if action.commands:
        yield ONLY_COMMANDS.at(f"{place.path}.commands")
    if action.output_variables:
        yield ONLY_COMMANDS.at(f"{place.path}.outputVariables")
    for index, artifact in enumerate(action.output_artifacts):
        if artifact.files:
            yield ONLY_COMMANDS.at(f"{place.path}.outputArtifacts[{index}].files")
    if action.environment_variables and action.action_type_id.provider != "EKS":
        yield ENVIRONMENT.at(f"{place.path}.environmentVariables")
        return
    for index, variable in enumerate(action.environment_variables or []):
        if variable.type == "SECRETS_MANAGER":
            yield SECRETS.at(f"{place.path}.environmentVariables[{index}].type")


def check_counts(pipeline: Pipeline) -> Iterator[Problem]:
    """Check the numbers of input and output artifacts."""
    for place in pipeline.places:
        action = place.action
        if place.type:
            inputs, outputs = place.type.input_artifacts, place.type.output_artifacts
        elif action.action_type_id.owner == "Custom":
            inputs = outputs = (0, _MOST_OF_CUSTOM)
        else:
            continue
        for what, count, (least, most) in (
            ("input", len(action.input_artifacts), inputs),
            ("output", len(action.output_artifacts), outputs),
        ):
            path = f"{place.path}.{what}Artifacts"
            if count < least:
                yield TOO_FEW.at(path, action=action.name, count=count, what=what, least=least)
            if count > most:
                yield TOO_MANY.at(path, action=action.name, count=count, what=what, most=most)
