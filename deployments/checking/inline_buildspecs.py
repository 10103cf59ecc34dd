"""Check the buildspecs that stand as text in templates, resources files, actions and blocks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect_codepipeline.deployments.checking.blocks_needed import Blocks
from prefect_codepipeline.deployments.checking.projects import project_name, project_names, projects_in_use
from prefect_codepipeline.deployments.checking.spec_files import check_buildspec
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.deployments.files.resources import read_resources
from prefect_codepipeline.documents.document import Document, Place
from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.buildspec.parts import is_text
from prefect_codepipeline.model.names import project_block_names
from prefect_codepipeline.model.problem import Problem

PROJECT = "codebuild-project"
_NAME = re.compile(r"\$\{([^{}]*)\}")
# A block of text starts at most this many lines below its key: `Fn::Sub:` and `- |` may have their own lines.
_LINES_BEFORE_TEXT = 3


def problems_of_used(wire: Mapping[str, Any], resources_file: Path, blocks: Blocks) -> list[Problem]:
    """The problems of the buildspecs with which the projects of a pipeline would run.

    Args:
        wire: the definition.
        resources_file: the path of its resources file; may not exist.
        blocks: the existing blocks: a project uses its block, if there is one.
    """
    found = list(problems_of_blocks(wire, blocks))
    if resources_file.is_file():
        beside, _ = problems_beside(wire, resources_file, names_with_block(wire, blocks))
        found += [
            replace(problem, path=f"{resources_file}:{problem.line}: {problem.path}") for problem in beside
        ]
    return found


def problems_of_blocks(wire: Mapping[str, Any], blocks: Blocks) -> Iterator[Problem]:
    """The problems of the buildspecs in the blocks of a pipeline's projects."""
    for block in dict.fromkeys(names_with_block(wire, blocks).values()):
        text = blocks[PROJECT][block].get("buildspec")
        yield from _problems_of_text(text, f"block {PROJECT}/{block}: buildspec")


def problems_beside(
    wire: Mapping[str, Any], path: Path, without: Collection[str] = ()
) -> tuple[list[Problem], Document]:
    """The problems of the buildspecs in a resources file, of the projects that a pipeline uses; with their places.

    Args:
        wire: the definition.
        path: the path of the resources file.
        without: the names of projects that are not checked.

    Raises:
        UnreadableDefinition: the file cannot be read.
    """
    document = read_file(path)
    content = read_resources(document)
    found: list[Problem] = []
    for logical_id, resource in projects_in_use(wire, content.resources).items():
        if project_name(resource) not in without:
            base = f"resources.{logical_id}.Properties"
            found += problems_of_project(resource, base, document, content.missing)
    return sorted(found, key=lambda problem: (problem.line, problem.column)), document


def problems_of_project(
    resource: Mapping[str, Any], path: str, document: Document, unknown: Collection[str]
) -> Iterator[Problem]:
    """The problems of the buildspec of a project resource, with their places.

    Args:
        resource: the resource; other types have no problems.
        path: the path of its properties in the document.
        document: the file that has the resource.
        unknown: the names of unknown values, of which the text has `${name}`.
    """
    properties = resource.get("Properties")
    source = properties.get("Source") if isinstance(properties, dict) else None
    if resource.get("Type") != "AWS::CodeBuild::Project" or not isinstance(source, dict):
        return
    where = f"{path}.Source.BuildSpec"
    text = source.get("BuildSpec")
    for problem in _problems_of_text(text, where, unknown):
        place = _place(document, where, text, Place(problem.line, problem.column))
        yield replace(problem, line=place.line, column=place.column)


def problems_of_override(configuration: Mapping[str, str], path: str) -> Iterator[Problem]:
    """The problems of the buildspec text in the configuration of an action."""
    text = configuration.get("BuildspecOverride")
    for problem in _problems_of_text(text, f"{path}.configuration.BuildspecOverride"):
        yield replace(problem, line=0, column=0)


def _problems_of_text(text: Any, where: str, unknown: Collection[str] = ()) -> Iterator[Problem]:
    """The problems of a buildspec text, at the path `where`; line and column are those in the text."""
    if not isinstance(text, str) or not is_text(text):
        return
    known = _NAME.sub(lambda match: "unknown" if match[1] in unknown else match[0], text)
    try:
        document = parse_document(known, "the buildspec")
    except UnreadableDefinition as error:
        message = f"the build fails with YAML_FILE_ERROR: {error}"
        yield Problem(
            where,
            message,
            "YAML_FILE_ERROR",
            rule="unreadable",
            line=error.line or 1,
            column=error.column or 1,
        )
        return
    for problem in check_buildspec(document)[0]:
        place = document.place_of(problem.path)
        message = f"{problem.path}: {problem.message}" if problem.path else problem.message
        yield replace(problem, path=where, message=message, line=place.line, column=place.column)


def _place(document: Document, path: str, text: Any, inner: Place) -> Place:
    """The place in the file of a place in a text; that of the key, unless the text is a block of lines."""
    key = document.place_of(path)
    first = str(text).split("\n", 1)[0]
    if document.format == "json":  # has no blocks
        return key
    for start in range(key.line + 1, key.line + 1 + _LINES_BEFORE_TEXT):
        line = document.lines[start - 1] if start <= len(document.lines) else ""
        if line.strip() == first.strip() and line.strip():
            indent = len(line) - len(line.lstrip())
            return Place(start + inner.line - 1, indent + inner.column)
    return key


def names_with_block(wire: Mapping[str, Any], blocks: Blocks) -> dict[str, str]:
    """The block of each project that a pipeline uses, for those that have one."""
    existing = blocks.get(PROJECT, {})
    found = {}
    for name in dict.fromkeys(project_names(wire)):
        block = next((each for each in project_block_names(name) if each in existing), None)
        if block:
            found[name] = block
    return found
