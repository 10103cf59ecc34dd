"""Check definition files, and folders of them: every problem with its line. No server, and no Prefect, is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect_codepipeline.deployments.definition_file import WrittenPipeline, pipeline_in, read_file
from prefect_codepipeline.deployments.document import Document, Place
from prefect_codepipeline.deployments.runnable import check_runnable
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.validation import Problem, declare_or_problems

_ENDINGS = {".json", ".template", ".yaml", ".yml"}
_NOT_ENTERED = {"node_modules", "__pycache__"}
# What a file in a folder says somewhere when it is meant for us; others there are nobody's mistake.
_MEANT = re.compile(rb"\bstages\b|AWS::CodePipeline::Pipeline")


@dataclass(frozen=True)
class CheckedFile:
    """A file with everything that is wrong in it. `unreadable` says why there was nothing to check, else empty."""

    name: str
    problems: tuple[Problem, ...] = ()
    lines: tuple[str, ...] = ()
    unreadable: str = ""
    line: int = 0
    column: int = 0

    @property
    def has_errors(self) -> bool:
        return any(problem.severity == "error" for problem in self.problems)


def check_files(paths: Iterable[Path], region: str | None = None) -> Iterator[CheckedFile]:
    """Each file, and each definition in each folder and below it, in the order of names.

    Args:
        paths: files and folders. Files in folders that hold no pipeline are left out.
        region: the pipelines' own; rules that need it are left out when it is None.
    """
    for path in paths:
        if path.is_dir():
            yield from (check_file(found, region) for found in _definitions_below(path))
        else:
            yield check_file(path, region)


def check_file(path: Path, region: str | None = None) -> CheckedFile:
    """What is wrong in one file."""
    try:
        document = read_file(path)
        problems = _problems_in(document, region)
    except UnreadableDefinition as error:
        return CheckedFile(str(path), unreadable=str(error), line=error.line or 0, column=error.column or 0)
    problems.sort(key=lambda problem: (problem.line, problem.column))
    return CheckedFile(str(path), tuple(problems), tuple(document.lines) if problems else ())


def _problems_in(document: Document, region: str | None) -> list[Problem]:
    if isinstance(document.content, dict) and "Resources" in document.content:
        return _problems_in_template(document, region)
    written = pipeline_in(document)
    return [_placed(problem, written.place_of) for problem in check_written(written, region)]


def _problems_in_template(document: Document, region: str | None) -> list[Problem]:
    """What CloudFormation would refuse, and what is wrong with its pipelines but for values it does not say."""
    from prefect_codepipeline.deployments.cloudformation.pipelines import import_document

    imported = import_document(document, {"AWS::Region": region} if region else {})
    problems = [_placed(problem, document.place_of) for problem in imported.problems if problem.path]
    for pipeline in imported.pipelines:
        found = pipeline.problems(partial(check_runnable, region=region))
        problems += [_placed(problem, pipeline.place_of) for problem in found]
    return problems


def check_written(written: WrittenPipeline, region: str | None = None) -> list[Problem]:
    """Everything that is wrong with a pipeline of a file: in its fields, between them, and for running it here."""
    look = partial(check_runnable, region=region)
    declaration, problems = declare_or_problems(written.wire, look)
    return problems if declaration is None else look(declaration)


def _placed(problem: Problem, place_of: Callable[[str], Place]) -> Problem:
    line, column = place_of(problem.path)
    return replace(problem, line=line, column=column)


def _definitions_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _NOT_ENTERED or path.is_symlink():
            continue
        if path.is_dir():
            yield from _definitions_below(path)
        elif path.suffix.lower() in _ENDINGS and _is_meant(path):
            yield path


def _is_meant(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return True  # to be reported
    if not _MEANT.search(content):
        return False
    try:
        document = read_file(path)
    except UnreadableDefinition:
        return True
    return _holds_pipeline(document)


def _holds_pipeline(document: Document) -> bool:
    content: Any = document.content
    if not isinstance(content, dict):
        return False
    resources = content.get("Resources")
    if isinstance(resources, dict):
        return any(
            isinstance(resource, dict) and resource.get("Type") == "AWS::CodePipeline::Pipeline"
            for resource in resources.values()
        )
    pipeline = content.get("pipeline", content)
    return (
        isinstance(pipeline, dict) and "stages" in pipeline and len({"roleArn", "name"} & pipeline.keys()) > 0
    )
