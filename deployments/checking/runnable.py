"""Check whether a definition can run: CodePipeline's rules, and what this version supports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.actions.catalog import built_in_action_types, has_plugins, why_no_provider
from prefect_codepipeline.deployments.checking.inline_buildspecs import problems_of_override
from prefect_codepipeline.deployments.checking.requirements import Provided
from prefect_codepipeline.deployments.checking.runnable_rules import check_rule
from prefect_codepipeline.model.definition.action_types import FindType, find_action_type, find_no_own
from prefect_codepipeline.model.definition.conditions import ConditionKind, condition_of
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    ActionTypeId,
    PipelineDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.model.definition.variables import find_references
from prefect_codepipeline.model.problem import InvalidDefinition
from prefect_codepipeline.model.validation import Problem, nearest, validate

if TYPE_CHECKING:
    from prefect_codepipeline.actions.registry import ActionProvider

_EXCEPTION = "InvalidActionDeclarationException"


@dataclass(frozen=True)
class Runnable:
    """A definition that was checked and can run, so that nothing checks it again; `warnings` are about it."""

    declaration: PipelineDeclaration
    warnings: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, definition: PipelineDeclaration | Runnable, find_own: FindType = find_no_own) -> Runnable:
        """Check a definition, unless it was checked already; `find_own` finds the types that job workers serve.

        Raises:
            InvalidDefinition: it breaks rules or is not supported; lists every error.
        """
        if isinstance(definition, Runnable):
            return definition
        problems = check_runnable(definition, find_own=find_own)
        if errors := [problem for problem in problems if problem.severity == "error"]:
            raise InvalidDefinition(errors, f"pipeline {definition.name!r}")
        return cls(definition, tuple(problems))


def check_runnable(
    declaration: PipelineDeclaration, *, region: str | None = None, find_own: FindType = find_no_own
) -> list[Problem]:
    """Every error that prevents the definition from running, and warnings about unexpected behaviour.

    Args:
        declaration: the definition.
        region: the region of the pipeline, for the checks that depend on it.
        find_own: finds the action types that job workers serve.
    """
    find_own = cache(find_own)
    problems = check_rules(declaration, region=region, find_own=find_own)
    paths_with_errors = {problem.path for problem in problems if problem.severity == "error"}
    return [
        *problems,
        *(
            problem
            for problem in _check_supported(declaration, find_own)
            if problem.path not in paths_with_errors
        ),
    ]


def check_rules(
    declaration: PipelineDeclaration, *, region: str | None = None, find_own: FindType = find_no_own
) -> list[Problem]:
    """AWS's rules only. A masked secret is accepted, as if AWS had stored its value."""
    return validate(declaration, region=region, stored=declaration, find_own=find_own)


def _check_supported(declaration: PipelineDeclaration, find_own: FindType) -> Iterator[Problem]:
    """Features that AWS has but this version does not support, and the requirements of providers."""
    for stage_index, stage in enumerate(declaration.stages):
        for action_index, action in enumerate(stage.actions):
            yield from _check_action(action, f"stages[{stage_index}].actions[{action_index}]", find_own)
        yield from _check_conditions(stage, f"stages[{stage_index}]")


def _check_conditions(stage: StageDeclaration, path: str) -> Iterator[Problem]:
    kinds: tuple[ConditionKind, ...] = ("beforeEntry", "onSuccess", "onFailure")
    for kind in kinds:
        condition = condition_of(stage, kind)
        for index, rule in enumerate(condition.rules or () if condition else ()):
            yield from check_rule(rule, f"{path}.{kind}.conditions[0].rules[{index}]")


def _check_action(action: ActionDeclaration, path: str, find_own: FindType) -> Iterator[Problem]:
    kind = action.action_type_id
    is_own = kind.owner != "AWS" and find_own(kind) is not None
    if kind not in built_in_action_types() and not is_own:
        yield from _check_plugin(action, path)
    if kind.provider == "CodeBuild" and kind.owner == "AWS":
        yield from problems_of_override(action.configuration, path)


def _check_plugin(action: ActionDeclaration, path: str) -> Iterator[Problem]:
    """Check an action type without a provider, or with a provider from another package."""
    kind = action.action_type_id
    known = _all_providers()
    if kind not in known:
        names = sorted({str(action_type) for action_type in (*built_in_action_types(), *known)})
        yield Problem(
            f"{path}.actionTypeId",
            f"action type {kind} {why_no_provider(kind)}; available: {', '.join(names)}",
            _EXCEPTION,
            hint="" if find_action_type(kind) else nearest(str(kind), names),
            rule="not-available",
        )
    elif find_action_type(kind) is None:
        # Action types of AWS are checked by AWS's rules; their providers have no further requirements.
        yield from _check_requirements(action, known[kind], path)


def may_run(kind: Mapping[str, Any], own: Iterable[ActionTypeId] = ()) -> bool:
    """Whether an action type, as a definition writes it, can be one that runs here; unknown parts can be anything.

    Args:
        kind: the type.
        own: the action types beside the definition, which job workers serve.
    """
    parts = ("category", "owner", "provider", "version")
    wanted = {key: str(kind[key]) for key in parts if key in kind and "${" not in str(kind[key])}

    def is_one_of(types: Iterable[ActionTypeId]) -> bool:
        return any(all(getattr(known, key) == value for key, value in wanted.items()) for known in types)

    # The registry imports Prefect, and is not needed for most definitions.
    return is_one_of(own) or is_one_of(built_in_action_types()) or is_one_of(_all_providers())


def _all_providers() -> Mapping[ActionTypeId, ActionProvider]:
    """All providers, or none if no package adds providers: then the registry, which imports Prefect, is not imported."""
    if not has_plugins():
        return {}
    from prefect_codepipeline.actions.registry import providers

    return providers()


def _check_requirements(action: ActionDeclaration, provider: ActionProvider, path: str) -> Iterator[Problem]:
    provided = Provided("Action", action.name, path, _EXCEPTION)
    yield from provided.check_count("input", len(action.input_artifacts), provider.inputs)
    yield from provided.check_count("output", len(action.output_artifacts), provider.outputs)
    for key, problem in provided.check_configuration(provider, action.configuration):
        if any(find_references(action.configuration.get(key, ""))):
            continue  # can be checked only when its variables are known
        # A missing key has no place in the file.
        below = f".{problem.path}" if key in action.configuration else ""
        yield replace(problem, path=f"{path}.configuration{below}")
