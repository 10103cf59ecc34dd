"""Read a pipeline definition from JSON or YAML, with or without the `pipeline` key of AWS's get-pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_codepipeline.documents.document import Document, Place, unreadable
from prefect_codepipeline.documents.reading import MAX_BYTES, parse_document, read_document
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import InvalidDefinition
from prefect_codepipeline.model.validation import declare_or_problems

# Keys with number values; every other scalar of a definition is a string.
_NUMBERS = {"runOrder", "timeoutInMinutes"}
# One of these keys is enough to know a pipeline: the checks name the others.
_PIPELINE_KEYS = {"pipeline", "name", "roleArn", "stages"}
PIPELINE = "AWS::CodePipeline::Pipeline"
_TEMPLATE_KEYS = {
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Transform",
}


@dataclass(frozen=True)
class WrittenPipeline:
    """A pipeline as written in a file, not checked yet. `wire` has the key names of AWS's API."""

    wire: dict[str, Any]
    document: Document
    base: str = ""  # path of the pipeline in the document

    def place_of(self, path: str) -> Place:
        """The place of a problem's path in the file, or of the nearest enclosing part."""
        return self.document.place_of(".".join(part for part in (self.base, path) if part))


def read_definition(path: Path) -> PipelineDeclaration:
    """The definition in a file.

    Raises:
        UnreadableDefinition: the file is missing, too large, not JSON or YAML, or contains no pipeline; with the place.
        InvalidDefinition: it breaks the rules of single fields; lists every problem.
    """
    return declaration_of(pipeline_in(read_file(path)))


def parse_definition(text: str, name: str = "the definition") -> PipelineDeclaration:
    """The definition in a string. Raises as `read_definition` does."""
    return declaration_of(pipeline_in(parse_document(text, name)))


def read_file(path: Path) -> Document:
    """The document in a file. Raises `UnreadableDefinition`."""
    name = str(path)
    try:
        with path.open("rb") as file:
            # One byte more than allowed, to detect a file that is too large without reading all of it.
            return read_document(file.read(MAX_BYTES + 1), name)
    except OSError as error:
        raise UnreadableDefinition(f"{name}: {error.strerror}") from None


def pipeline_in(document: Document) -> WrittenPipeline:
    """The pipeline of a document, at the top level or below the key `pipeline`. Raises `UnreadableDefinition`."""
    content, name = document.content, document.name
    if not isinstance(content, dict):
        raise UnreadableDefinition(f"{name}: a pipeline must be an object, but this is a {_kind(content)}")
    if "Resources" in content:
        raise UnreadableDefinition(
            f"{name}: this is a CloudFormation template; convert it with `codepipeline import {name}`"
        )
    for repeated in document.repeated:
        raise unreadable(name, repeated.again, str(repeated), document.text)
    if not content.keys() & _PIPELINE_KEYS:
        raise UnreadableDefinition(
            f"{name}: this is {what_it_is(content)}; a pipeline has the keys name, roleArn and stages"
        )
    base = "pipeline" if "pipeline" in content else ""
    pipeline = content[base] if base else content
    if not isinstance(pipeline, dict):
        raise UnreadableDefinition(f"{name}: 'pipeline' must be an object, but this is a {_kind(pipeline)}")
    wire = with_numbers(pipeline) if document.format == "yaml" else pipeline
    return WrittenPipeline(wire, document, base)


def what_it_is(content: Mapping[str, Any]) -> str:
    """What a document is that has no pipeline, for a message."""
    if "Resources" in content:
        resources = content["Resources"]
        kinds = [each.get("Type") for each in _values(resources) if isinstance(each, dict)]
        if PIPELINE in kinds:
            return "a CloudFormation template whose pipeline depends on a condition that is false"
        listed = _listed(sorted({str(kind) for kind in kinds if kind}))
        return f"a CloudFormation template without {PIPELINE}" + (f": it has {listed}" if listed else "")
    if content.keys() & _TEMPLATE_KEYS:
        return "a CloudFormation template without Resources"
    if "version" in content and content.keys() & {"phases", "batch"}:
        return "a buildspec (codepipeline validate --kind buildspec checks it)"
    if isinstance(content.get("pipelines"), list):
        return "a list of pipelines (aws codepipeline get-pipeline prints one)"
    keys = _listed([str(key) for key in content])
    return f"neither a pipeline nor a template: it has the keys {keys}" if keys else "an empty object"


def _values(part: Any) -> list[Any]:
    return list(part.values()) if isinstance(part, dict) else []


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def declaration_of(written: WrittenPipeline) -> PipelineDeclaration:
    """The declaration in a file. Raises `InvalidDefinition` with every problem if a field is invalid."""
    declaration, problems = declare_or_problems(written.wire)
    if declaration is None:
        errors = [problem for problem in problems if problem.severity == "error"]
        raise InvalidDefinition(errors, written.document.name)
    return declaration


def with_numbers(pipeline: dict[str, Any]) -> dict[str, Any]:
    """The pipeline with strings of digits converted to numbers, in fields that are numbers at AWS."""
    found: dict[str, Any] = _with_numbers(pipeline)
    if "version" in found:
        found["version"] = _number(found["version"])
    return found


def _with_numbers(part: Any) -> Any:
    if isinstance(part, list):
        return [_with_numbers(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _number(value)
        if key in _NUMBERS
        else value
        if key == "configuration"  # the action's own keys, all strings
        else _with_numbers(value)
        for key, value in part.items()
    }


def _number(value: Any) -> Any:
    # Few enough digits for a 64-bit number.
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 19 else value


def _kind(content: Any) -> str:
    return "text" if isinstance(content, str) else "list" if isinstance(content, list) else "single value"
