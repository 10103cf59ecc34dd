"""What an action of an execution works with: its configuration, its input artifacts, and where it may write."""

from __future__ import annotations

import time
from pathlib import Path

from prefect.logging import get_logger
from pydantic import ValidationError

from prefect_codepipeline.actions.artifacts.storing import fetch_tree
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionProvider,
    get_provider,
)
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.validation import problems_of


def make_context(
    execution: Execution, stage_name: str, action: ActionDeclaration, action_execution_id: str, scratch: Path
) -> ActionContext:
    """Fetch the input artifacts of an action into a directory, and say what else its provider is given.

    Args:
        execution: its artifacts and settings are those of the action.
        stage_name: of the action.
        action: with its variables resolved.
        action_execution_id: of this attempt.
        scratch: an empty directory for all of it.

    Raises:
        ActionFailed: an input artifact cannot be had; with code `ConfigurationError`, it was never made.
    """
    provider = get_provider(action.action_type_id)
    return ActionContext(
        pipeline_name=execution.declaration.name,
        pipeline_execution_id=execution.id,
        stage_name=stage_name,
        action=action,
        action_execution_id=action_execution_id,
        scratch=_made(scratch / "scratch"),
        deadline=time.monotonic() + 60 * provider.timeout_in_minutes,
        input_artifacts=_fetch_inputs(execution, provider, action, scratch),
        settings=execution.settings.for_action(stage_name, action.name),
        source_revision_override=execution.state.pinned.source_revisions.get(action.name),
        cancellation=execution.cancellation,
        logger=get_logger(__name__),
        store=execution.store,
    )


def configuration_of(provider: ActionProvider, action: ActionDeclaration) -> ActionConfiguration:
    """The action's configuration as its provider reads it. Raises `ActionFailed`, naming every problem."""
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
            f"input artifact {name!r} does not exist: the action that makes it produced none",
            code="ConfigurationError",
        )
    if stored.format == "CODEBUILD_CLONE_REF" and provider.action_type.provider != "CodeBuild":
        raise ActionFailed(
            f"input artifact {name!r} is a reference for a full clone (OutputArtifactFormat CODEBUILD_CLONE_REF), "
            "which only CodeBuild actions can use; set CODE_ZIP on the source action",
            code="ConfigurationError",
        )
    fetch_tree(execution.store, stored, _made(directory))
    return InputTree(name, directory, stored.format, stored.revision_id)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
