"""What the provider of an action gets, and what becomes of its result, wherever the action runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.artifacts.storing import store_tree
from prefect_codepipeline.actions.registry import ActionContext, ActionProvider, ActionResult, Earlier
from prefect_codepipeline.actions.work import CancellationToken, FetchedWhenUsed
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.engine.executions.attempt import SUMMARY_LENGTH, find_input
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.jobs.provider import provider_of
from prefect_codepipeline.errors import (
    ActionAbandoned,
    ActionFailed,
    ActionInterrupted,
    PrefectRefused,
    PrefectUnavailable,
)
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.definition.variables import MAX_OUTPUT_VARIABLES_BYTES, bytes_of
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.record.waiting_facts import ActionKept


@dataclass(frozen=True)
class ActionPlace:
    """What an action needs of its execution; `artifacts` are those that exist so far, by name."""

    pipeline_name: str
    execution_id: str
    stage_name: str
    artifacts: Mapping[str, StoredArtifact]
    store: ArtifactStore
    settings: ActionSettings
    source_revision_override: str | None = None
    cancellation: CancellationToken = field(default_factory=CancellationToken)

    @classmethod
    def of(cls, execution: Execution, stage_name: str, action_name: str) -> ActionPlace:
        """That of an action which runs in the process of its execution."""
        return cls(
            pipeline_name=execution.declaration.name,
            execution_id=execution.id,
            stage_name=stage_name,
            artifacts=execution.state.artifacts,
            store=execution.store,
            settings=execution.settings.for_action(stage_name, action_name),
            source_revision_override=execution.state.pinned.source_revisions.get(action_name),
            cancellation=execution.cancellation,
        )


def make_context(
    place: ActionPlace,
    action: ActionDeclaration,
    action_execution_id: str,
    scratch: Path,
    started_at: datetime | None = None,
    provider: ActionProvider | None = None,
) -> ActionContext:
    """Find the input artifacts of an action and build the context for its provider.

    Args:
        place: what the action uses of its execution.
        action: the action, with its variables resolved.
        action_execution_id: the id of this attempt.
        scratch: an empty directory for the input artifacts and the provider's files.
        started_at: when the attempt was started, maybe by an earlier process; the time limit counts from then.
        provider: by default that of the action's type.

    Raises:
        ActionFailed: with code `ConfigurationError`, an input artifact was never produced.
    """
    provider = provider or provider_of(action.action_type_id)
    can_clone = action.action_type_id.provider == "CodeBuild"
    inputs = [
        find_input(
            place.artifacts,
            lambda: place.store,
            artifact.name,
            scratch / "inputs" / artifact.name,
            missing="the action that declares it as an output did not produce it",
            why_no_clone=None if can_clone else "which only CodeBuild actions can use",
        )
        for artifact in action.input_artifacts
    ]
    seconds_ago = max(0.0, (utc_now() - started_at).total_seconds()) if started_at else 0.0
    (scratch / "scratch").mkdir(parents=True, exist_ok=True)
    return ActionContext(
        pipeline_name=place.pipeline_name,
        pipeline_execution_id=place.execution_id,
        stage_name=place.stage_name,
        action=action,
        action_execution_id=action_execution_id,
        scratch=scratch / "scratch",
        deadline=time.monotonic() + 60 * provider.timeout_in_minutes - seconds_ago,
        input_artifacts=FetchedWhenUsed(len(inputs), lambda: [fetch() for fetch in inputs]),
        settings=place.settings,
        source_revision_override=place.source_revision_override,
        cancellation=place.cancellation,
        store=place.store,
    )


def earlier_of(started_at: datetime, kept: ActionKept | None) -> Earlier:
    """What earlier calls for an action execution left."""
    if kept is None:
        return Earlier(started_at)
    return Earlier(started_at, kept.external_execution_id, kept.external_execution_url, kept.state)


def end_if_it_must(provider: ActionProvider, configuration: Any, context: ActionContext) -> None:
    """Raise if an action that waited must end, after its provider has ended its work."""
    try:
        context.check()
    except ActionInterrupted:
        raise
    except (ActionAbandoned, ActionFailed) as why:
        try:
            (provider.stop or provider.call)(configuration, context)
        # A provider may raise anything, and the action has to end as it must.
        except Exception as error:
            if isinstance(error, ActionInterrupted | PrefectUnavailable) and not isinstance(
                error, PrefectRefused
            ):
                raise  # the next process ends the work
            if _is_same_end(error, why):
                raise  # it also says what becomes of the work
            context.logger.warning("The work of action %r may still run: %s", context.action.name, error)
        raise


def _is_same_end(error: Exception, why: ActionAbandoned | ActionFailed) -> bool:
    return type(error) is type(why) and getattr(error, "code", None) == getattr(why, "code", None)


def store_outputs(
    place: ActionPlace, action: ActionDeclaration, result: ActionResult
) -> list[StoredArtifact]:
    """Store the trees that a provider returned. Raises `ActionFailed` if the action declares no such output."""
    declared = {artifact.name for artifact in action.output_artifacts}
    if unknown := result.output_artifacts.keys() - declared:
        raise ActionFailed(
            f"the provider returned output artifacts that action {action.name!r} does not declare: "
            f"{', '.join(map(repr, sorted(unknown)))}"
        )
    revision = (
        result.source_revision.revision_id if result.source_revision else _revision_of_inputs(place, action)
    )
    return [
        tree.model_copy(update={"revision_id": revision})
        if isinstance(tree, StoredArtifact)
        else store_tree(place.store, name, tree, revision)
        for name, tree in result.output_artifacts.items()
    ]


def _revision_of_inputs(place: ActionPlace, action: ActionDeclaration) -> str | None:
    inputs = (place.artifacts.get(artifact.name) for artifact in action.input_artifacts)
    return next((artifact.revision_id for artifact in inputs if artifact and artifact.revision_id), None)


def success(result: ActionResult, artifacts: list[StoredArtifact]) -> dict[str, Any]:
    """The fields of the end of an action that succeeded. Raises `ActionFailed` if its variables are too large."""
    variables = dict(result.output_variables)
    size = bytes_of(variables)
    if size > MAX_OUTPUT_VARIABLES_BYTES:
        raise ActionFailed(
            f"the output variables take {size} bytes; the limit is {MAX_OUTPUT_VARIABLES_BYTES}",
            code="ConfigurationError",
        )
    return {
        "status": "Succeeded",
        "summary": result.summary[:SUMMARY_LENGTH],
        "external_execution_id": result.external_execution_id,
        "external_execution_url": result.external_execution_url,
        "output_variables": variables,
        "output_artifacts": artifacts,
        "source_revision": result.source_revision,
    }
