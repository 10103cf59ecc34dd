"""The type `Rule`, the list of all rules, and the view of a pipeline that the rules check."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prefect_codepipeline.model.definition.action_types import (
    ActionType,
    FindType,
    find_action_type,
    find_no_own,
)
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    PipelineDeclaration,
    RuleDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.model.definition.placeholders import name_in_placeholder
from prefect_codepipeline.model.problem import Problem, Severity, nearest

# Suggestions take time: without a limit, a definition with thousands of wrong names would take seconds.
_MOST_PROPOSALS = 20


@dataclass(frozen=True)
class Rule:
    """One rule: its requirement in plain words, and its message, which is AWS's own if AWS has one."""

    name: str
    subject: str
    demands: str
    message: str
    exception: str
    severity: Severity

    def at(self, path: str, *, hint: str = "", **values: object) -> Problem:
        """The problem of breaking this rule at `path`; `values` fill the message."""
        message = self.message.format(**values)
        return Problem(path, message, self.exception, self.severity, hint, self.name)


RULES: dict[str, Rule] = {}
# In the order of docs/validation.md.
SUBJECTS = (
    "Artifact stores and regions", "Stages and their order", "Names", "Pipeline types", "Action types",
    "Fields of some action types", "Configuration of actions", "Numbers of artifacts", "Artifacts", "Namespaces",
    "References to variables", "Triggers", "Conditions", "Rules of conditions", "Configuration of rules", "Surprises",
    "Buildspecs", "AppSpecs",
)  # fmt: skip


def rules_of(subject: str, exception: str) -> Callable[..., Rule]:
    """A function that registers rules of one subject; `exception` is their default exception.

    Raises:
        ValueError: the subject does not exist; or, from the returned function, the name of the rule exists already.
    """
    if subject not in SUBJECTS:
        raise ValueError(f"unknown subject {subject!r}")

    def register(name: str, demands: str, message: str, **other: Any) -> Rule:
        if name in RULES:
            raise ValueError(f"there are two rules named {name!r}")
        rule = Rule(name, subject, demands, message, **{"exception": exception, "severity": "error", **other})
        RULES[name] = rule
        return rule

    return register


@dataclass(frozen=True)
class Place:
    """An action and its position. A smaller `order` comes before it: an earlier stage, or a lower run order."""

    action: ActionDeclaration
    stage: StageDeclaration
    stage_index: int
    path: str
    order: tuple[int, int]
    type: ActionType | None

    @property
    def is_source(self) -> bool:
        return self.action.action_type_id.category == "Source"

    def is_of(self, category: str, provider: str) -> bool:
        kind = self.action.action_type_id
        return (kind.category, kind.owner, kind.provider) == (category, "AWS", provider)


@dataclass(frozen=True)
class RulePlace:
    """A rule of a condition and its position. The rule can use only actions whose order is smaller than `order`."""

    rule: RuleDeclaration
    stage: StageDeclaration
    kind: str
    path: str
    order: tuple[int, int]


@dataclass(frozen=True)
class Pipeline:
    """A definition, with cached lookups for the rules.

    `region` is the region of the pipeline, or None if it is not known. `stored` is the declaration that an update
    replaces, or None for a new pipeline. `find_own` finds the action types that job workers serve.
    """

    declaration: PipelineDeclaration
    region: str | None = None
    stored: PipelineDeclaration | None = None
    find_own: FindType = find_no_own
    _proposals: list[str] = field(default_factory=list)

    @cached_property
    def places(self) -> list[Place]:
        return [
            Place(
                action,
                stage,
                stage_index,
                f"stages[{stage_index}].actions[{action_index}]",
                (stage_index, action.run_order),
                self._type(action),
            )
            for stage_index, stage in enumerate(self.declaration.stages)
            for action_index, action in enumerate(stage.actions)
        ]

    def _type(self, action: ActionDeclaration) -> ActionType | None:
        kind = action.action_type_id
        own = self.find_own(kind) if kind.owner != "AWS" else None
        return own or find_action_type(kind)

    @cached_property
    def rule_places(self) -> list[RulePlace]:
        return [
            RulePlace(
                rule,
                stage,
                kind,
                f"stages[{index}].{kind}.conditions[{condition_index}].rules[{rule_index}]",
                (index, 0) if kind == "beforeEntry" else (index + 1, 0),
            )
            for index, stage in enumerate(self.declaration.stages)
            for kind, conditions in conditions_of(stage)
            for condition_index, condition in enumerate(conditions)
            for rule_index, rule in enumerate(condition.rules or [])
        ]

    @cached_property
    def producers(self) -> dict[str, Place]:
        """The first action that produces each artifact, by the name of the artifact."""
        found: dict[str, Place] = {}
        for place in self.places:
            for output in place.action.output_artifacts:
                found.setdefault(output.name, place)
        return found

    @cached_property
    def namespaces(self) -> dict[str, Place]:
        found: dict[str, Place] = {}
        for place in self.places:
            if place.action.namespace:
                found.setdefault(place.action.namespace, place)
        return found

    @cached_property
    def variables(self) -> set[str]:
        return {variable.name for variable in self.declaration.variables or []}

    def before(self, producers: dict[str, Place], order: tuple[int, int]) -> list[str]:
        """The names whose producer precedes `order`."""
        return [name for name, place in producers.items() if place.order < order]

    def propose(self, name: str, known: Callable[[], Collection[str]]) -> str:
        """The nearest of `known` as a hint; empty after 20 proposals, because each one takes time."""
        if len(self._proposals) >= _MOST_PROPOSALS:
            return ""
        self._proposals.append(name)
        return nearest(name, known())


Check = Callable[[Pipeline], Iterator[Problem]]


def conditions_of(stage: StageDeclaration) -> Iterator[tuple[str, list[Any]]]:
    """The kinds of conditions that a stage has, by their names in JSON, each with its conditions."""
    if stage.before_entry:
        yield "beforeEntry", stage.before_entry.conditions
    if stage.on_success:
        yield "onSuccess", stage.on_success.conditions
    if stage.on_failure:
        yield "onFailure", stage.on_failure.conditions or []


def repeated(names: list[str]) -> Iterator[int]:
    """The indexes of names that already occurred earlier in the list."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield index
        seen.add(name)


def is_known(value: str) -> bool:
    """False if the value contains a variable (`#{…}`), or an unknown value or a placeholder of an import."""
    return "#{" not in value and "${" not in value and not name_in_placeholder(value)
