"""Read a pipeline's definition from JSON or YAML, bare or as `aws codepipeline get-pipeline` prints it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_codepipeline.documents.document import Document, Place, unreadable
from prefect_codepipeline.documents.reading import MAX_BYTES, parse_document, read_document
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import InvalidDefinition
from prefect_codepipeline.model.validation import declare_or_problems

# Keys whose values are numbers; every other scalar of a definition is a text.
_NUMBERS = {"runOrder", "timeoutInMinutes"}


@dataclass(frozen=True)
class WrittenPipeline:
    """A pipeline as a file says it, not checked yet: `wire` is spelled as AWS's API spells it."""

    wire: dict[str, Any]
    document: Document
    base: str = ""  # path of the pipeline in the document

    def place_of(self, path: str) -> Place:
        """Where a problem's path stands in the file, or the nearest part around it."""
        return self.document.place_of(".".join(part for part in (self.base, path) if part))


def read_definition(path: Path) -> PipelineDeclaration:
    """The definition in a file.

    Raises:
        UnreadableDefinition: the file is not there, too large, not JSON or YAML, or holds no pipeline; with the place.
        InvalidDefinition: it breaks the rules of single fields; every problem is listed.
    """
    return declaration_of(pipeline_in(read_file(path)))


def parse_definition(text: str, name: str = "the definition") -> PipelineDeclaration:
    """The definition in a text. Raises as `read_definition` does."""
    return declaration_of(pipeline_in(parse_document(text, name)))


def read_file(path: Path) -> Document:
    """The document in a file. Raises `UnreadableDefinition`."""
    name = str(path)
    try:
        with path.open("rb") as file:
            # One byte more than is allowed tells what is too large without reading all of it.
            return read_document(file.read(MAX_BYTES + 1), name)
    except OSError as error:
        raise UnreadableDefinition(f"{name}: {error.strerror}") from None


def pipeline_in(document: Document) -> WrittenPipeline:
    """The one pipeline of a document, bare or below the key `pipeline`. Raises `UnreadableDefinition`."""
    content, name = document.content, document.name
    if not isinstance(content, dict):
        raise UnreadableDefinition(f"{name}: a pipeline is an object, this is a {_kind(content)}")
    if "Resources" in content:
        raise UnreadableDefinition(
            f"{name}: this is a CloudFormation template; `codepipeline import {name}` makes a definition of it"
        )
    for repeated in document.repeated:
        raise unreadable(name, repeated.again, str(repeated), document.text)
    base = "pipeline" if "pipeline" in content else ""
    pipeline = content[base] if base else content
    if not isinstance(pipeline, dict):
        raise UnreadableDefinition(f"{name}: 'pipeline' is an object, this is a {_kind(pipeline)}")
    wire = with_numbers(pipeline) if document.format == "yaml" else pipeline
    return WrittenPipeline(wire, document, base)


def declaration_of(written: WrittenPipeline) -> PipelineDeclaration:
    """The declaration that a file says. Raises `InvalidDefinition` with every problem when a field is wrong."""
    declaration, problems = declare_or_problems(written.wire)
    if declaration is None:
        errors = [problem for problem in problems if problem.severity == "error"]
        raise InvalidDefinition(errors, written.document.name)
    return declaration


def with_numbers(pipeline: dict[str, Any]) -> dict[str, Any]:
    """The pipeline with numbers where AWS wants some, of texts that are numbers."""
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
        if key == "configuration"  # keys of the action's own, all texts
        else _with_numbers(value)
        for key, value in part.items()
    }


def _number(value: Any) -> Any:
    # Digits of ASCII only, and few enough for a number that anything can print.
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 19 else value


def _kind(content: Any) -> str:
    return "text" if isinstance(content, str) else "list" if isinstance(content, list) else "single value"
