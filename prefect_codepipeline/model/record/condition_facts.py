"""Facts of conditions: the evaluations of their rules, the answers and the results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from prefect_codepipeline.model.definition.conditions import (
    ConditionKind,
    ConditionStatus,
    RuleOutcome,
    RuleWait,
)
from prefect_codepipeline.model.definition.declaration import RuleDeclaration
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.fact import Fact


class RuleAsked(Fact):
    """A rule of a condition was evaluated for the first time in this attempt of the stage."""

    kind: Literal["rule-asked"] = "rule-asked"
    stage: str
    condition: ConditionKind
    attempt: int
    rule: str
    rule_execution_id: str

    @cached_property
    def key(self) -> str:
        return f"{_rule_key(self.condition, self.stage, self.rule, self.attempt)}-asked"


class RuleWaits(Fact):
    """The rule has no answer before `wait.at`; `number` counts these waits."""

    kind: Literal["rule-waits"] = "rule-waits"
    stage: str
    condition: ConditionKind
    attempt: int
    number: int
    wait: RuleWait

    @cached_property
    def key(self) -> str:
        key = _rule_key(self.condition, self.stage, self.wait.rule, self.attempt)
        return f"{key}-waits-{self.number}"


class RuleAnswered(Fact):
    kind: Literal["rule-answered"] = "rule-answered"
    stage: str
    condition: ConditionKind
    attempt: int
    outcome: RuleOutcome

    @cached_property
    def key(self) -> str:
        return f"{_rule_key(self.condition, self.stage, self.outcome.rule, self.attempt)}-answered"


class ConditionEnded(Fact):
    """The result of a condition in an attempt of a stage; the definition determines its consequence."""

    kind: Literal["condition-ended"] = "condition-ended"
    stage: str
    condition: ConditionKind
    attempt: int
    status: ConditionStatus
    summary: str = ""

    @cached_property
    def key(self) -> str:
        return f"condition-{self.condition.lower()}-{slug(self.stage)}-{self.attempt}"


class OverrideRequested(Fact):
    """A user requested that the stage continues, whatever the result of the condition in that attempt."""

    kind: Literal["override-requested"] = "override-requested"
    stage: str
    condition: ConditionKind
    attempt: int
    by: str

    @cached_property
    def key(self) -> str:
        return override_key(self.condition, self.stage, self.attempt)


def override_key(condition: ConditionKind, stage: str, attempt: int) -> str:
    """The key of the fact that overrides a condition in an attempt of a stage."""
    return f"override-{condition.lower()}-{slug(stage)}-{attempt}"


def _rule_key(condition: ConditionKind, stage: str, rule: str, attempt: int) -> str:
    return f"rule-{condition.lower()}-{slug(stage, rule)}-{attempt}"


@dataclass(frozen=True)
class RuleState:
    """A rule in the current attempt of its stage; `waits` counts how often it postponed its answer."""

    rule: RuleDeclaration
    asked: RuleAsked | None = None
    waits: int = 0
    wait: RuleWait | None = None
    waits_since: datetime | None = None
    outcome: RuleOutcome | None = None
