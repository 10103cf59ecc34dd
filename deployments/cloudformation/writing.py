"""Write an imported pipeline: its definition, and beside it what came along."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prefect_codepipeline.deployments.cloudformation.pipelines import ImportedPipeline
from prefect_codepipeline.deployments.files.resources import Beside, as_yaml
from prefect_codepipeline.errors import CodePipelineError

_HEAD = """\
# The resources of pipeline {name}, from the template {source}.
#   properties  CloudFormation properties of the pipeline that a definition has no key for
#   missing     values that are not in the template, with the places that need them; pass them with
#               `codepipeline import --parameter NAME=VALUE`, or replace ${{NAME}} in the files
#   resources   in CloudFormation's format; `codepipeline deploy` creates blocks for the supported types
"""


def write_imported(imported: ImportedPipeline, folder: Path, replace: bool = False) -> list[Path]:
    """Write a definition, and its resources file if needed. Returns the written files.

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
    beside = Beside(imported.extras, imported.missing, imported.resources)
    beside_path = folder / f"{stem}.resources.yaml"
    if any((beside.properties, beside.missing, beside.resources)):
        files[beside_path] = _written(beside, imported)
    if existing := [path for path in (*files, beside_path) if path.exists() and not replace]:
        raise CodePipelineError(f"{existing[0]} exists already; replace it with --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
        if beside_path not in files:
            beside_path.unlink(missing_ok=True)
    except OSError as error:
        raise CodePipelineError(f"{error.filename}: {error.strerror}") from None
    return list(files)


def _written(beside: Beside, imported: ImportedPipeline) -> str:
    content = {
        "properties": dict(beside.properties),
        "missing": {
            name: {"what": each.what, "paths": list(each.paths)} for name, each in beside.missing.items()
        },
        "resources": dict(beside.resources),
    }
    head = _HEAD.format(name=imported.name, source=Path(imported.document.name).name)
    filled = {name: section for name, section in content.items() if section}
    return head + as_yaml(filled)
