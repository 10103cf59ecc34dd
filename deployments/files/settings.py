"""`NAME.settings.yaml` beside `NAME.json`: the settings of the pipeline, stored beside its definition."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.approvals.policy import EVERYWHERE
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.problem import nearest
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import find_block, save_block


def read_settings_beside(definition: Path, declaration: PipelineDeclaration) -> PipelineSettings | None:
    """The settings beside a definition, or None if the file does not exist.

    Raises:
        UnreadableDefinition: the file is not YAML, or contains an unknown setting; names file and place.
    """
    path = definition.with_name(f"{definition.stem}.settings.yaml")
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnreadableDefinition(f"{path}: not YAML: {error}") from None
    if isinstance(content, dict) and "allowed_pools" in content:
        raise UnreadableDefinition(
            f"{path}: allowed_pools: a file cannot set it; set it in the PipelineSettings block in Prefect's UI"
        )
    fields = PipelineSettings.model_fields.keys() & {
        "defaults",
        "overrides",
        "artifact_store",
        "slack_channel",
        "notifications",
        "approvals",
        "work_pool",
        "work_queue",
        "job_variables",
        "pull_requests_of_forks",
    }
    if not isinstance(content, dict) or content.keys() - fields:
        raise UnreadableDefinition(
            f"{path}: expected a mapping with only the keys {', '.join(sorted(fields))}"
        )
    try:
        settings = PipelineSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableDefinition(f"{path}: {where}: {first['msg']}") from None
    _check_approvals(settings, declaration, path)
    _check_overrides(settings, declaration, path)
    return settings


def _check_approvals(settings: PipelineSettings, declaration: PipelineDeclaration, path: Path) -> None:
    """Refuse a policy for an unknown place: after a typing error, everyone could approve."""
    approvals = [
        (stage.name, action.name)
        for stage in declaration.stages
        for action in stage.actions
        if action.action_type_id.category == "Approval"
    ]
    known = {EVERYWHERE, *(stage for stage, _ in approvals), *("/".join(names) for names in approvals)}
    for name in settings.approvals.keys() - known:
        raise UnreadableDefinition(
            f"{path}: approvals: {name!r} is neither a stage with an approval nor an approval 'Stage/Action'; "
            + (nearest(name, known) or f"possible: {', '.join(sorted(known))}")
        )


def _check_overrides(settings: PipelineSettings, declaration: PipelineDeclaration, path: Path) -> None:
    """Refuse an override for an unknown place: after a typing error, the action would run elsewhere than it should."""
    stages = declaration.stages
    known = {stage.name for stage in stages}
    known |= {f"{stage.name}/{action.name}" for stage in stages for action in stage.actions}
    for name in settings.overrides.keys() - known:
        raise UnreadableDefinition(
            f"{path}: overrides: {name!r} is neither a stage nor an action 'Stage/Action' of the pipeline; "
            + (nearest(name, known) or f"possible: {', '.join(sorted(known))}")
        )


def save_settings(pipeline_name: str, settings: PipelineSettings) -> None:
    """Save the settings as the block that the pipeline's executions read."""
    name = slug(pipeline_name)
    there = find_block(StoredSettings, name)
    if there and there.allowed_pools is not None:  # no file can set it, so none can lift it
        settings = settings.model_copy(update={"allowed_pools": there.allowed_pools})
    save_block(settings, name)
