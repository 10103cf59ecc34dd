"""Check whether a definition can run: CodePipeline's rules, and what this version supports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from prefect_codepipeline.actions.catalog import built_in_action_types, has_plugins
from prefect_codepipeline.deployments.checking.runnable_rules import check_rule
from prefect_codepipeline.model.definition.action_types import find_action_type
from prefect_codepipeline.model.definition.conditions import ConditionKind, condition_of
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    ActionTypeId,
    PipelineDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.model.definition.variables import find_references
from prefect_codepipeline.model.problem import InvalidDefinition
from prefect_codepipeline.model.validation import Problem, nearest, problems_of, validate

if TYPE_CHECKING:
    from prefect_codepipeline.actions.registry import ActionProvider

_LATER = "is not available yet; this version cannot run it"


@dataclass(frozen=True)
class Runnable:
    """A definition that was checked and can run, so that nothing checks it again; `warnings` are about it."""

    declaration: PipelineDeclaration
    warnings: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, definition: PipelineDeclaration | Runnable) -> Runnable:
        """Check a definition, unless it was checked already.

        Raises:
            InvalidDefinition: it breaks rules or is not supported; lists every error.
        """
        if isinstance(definition, Runnable):
            return definition
        problems = check_runnable(definition)
        if errors := [problem for problem in problems if problem.severity == "error"]:
            raise InvalidDefinition(errors, f"pipeline {definition.name!r}")
        return cls(definition, tuple(problems))


def check_runnable(declaration: PipelineDeclaration, *, region: str | None = None) -> list[Problem]:
    """Every error that prevents the definition from running, and warnings about unexpected behaviour."""
    problems = check_rules(declaration, region=region)
    paths_with_errors = {problem.path for problem in problems if problem.severity == "error"}
    return [
        *problems,
        *(problem for problem in _check_supported(declaration) if problem.path not in paths_with_errors),
    ]


def check_rules(declaration: PipelineDeclaration, *, region: str | None = None) -> list[Problem]:
    """AWS's rules only. A masked secret is accepted, as if AWS had stored its value."""
    return validate(declaration, region=region, stored=declaration)


def _check_supported(declaration: PipelineDeclaration) -> Iterator[Problem]:
    """Features that AWS has but this version does not support, and the requirements of providers."""
    yield from _not_available(declaration)
    for stage_index, stage in enumerate(declaration.stages):
        for action_index, action in enumerate(stage.actions):
            yield from _check_action(action, f"stages[{stage_index}].actions[{action_index}]")
        yield from _check_conditions(stage, f"stages[{stage_index}]")


def _check_conditions(stage: StageDeclaration, path: str) -> Iterator[Problem]:
    kinds: tuple[ConditionKind, ...] = ("beforeEntry", "onSuccess", "onFailure")
    for kind in kinds:
        condition = condition_of(stage, kind)
        for index, rule in enumerate(condition.rules or () if condition else ()):
            yield from check_rule(rule, f"{path}.{kind}.conditions[0].rules[{index}]")


def _not_available(declaration: PipelineDeclaration) -> Iterator[Problem]:
    if declaration.artifact_stores and len(declaration.artifact_stores) > 1:
        yield Problem("artifactStores", f"more than one region {_LATER}", rule="not-available")


def _check_action(action: ActionDeclaration, path: str) -> Iterator[Problem]:
    kind = action.action_type_id
    if kind not in built_in_action_types():
        yield from _check_plugin(action, path)


def _check_plugin(action: ActionDeclaration, path: str) -> Iterator[Problem]:
    """Check an action type without a provider, or with a provider from another package."""
    kind = action.action_type_id
    known = _all_providers()
    if kind not in known:
        names = sorted({str(action_type) for action_type in (*built_in_action_types(), *known)})
        yield Problem(
            f"{path}.actionTypeId",
            f"action type {kind} {_LATER}; available: {', '.join(names)}",
            "InvalidActionDeclarationException",
            hint="" if find_action_type(kind) else nearest(str(kind), names),
            rule="not-available",
        )
    elif find_action_type(kind) is None:
        # Action types of AWS are checked by AWS's rules; their providers have no further requirements.
        yield from _check_counts(action, known[kind], path)
        yield from _check_configuration(action, known[kind], path)


def _all_providers() -> Mapping[ActionTypeId, ActionProvider]:
    """All providers, or none if no package adds providers: then the registry, which imports Prefect, is not imported."""
    if not has_plugins():
        return {}
    from prefect_codepipeline.actions.registry import providers

    return providers()


def _check_counts(action: ActionDeclaration, provider: ActionProvider, path: str) -> Iterator[Problem]:
    """Check the artifact counts of action types that are not AWS's, as their providers declare them."""
    for what, artifacts, (least, most) in (
        ("input", action.input_artifacts, provider.inputs),
        ("output", action.output_artifacts, provider.outputs),
    ):
        declares = f"Action {action.name} declares {len(artifacts)} {what} artifacts which"
        where = f"{path}.{what}Artifacts"
        if len(artifacts) < least:
            message = f"{declares} is less than the minimum count ({least})"
            yield Problem(where, message, "InvalidActionDeclarationException")
        if len(artifacts) > most:
            message = f"{declares} exceeds the maximum count ({most})"
            yield Problem(where, message, "InvalidActionDeclarationException")


def _check_configuration(action: ActionDeclaration, provider: ActionProvider, path: str) -> Iterator[Problem]:
    try:
        provider.configuration.model_validate(action.configuration)
    except ValidationError as error:
        for problem, details in zip(problems_of(error, provider.configuration), error.errors(), strict=False):
            key = str(details["loc"][0]) if details["loc"] else ""
            if any(find_references(action.configuration.get(key, ""))):
                continue  # can be checked only when its variables are known
            # A missing key has no place in the file.
            here = (
                f"{path}.configuration.{problem.path}"
                if key in action.configuration
                else f"{path}.configuration"
            )
            yield Problem(
                here,
                _message(action.name, key, details["type"], problem.message),
                "InvalidActionDeclarationException",
                hint=problem.hint,
            )


def _message(action_name: str, key: str, kind: str, message: str) -> str:
    if kind == "missing":
        return f"Action configuration for action '{action_name}' is missing required configuration '{key}'"
    if kind == "extra_forbidden":
        return f"Action configuration for action '{action_name}' contains unknown configuration '{key}'"
    return message
