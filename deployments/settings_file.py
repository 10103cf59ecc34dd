"""`NAME.settings.yaml` beside `NAME.json`: the pipeline's settings, kept with its definition."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.names import slug


def read_settings_beside(definition: Path) -> PipelineSettings | None:
    """The settings that lie beside a definition, None when there is no such file.

    Raises:
        UnreadableDefinition: the file is no YAML, or says what no setting is; names file and place.
    """
    path = definition.with_name(f"{definition.stem}.settings.yaml")
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnreadableDefinition(f"{path}: not YAML: {error}") from None
    fields = PipelineSettings.model_fields.keys() & {
        "defaults",
        "overrides",
        "artifact_store",
        "slack_channel",
        "approvals",
    }
    if not isinstance(content, dict) or content.keys() - fields:
        raise UnreadableDefinition(f"{path}: a mapping with some of {', '.join(sorted(fields))} is expected")
    try:
        return PipelineSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableDefinition(f"{path}: {where}: {first['msg']}") from None


def save_settings(pipeline_name: str, settings: PipelineSettings) -> None:
    """Keep the settings as the block that the pipeline's executions read."""
    settings.save(slug(pipeline_name), overwrite=True)
