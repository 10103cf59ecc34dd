"""The interface of action providers, and the registry of all action providers.

A provider is one file in a room of `tasks/providers/`: a configuration class and one function with `@action_provider`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_pascal

from prefect_codepipeline.actions.catalog import PLUGINS, why_no_provider
from prefect_codepipeline.actions.lookups import Lookup
from prefect_codepipeline.actions.type_registry import Provider, TypeRegistry
from prefect_codepipeline.actions.work import CancellationToken, InputTree, OutputTree, TimedWork
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import (
    ActionCategory,
    ActionDeclaration,
    ActionOwner,
    ActionTypeId,
)
from prefect_codepipeline.model.definition.timeouts import timeout_in_minutes as default_timeout
from prefect_codepipeline.model.record.artifacts import SourceRevision, StoredArtifact

if TYPE_CHECKING:  # a block, and so Prefect
    from prefect_codepipeline.blocks.artifact_store import ArtifactStore

# What providers import, those of other packages too: all of it from here.
__all__ = (
    "ActionConfiguration",
    "ActionContext",
    "ActionProvider",
    "ActionResult",
    "CancellationToken",
    "Earlier",
    "InputTree",
    "Lookup",
    "OutputTree",
    "TimedWork",
    "Waiting",
    "WorkGoesOn",
    "action_provider",
    "get_provider",
    "providers",
)


class ActionConfiguration(BaseModel):
    """The `configuration` of one action type: AWS's PascalCase keys; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_pascal, validate_by_name=False, validate_by_alias=True
    )


def _no_progress(
    summary: str = "", percent: int | None = None, external_id: str | None = None, url: str | None = None
) -> None:
    """Ignore progress; the default."""


def _keep_nothing(external_id: str | None = None, url: str | None = None, **state: str) -> None:
    """Keep nothing; the default, where no execution has a record."""


@dataclass(frozen=True)
class Earlier:
    """What earlier calls for the same action execution left: when the first one began, and what they kept."""

    started_at: datetime
    external_id: str | None = None
    url: str | None = None
    state: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ActionContext(TimedWork):
    """Everything that a provider gets about its action and execution.

    The variables in `action` are resolved. `input_artifacts` are fetched when the first of them is used. `scratch` is an
    empty directory that is deleted after the action. `deadline` is in `time.monotonic()` seconds.
    `source_revision_override` is None if the user set none. `store` contains the pipeline's artifacts.

    `keep(external_id, url, name="text", ...)` returns when the values are safe: a later call for the same action
    execution, maybe in another process, finds them in `earlier`. What is left out keeps its last value. It raises
    `ActionFailed` with code `InternalError` for more than 1,000 calls or more than 16 KiB. `earlier` is None in the
    first call.
    """

    pipeline_name: str
    pipeline_execution_id: str
    stage_name: str
    action: ActionDeclaration
    action_execution_id: str
    scratch: Path
    deadline: float
    input_artifacts: Sequence[InputTree] = ()
    settings: ActionSettings = field(default_factory=ActionSettings)
    source_revision_override: str | None = None
    cancellation: CancellationToken = field(default_factory=CancellationToken)
    logger: logging.Logger | logging.LoggerAdapter[Any] = field(
        default_factory=lambda: logging.getLogger(__name__)
    )
    report_progress: Callable[..., None] = _no_progress
    keep: Callable[..., None] = _keep_nothing
    earlier: Earlier | None = None
    store: ArtifactStore | None = None

    @property
    def what(self) -> str:
        return f"action {self.action.name!r}"

    @property
    def mark(self) -> str:
        """A description of what this action execution makes elsewhere, by which it finds that again."""
        return f"Pipeline {self.pipeline_name}, action execution {self.action_execution_id}"

    @property
    def began(self) -> datetime:
        """When the first call for this action execution began."""
        return self.earlier.started_at if self.earlier else datetime.now(timezone.utc)

    def kept(self, name: str) -> str | None:
        """The value that an earlier call kept under that name."""
        return self.earlier.state.get(name) if self.earlier else None


@dataclass(frozen=True)
class ActionResult:
    """The fields of AWS's ActionExecutionOutput that a provider can fill, and the trees to store, or that are stored.

    `cleanup` is called once the end of the action is recorded. It removes what the function would need if it were called
    again, because its process died before that.
    """

    summary: str = ""
    output_artifacts: Mapping[str, OutputTree | StoredArtifact] = field(default_factory=dict)
    output_variables: Mapping[str, str] = field(default_factory=dict)
    external_execution_id: str | None = None
    external_execution_url: str | None = None
    source_revision: SourceRevision | None = None
    cleanup: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Waiting:
    """In place of a result: the action has nothing to do for now, and its function is called again later.

    That is at the time `until`, or when the fact with the key `fact` is written, or at the first of both; never more
    than once a second, and at the end of the action's time limit at the latest. Until then the execution may have no
    process, and the next call may be in another one. A call that a crash interrupted is repeated. `summary` is what
    the action waits for, for users.

    What writes the fact also resumes the execution (`prefect_api.suspension.resume`); otherwise the fact is found within
    a minute.
    """

    until: datetime | None = None
    fact: str | None = None
    summary: str = ""


class WorkGoesOn(Exception):  # noqa: N818  # no error: the action waits
    """Raised in place of returning `waiting`, by what a provider calls."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(waiting.summary)
        self.waiting = waiting


ProviderFunction = Callable[[Any, ActionContext], ActionResult | Waiting]
_Function = TypeVar("_Function", bound=ProviderFunction)
# Whether the action may run again after a crash; of what earlier processes kept, `context.earlier` tells.
Restartable = bool | Callable[[Any, ActionContext], bool]


@dataclass(frozen=True)
class ActionProvider(Provider):
    """The provider of one action type. `restartable`: whether the action may safely run again after a crash.

    `online` yields what an action names in AWS, for `codepipeline validate --online`.
    """

    action_type: ActionTypeId
    outputs: tuple[int, int]
    restartable: Restartable
    stop: Callable[[Any, ActionContext], None] | None = None
    online: Callable[[Any, ActionContext], Iterable[Lookup]] | None = None

    def call(self, configuration: Any, context: ActionContext) -> ActionResult | Waiting:
        """What the provider's function makes of its action. Raises whatever that raises."""
        try:
            result: ActionResult | Waiting = self.run(configuration, context)
        except WorkGoesOn as work:
            return work.waiting
        return result

    def may_restart(self, configuration: Any, context: ActionContext) -> bool:
        """Whether this action may run again after the process that ran it has died."""
        if callable(self.restartable):
            return self.restartable(configuration, context)
        return self.restartable


_registry = TypeRegistry[ActionTypeId, ActionProvider](
    "action type",
    built_in="prefect_codepipeline.tasks.providers",
    plugins=PLUGINS,
    why_unknown=lambda wanted, known: f"action type {wanted} {why_no_provider(wanted)}; available: {known}",
)


def action_provider(
    *,
    category: ActionCategory,
    provider: str,
    inputs: tuple[int, int],
    outputs: tuple[int, int],
    owner: ActionOwner = "AWS",
    version: str = "1",
    timeout_in_minutes: int | None = None,
    restartable: Restartable = False,
    stop: Callable[[Any, ActionContext], None] | None = None,
    online: Callable[[Any, ActionContext], Iterable[Lookup]] | None = None,
    secrets: Sequence[str] = (),
) -> Callable[[_Function], _Function]:
    """Register the decorated function as the provider of an action type.

    Its first parameter must be annotated with a subclass of `ActionConfiguration`. `inputs` and `outputs` are the
    smallest and the largest number of artifacts. `timeout_in_minutes` is by default AWS's timeout for the type.
    `restartable` may be a function of the configuration and the context. `stop` ends the work of an action that waits,
    when it is abandoned or its time is up; it must not call `context.check`. Without it the function itself is called once
    more, and `context.check` tells it.
    `online` yields what the action names in AWS; its context has no inputs and no execution.
    `secrets` are configuration keys whose values are never displayed.

    Raises:
        ValueError: another function is registered for the action type.
    """

    action_type = ActionTypeId(category=category, owner=owner, provider=provider, version=version)
    minutes = default_timeout(action_type) if timeout_in_minutes is None else timeout_in_minutes
    return _registry.register(
        action_type,
        lambda configuration, function: ActionProvider(
            action_type=action_type,
            configuration=configuration,
            run=function,
            inputs=inputs,
            outputs=outputs,
            timeout_in_minutes=minutes,
            restartable=restartable,
            stop=stop,
            online=online,
            secrets=frozenset(secrets),
        ),
    )


def providers() -> Mapping[ActionTypeId, ActionProvider]:
    """The providers of all action types that can run here, read only."""
    return _registry.all()


def get_provider(action_type: ActionTypeId) -> ActionProvider:
    """The provider of an action type.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is none; names the registered types.
    """
    return _registry.get(action_type)
