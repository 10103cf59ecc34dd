"""The interface of rule providers, and the registry of all rule providers.

A provider is one file in `tasks/rules/`: a configuration class and one function with `@rule_provider`. Other
packages add theirs with the entry-point group `prefect_codepipeline.rules` and the owner `Custom`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prefect_codepipeline.actions.catalog import RULE_PLUGINS, RULES_NOT_YET
from prefect_codepipeline.actions.registry import ActionConfiguration
from prefect_codepipeline.actions.type_registry import Provider, TypeRegistry
from prefect_codepipeline.actions.work import CancellationToken, InputTree, TimedWork
from prefect_codepipeline.errors import PrefectRefused, PrefectUnavailable
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.conditions import ConditionKind, RuleOutcome
from prefect_codepipeline.model.definition.declaration import RuleDeclaration, RuleTypeId
from prefect_codepipeline.model.record.condition_facts import RuleState

_logger = logging.getLogger(__name__)


class RuleConfiguration(ActionConfiguration):
    """The `configuration` of one rule type: AWS's PascalCase keys; unknown keys are refused."""


class RuleType(NamedTuple):
    """The key of a rule provider. AWS leaves out owner and version if they are `AWS` and `1`."""

    owner: Literal["AWS", "Custom"]
    provider: str
    version: str

    def __str__(self) -> str:
        return f"Rule/{self.owner}/{self.provider}/{self.version}"

    @classmethod
    def of(cls, rule_type_id: RuleTypeId) -> RuleType:
        """The type that a rule names."""
        return cls(rule_type_id.owner or "AWS", rule_type_id.provider, rule_type_id.version or "1")


@dataclass(frozen=True)
class RuleContext(TimedWork):
    """Everything that a provider gets about its rule and execution.

    The variables in `rule` are resolved. A rule may be evaluated several times: `started_at` is the time of the first
    evaluation, `now` that of this one, and `expires_at` the time of its timeout (all UTC). `memory` is the memory of
    its last `WaitUntil`. After a crash an evaluation may be repeated, so a rule must do anything with side effects only
    once for each `rule_execution_id`. `scratch` is an empty directory that is deleted after the evaluation.
    `deadline` is in `time.monotonic()` seconds.
    """

    pipeline_name: str
    pipeline_execution_id: str
    stage_name: str
    condition: ConditionKind
    rule: RuleDeclaration
    rule_execution_id: str
    started_at: datetime
    now: datetime
    expires_at: datetime
    scratch: Path
    deadline: float
    memory: Mapping[str, str] = field(default_factory=dict)
    input_artifacts: Sequence[InputTree] = ()
    settings: ActionSettings = field(default_factory=ActionSettings)
    cancellation: CancellationToken = field(default_factory=CancellationToken)
    logger: logging.Logger | logging.LoggerAdapter[Any] = field(
        default_factory=lambda: logging.getLogger(__name__)
    )

    @property
    def what(self) -> str:
        return f"rule {self.rule.name!r}"


@dataclass(frozen=True)
class RuleResult:
    """The result of a rule: met (`Succeeded`) or not (`Failed`), and the reason in one sentence."""

    status: Literal["Succeeded", "Failed"]
    summary: str = ""
    external_execution_id: str | None = None
    external_execution_url: str | None = None


@dataclass(frozen=True)
class WaitUntil:
    """No result before `at` (timezone-aware): evaluate again then. A rule must not block for more than some seconds."""

    at: datetime
    summary: str = ""
    memory: Mapping[str, str] = field(default_factory=dict)
    external_execution_id: str | None = None
    external_execution_url: str | None = None


RuleFunction = Callable[[Any, RuleContext], RuleResult | WaitUntil]
# Its argument is the memory of the last `WaitUntil`.
AbandonFunction = Callable[[Mapping[str, str]], None]


@dataclass(frozen=True)
class RuleProvider(Provider):
    """The provider of one rule type. `commands`: the rule has the field `commands`.

    `abandon` ends the work that a waiting rule started elsewhere, when its result is no longer needed.
    """

    rule_type: RuleType
    commands: bool
    abandon: AbandonFunction | None = None


def _why_unknown(wanted: RuleType, known: str) -> str:
    if wanted.owner == "AWS" and wanted.provider in RULES_NOT_YET:
        return (
            f"rule type {wanted} is not available yet: {RULES_NOT_YET[wanted.provider]}; available: {known}"
        )
    return f"there is no rule type {wanted}; available: {known}"


_registry = TypeRegistry[RuleType, RuleProvider](
    "rule type",
    built_in="prefect_codepipeline.tasks.rules",
    plugins=RULE_PLUGINS,
    why_unknown=_why_unknown,
)


def rule_provider(
    *,
    provider: str,
    owner: Literal["AWS", "Custom"] = "AWS",
    version: str = "1",
    inputs: tuple[int, int] = (0, 0),
    commands: bool = False,
    timeout_in_minutes: int = 60,
    secrets: Sequence[str] = (),
    abandon: AbandonFunction | None = None,
) -> Callable[[RuleFunction], RuleFunction]:
    """Register the decorated function as the provider of a rule type.

    Its first parameter must be annotated with a subclass of `RuleConfiguration`. `inputs` are the smallest and the
    largest number of input artifacts. `timeout_in_minutes` applies to rules that set none. `secrets` are
    configuration keys whose values are never displayed. `abandon` is called with the last memory of a waiting rule
    when its execution is stopped or its condition is overridden; a running rule can check `context.cancellation`.

    Raises:
        ValueError: another function is registered for the rule type.
    """

    rule_type = RuleType(owner, provider, version)
    return _registry.register(
        rule_type,
        lambda configuration, function: RuleProvider(
            rule_type=rule_type,
            configuration=configuration,
            run=function,
            inputs=inputs,
            commands=commands,
            timeout_in_minutes=timeout_in_minutes,
            secrets=frozenset(secrets),
            abandon=abandon,
        ),
    )


def rule_providers() -> Mapping[RuleType, RuleProvider]:
    """The providers of all rule types that can run here, read only."""
    return _registry.all()


def get_rule_provider(rule_type: RuleType) -> RuleProvider:
    """The provider of a rule type.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is none; names the registered types.
    """
    return _registry.get(rule_type)


def no_provider(rule_type: RuleType) -> str:
    """Why a rule type cannot run here, and which types can."""
    return _registry.why_unknown(rule_type)


def can_abandon(known: RuleState) -> bool:
    """Whether a rule waits, and may have work elsewhere that its provider ends."""
    provider = rule_providers().get(RuleType.of(known.rule.rule_type_id))
    return bool(known.wait and not known.outcome and provider and provider.abandon)


def abandon_rule(known: RuleState, why: str, now: datetime) -> RuleOutcome | None:
    """End a waiting rule and the work that it started elsewhere; None if it was not evaluated yet, or has an outcome."""
    if known.asked is None or known.outcome:
        return None
    wait = known.wait
    provider = rule_providers().get(RuleType.of(known.rule.rule_type_id))
    if wait and provider and provider.abandon:
        try:
            provider.abandon(wait.memory)
        # A provider may raise anything, and the execution ends anyway.
        except Exception as error:
            if isinstance(error, PrefectUnavailable) and not isinstance(error, PrefectRefused):
                raise  # nor can the end be recorded: it will be tried again
            which = f" ({wait.external_execution_id})" if wait.external_execution_id else ""
            why = f"{why}; its work elsewhere{which} may still run: {error}"
            _logger.warning("rule %r: %s", known.rule.name, why)
    return RuleOutcome(
        rule=known.rule.name,
        rule_execution_id=known.asked.rule_execution_id,
        started_at=known.asked.at,
        ended_at=now,
        status="Abandoned",
        summary=why,
        external_execution_id=wait.external_execution_id if wait else None,
        external_execution_url=wait.external_execution_url if wait else None,
    )
