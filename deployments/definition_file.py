"""Read a pipeline's definition from JSON or YAML, bare or as `aws codepipeline get-pipeline` prints it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from prefect_codepipeline.errors import InvalidDefinition, UnreadableDefinition
from prefect_codepipeline.model.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import problems_of

MAX_BYTES = 10_000_000
# Keys whose values are numbers; every other scalar of a definition is a text.
_NUMBERS = {"runOrder", "version", "timeoutInMinutes"}


def read_definition(path: Path) -> PipelineDeclaration:
    """The definition in a file.

    Raises:
        UnreadableDefinition: the file is not there, too large, not JSON or YAML, or holds no pipeline; with the place.
        InvalidDefinition: it breaks the rules of single fields; every problem is listed.
    """
    name = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableDefinition(f"{name}: larger than {MAX_BYTES} bytes, which no definition is")
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableDefinition(f"{name}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableDefinition(f"{name}: not UTF-8 at byte {error.start}") from None
    return parse_definition(text, name)


def parse_definition(text: str, name: str = "the definition") -> PipelineDeclaration:
    """The definition in a text. Raises as `read_definition` does."""
    try:
        content = _parse(text, name)
    except RecursionError:
        raise UnreadableDefinition(f"{name}: nested too deeply") from None
    try:
        return PipelineDeclaration.model_validate(_pipeline_in(content, name))
    except ValidationError as error:
        raise InvalidDefinition(problems_of(error, PipelineDeclaration), name) from None


def _parse(text: str, name: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        return _parse_json(text, name)
    return _parse_yaml(text, name)


def _parse_json(text: str, name: str) -> Any:
    def without_duplicates(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            if key in found:
                raise UnreadableDefinition(f"{name}: key {key!r} stands twice in one object")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=without_duplicates)
    except json.JSONDecodeError as error:
        raise _unreadable(name, "JSON", error.lineno, error.colno, error.msg, text) from None


def _parse_yaml(text: str, name: str) -> Any:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _unreadable(name, "YAML", line, column, error.problem or "", text) from None
    except yaml.YAMLError as error:
        raise UnreadableDefinition(f"{name}: not YAML: {error}") from None
    if root is None:
        raise UnreadableDefinition(f"{name}: empty")
    return _plain(root, name, set())


def _plain(node: yaml.Node, name: str, seen: set[int], key: str = "") -> Any:
    """YAML as AWS means it: scalars stay the text that was written, but for the few numbers."""
    if id(node) in seen:
        # What an alias repeats is written once more by no definition; copies of copies fill the memory.
        raise UnreadableDefinition(
            f"{name}, line {node.start_mark.line + 1}: anchors and aliases are not used here"
        )
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, name, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, name, seen) for item in node.value]
    text = str(node.value)
    if key in _NUMBERS and text.isdecimal():
        return int(text)
    if node.tag == "tag:yaml.org,2002:null":
        return None
    return {"true": "true", "false": "false"}.get(text.lower(), text) if _is_bare(node) else text


def _is_bare(node: yaml.Node) -> bool:
    return getattr(node, "style", None) is None


def _plain_mapping(node: yaml.MappingNode, name: str, seen: set[int]) -> dict[str, Any]:
    lines: dict[str, int] = {}
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value
        if not isinstance(key, str):
            raise UnreadableDefinition(f"{name}, line {line}: a key is a text")
        if key in lines:
            raise UnreadableDefinition(
                f"{name}: key {key!r} stands in line {lines[key]} and again in line {line}"
            )
        lines[key] = line
        inside = key if not (key == "version" and "category" in lines) else ""
        found[key] = _plain(value_node, name, seen, inside)
    if "provider" in found and isinstance(found.get("version"), int):
        found["version"] = str(found["version"])  # of an action type: a text
    return found


def _pipeline_in(content: Any, name: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UnreadableDefinition(f"{name}: a pipeline is an object, this is a {type(content).__name__}")
    if "Resources" in content:
        raise UnreadableDefinition(
            f"{name}: this is a CloudFormation template; this version reads what "
            "`aws codepipeline get-pipeline --name NAME` prints"
        )
    pipeline = content.get("pipeline", content)
    if not isinstance(pipeline, dict):
        raise UnreadableDefinition(f"{name}: 'pipeline' is an object, this is a {type(pipeline).__name__}")
    return pipeline


def _unreadable(name: str, kind: str, line: int, column: int, what: str, text: str) -> UnreadableDefinition:
    lines = text.splitlines()
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    return UnreadableDefinition(
        f"{name}, line {line}, column {column}: not {kind}: {what}\n    {shown.strip()[:120]}"
    )
