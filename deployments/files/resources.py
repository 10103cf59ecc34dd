"""`NAME.resources.yaml` beside `NAME.json`: the resources that an imported pipeline depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prefect_codepipeline.deployments.files.application_fields import OWN_FIELDS
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.errors import UnreadableDefinition

_SECTIONS = ("imported", "properties", "placeholders", "missing", "resources")


@dataclass(frozen=True)
class MissingValue:
    """An unknown value, and the paths that use it.

    Args:
        what: what it is, for people.
        paths: the places in the definition, or `resources.ID…`; empty if only the function of another value uses it.
        function: the function of CloudFormation that gives it, with `${NAME}` for the unknown values of its argument.
        parameter: the declaration of the template's parameter.
        made_of: the names of the unknown values from which it follows: these are asked for in its place.
    """

    what: str
    paths: tuple[str, ...]
    function: Any = None
    parameter: Mapping[str, Any] | None = None
    made_of: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """The value in the format of the resources file."""
        found: dict[str, Any] = {"what": self.what, "paths": list(self.paths)}
        if self.function is not None:
            found["function"] = self.function
        if self.parameter is not None:
            found["parameter"] = dict(self.parameter)
        if self.made_of:
            found["madeOf"] = list(self.made_of)
        return found


@dataclass(frozen=True)
class Beside:
    """The content of a resources file; everything is empty if the file does not exist.

    Args:
        properties: CloudFormation properties of the pipeline that a declaration does not have.
        missing: the unknown values by name.
        resources: the additional resources by logical id.
        placeholders: for the path of each placeholder in the definition, the text that it replaces.
        imported: the `template` of the import, the names of its `parameters`, and the `stack` that it read, with
            `region` and `profile`.
    """

    properties: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, MissingValue] = field(default_factory=dict)
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    placeholders: Mapping[str, str] = field(default_factory=dict)
    imported: Mapping[str, Any] = field(default_factory=dict)


def beside_path(definition: Path) -> Path:
    """The path of the resources file of a definition."""
    return definition.with_name(f"{definition.stem}.resources.yaml")


def read_beside(definition: Path) -> Beside:
    """Read `NAME.resources.yaml` beside a definition.

    Raises:
        UnreadableDefinition: the file is not YAML, or has other content; names file and place.
    """
    path = beside_path(definition)
    if not path.is_file():
        return Beside()
    return read_resources(read_file(path))


def read_resources(document: Document) -> Beside:
    """The content of a resources file. Raises as `read_beside`."""
    path, content = document.name, document.content
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
        if not isinstance(resource.get(OWN_FIELDS, {}), dict):
            line = document.place_of(f"resources.{logical_id}.{OWN_FIELDS}").line
            raise UnreadableDefinition(
                f"{path}, line {line}: {OWN_FIELDS} of {logical_id} must be a mapping", line=line
            )
    missing = {name: _missing(each) for name, each in sections["missing"].items()}
    placeholders = {path: str(text) for path, text in sections["placeholders"].items()}
    return Beside(sections["properties"], missing, sections["resources"], placeholders, sections["imported"])


def _missing(each: Any) -> MissingValue:
    each = each if isinstance(each, dict) else {}
    paths, parameter, function = each.get("paths"), each.get("parameter"), each.get("function")
    made_of = each.get("madeOf")
    return MissingValue(
        str(each.get("what", "")),
        tuple(map(str, paths)) if isinstance(paths, list) else (),
        function if isinstance(function, dict) and len(function) == 1 else None,
        parameter if isinstance(parameter, dict) else None,
        tuple(map(str, made_of)) if isinstance(made_of, list) else (),
    )


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
