"""Write an imported pipeline: its definition, and beside it what came along."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from prefect_codepipeline.deployments.cloudformation.pipelines import ImportedPipeline
from prefect_codepipeline.deployments.files.application_fields import OWN_FIELDS
from prefect_codepipeline.deployments.files.definition import pipeline_in, read_file
from prefect_codepipeline.deployments.files.resources import Beside, as_yaml, read_beside
from prefect_codepipeline.errors import CodePipelineError, UnreadableDefinition

_HEAD = """\
# The resources of pipeline {name}, from the template {source}.
#   imported      the template, the names of the parameters that were given, and the stack that was read
#   properties    CloudFormation properties of the pipeline that a definition has no key for
#   placeholders  values that are not in the template and not used here; `codepipeline export` puts them back
#   missing       values that are not in the template, with their places; pass them with
#                 `codepipeline import --parameter NAME=VALUE`, or replace ${{NAME}} in the files
#   resources     in CloudFormation's format; `codepipeline deploy` creates blocks for the supported types.
#                 `Block` of a deployment group has the fields of its block that are not in the template
"""
_SETTINGS_HEAD = """\
# The settings of pipeline {name}, from its template; an import never replaces this file.
"""


def write_imported(
    imported: ImportedPipeline,
    folder: Path,
    replace: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a definition, and its resources and settings files if needed. Returns the written files.

    Args:
        imported: the pipeline.
        folder: is created if it does not exist.
        replace: whether existing files are replaced.
        origin: the names of the given `parameters`, and the `stack`, `region` and `profile` from which values were read.

    Raises:
        CodePipelineError: a file exists and `replace` is false, or the folder is not writable.
    """
    stem = (
        re.sub(r"[^A-Za-z0-9.@_-]+", "-", imported.name).strip("-.")[:100]
        or imported.logical_id
        or "pipeline"
    )
    files = {
        folder / f"{stem}.json": json.dumps({"pipeline": imported.wire}, indent=2, ensure_ascii=False) + "\n"
    }
    beside = imported.beside
    beside = replace_fields(beside, imported={**beside.imported, **(origin or {})})
    beside_path = folder / f"{stem}.resources.yaml"
    if replace and beside_path.is_file():
        beside = replace_fields(
            beside, resources=_with_own_fields(beside.resources, read_beside(folder / f"{stem}.json"))
        )
    if any((beside.properties, beside.missing, beside.resources)):
        files[beside_path] = _written(beside, imported)
    if existing := [path for path in (*files, beside_path) if path.exists() and not replace]:
        raise CodePipelineError(f"{existing[0]} exists already; replace it with --force")
    settings_path = folder / f"{stem}.settings.yaml"
    # The user's own settings are never replaced.
    if imported.settings and not settings_path.exists():
        files[settings_path] = _SETTINGS_HEAD.format(name=imported.name) + as_yaml(imported.settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
        if beside_path not in files:
            beside_path.unlink(missing_ok=True)
        if replace:
            _remove_unnamed(folder, stem, beside)
    except OSError as error:
        raise CodePipelineError(f"{error.filename}: {error.strerror}") from None
    return list(files)


def _with_own_fields(
    resources: Mapping[str, Mapping[str, Any]], before: Beside
) -> dict[str, Mapping[str, Any]]:
    """The resources with what the user has written about their blocks since the last import."""
    own = {
        logical_id: {OWN_FIELDS: each[OWN_FIELDS]}
        for logical_id, each in before.resources.items()
        if OWN_FIELDS in each
    }
    return {logical_id: {**each, **own.get(logical_id, {})} for logical_id, each in resources.items()}


def _remove_unnamed(folder: Path, stem: str, beside: Beside) -> None:
    """Remove the files of the same pipeline from an import that did not know its name yet."""
    for path in folder.glob("*.resources.yaml"):
        definition = path.with_name(path.name.replace(".resources.yaml", ".json"))
        if definition.stem == stem or not definition.is_file():
            continue
        try:
            imported, wire = read_beside(definition).imported, pipeline_in(read_file(definition)).wire
        except UnreadableDefinition:
            continue  # it is not of an import
        is_same = all(imported.get(key) == beside.imported.get(key) for key in ("template", "logicalId"))
        if is_same and "${" in str(wire.get("name")):
            path.unlink()
            definition.unlink()


def _written(beside: Beside, imported: ImportedPipeline) -> str:
    content = {
        "imported": {key: value for key, value in beside.imported.items() if value},
        "properties": dict(beside.properties),
        "placeholders": dict(beside.placeholders),
        "missing": {name: each.as_data() for name, each in beside.missing.items()},
        "resources": dict(beside.resources),
    }
    head = _HEAD.format(name=imported.name, source=Path(imported.document.name).name)
    filled = {name: section for name, section in content.items() if section}
    return head + as_yaml(filled)
