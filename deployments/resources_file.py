"""`NAME.resources.yaml` beside `NAME.json`: the resources that an imported pipeline depends on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prefect_codepipeline.deployments.cloudformation.pipelines import ImportedPipeline, MissingValue
from prefect_codepipeline.deployments.definition_file import read_file
from prefect_codepipeline.errors import CodePipelineError, UnreadableDefinition

_SECTIONS = ("properties", "missing", "resources")
_HEAD = """\
# The resources of pipeline {name}, from the template {source}.
#   properties  CloudFormation properties of the pipeline that a definition has no key for
#   missing     values that are not in the template, with the places that need them; pass them with
#               `codepipeline import --parameter NAME=VALUE`, or replace ${{NAME}} in the files
#   resources   in CloudFormation's format; `codepipeline deploy` creates blocks for the supported types
"""


@dataclass(frozen=True)
class Beside:
    """The content of a resources file; everything is empty if the file does not exist."""

    properties: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, MissingValue] = field(default_factory=dict)
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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


def read_beside(definition: Path) -> Beside:
    """Read `NAME.resources.yaml` beside a definition.

    Raises:
        UnreadableDefinition: the file is not YAML, or has other content; names file and place.
    """
    path = definition.with_name(f"{definition.stem}.resources.yaml")
    if not path.is_file():
        return Beside()
    document = read_file(path)
    content = document.content
    if not isinstance(content, dict) or content.keys() - set(_SECTIONS):
        raise UnreadableDefinition(f"{path}: expected a mapping with only the keys {', '.join(_SECTIONS)}")
    sections = {name: content.get(name) or {} for name in _SECTIONS}
    for name, section in sections.items():
        if not isinstance(section, dict):
            line = document.place_of(name).line
            raise UnreadableDefinition(f"{path}, line {line}: {name} must be a mapping", line=line)
    for logical_id, resource in sections["resources"].items():
        if not isinstance(resource, dict) or not isinstance(resource.get("Properties"), dict):
            line = document.place_of(f"resources.{logical_id}").line
            raise UnreadableDefinition(
                f"{path}, line {line}: {logical_id} must have Type and Properties as in CloudFormation",
                line=line,
            )
    missing = {name: _missing(each) for name, each in sections["missing"].items()}
    return Beside(sections["properties"], missing, sections["resources"])


def _missing(each: Any) -> MissingValue:
    each = each if isinstance(each, dict) else {}
    paths = each.get("paths")
    return MissingValue(str(each.get("what", "")), tuple(paths) if isinstance(paths, list) else ())


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


def as_yaml(content: Any) -> str:
    """YAML for people: keys in their order, multi-line strings as blocks, no aliases."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
