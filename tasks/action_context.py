"""The context of an action: its configuration, its input artifacts, and the directory that it may write to."""

from __future__ import annotations

import time
from pathlib import Path

from prefect.logging import get_logger
from pydantic import ValidationError

from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.declaration import ActionDeclaration
from prefect_codepipeline.model.validation import problems_of
from prefect_codepipeline.tasks.artifacts import fetch_tree
from prefect_codepipeline.tasks.execution import Execution
from prefect_codepipeline.tasks.registry import (
    ActionConfiguration,
    ActionContext,
    ActionProvider,
    InputTree,
    get_provider,
)


def make_context(
    execution: Execution, stage_name: str, action: ActionDeclaration, action_execution_id: str, scratch: Path
) -> ActionContext:
    """Fetch the input artifacts of an action and build the context for its provider.

    Args:
        execution: the execution whose artifacts and settings the action uses.
        stage_name: the stage of the action.
        action: the action, with its variables resolved.
        action_execution_id: the id of this attempt.
        scratch: an empty directory for the input artifacts and the provider's files.

    Raises:
        ActionFailed: an input artifact cannot be fetched; with code `ConfigurationError`, it was never produced.
    """
    provider = get_provider(action.action_type_id)
    return ActionContext(
        pipeline_name=execution.declaration.name,
        pipeline_execution_id=execution.id,
        stage_name=stage_name,
        action=action,
        action_execution_id=action_execution_id,
        scratch=_ensure_directory(scratch / "scratch"),
        deadline=time.monotonic() + 60 * provider.timeout_in_minutes,
        input_artifacts=_fetch_inputs(execution, provider, action, scratch),
        settings=execution.settings.for_action(stage_name, action.name),
        source_revision_override=execution.state.pinned.source_revisions.get(action.name),
        cancellation=execution.cancellation,
        logger=get_logger(__name__),
        store=execution.store,
    )


def configuration_of(provider: ActionProvider, action: ActionDeclaration) -> ActionConfiguration:
    """Validate the action's configuration for its provider. Raises `ActionFailed` with every problem."""
    try:
        return provider.configuration.model_validate(action.configuration)
    except ValidationError as error:
        problems = "; ".join(str(problem) for problem in problems_of(error))
        raise ActionFailed(
            f"configuration of action {action.name!r}: {problems}", code="ConfigurationError"
        ) from None


def _fetch_inputs(
    execution: Execution, provider: ActionProvider, action: ActionDeclaration, scratch: Path
) -> tuple[InputTree, ...]:
    return tuple(
        _fetch_input(execution, provider, artifact.name, scratch / "inputs" / artifact.name)
        for artifact in action.input_artifacts
    )


def _fetch_input(execution: Execution, provider: ActionProvider, name: str, directory: Path) -> InputTree:
    stored = execution.state.artifacts.get(name)
    if stored is None:
        raise ActionFailed(
            f"input artifact {name!r} does not exist: the action that declares it as an output did not produce it",
            code="ConfigurationError",
        )
    if stored.format == "CODEBUILD_CLONE_REF" and provider.action_type.provider != "CodeBuild":
        raise ActionFailed(
            f"input artifact {name!r} is a reference for a full clone (OutputArtifactFormat CODEBUILD_CLONE_REF), "
            "which only CodeBuild actions can use; set CODE_ZIP on the source action",
            code="ConfigurationError",
        )
    fetch_tree(execution.store, stored, _ensure_directory(directory))
    return InputTree(name, directory, stored.format, stored.revision_id)


def _ensure_directory(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
