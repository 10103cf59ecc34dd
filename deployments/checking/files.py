"""Check definition files and folders: report every problem with its line. Needs no server and imports no Prefect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from prefect_codepipeline.deployments.checking.inline_buildspecs import (
    problems_beside,
    problems_of_project,
)
from prefect_codepipeline.deployments.checking.needed import needed_values, problems_of_needed
from prefect_codepipeline.deployments.checking.runnable import Runnable, check_runnable
from prefect_codepipeline.deployments.checking.spec_files import (
    check_appspec,
    check_buildspec,
    has_appspec_name,
    has_buildspec_name,
    is_other_than_appspec,
    is_something_else,
    looks_like_appspec,
    looks_like_buildspec,
)
from prefect_codepipeline.deployments.files.definition import (
    WrittenPipeline,
    pipeline_in,
    read_file,
    what_it_is,
)
from prefect_codepipeline.deployments.files.own_types import finder_with
from prefect_codepipeline.deployments.files.resources import beside_path, read_beside
from prefect_codepipeline.documents.document import Document, Place
from prefect_codepipeline.documents.reading import MAX_BYTES
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.definition.action_types import FindType, find_no_own
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import InvalidDefinition
from prefect_codepipeline.model.validation import Problem, declare_or_problems

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.checking.online import Seen
    from prefect_codepipeline.deployments.cloudformation.pipelines import ImportedPipeline

Look = Callable[[PipelineDeclaration], list[Problem]]
Kind = Literal["pipeline", "buildspec", "appspec"]


class Check(Protocol):
    """Returns the problems of a declaration, beyond those of single fields."""

    def __call__(self, declaration: PipelineDeclaration, /, *, find_own: FindType) -> list[Problem]: ...


_ENDINGS = {".json", ".template", ".yaml", ".yml"}
_NOT_ENTERED = {"node_modules", "__pycache__"}
# Text that a definition in a folder contains. Other files of a folder are ignored.
_PIPELINE_TEXT = re.compile(rb"\bstages\b|AWS::CodePipeline::Pipeline|\A(?:\xff\xfe|\xfe\xff)")
_BUILDSPEC_TEXT = re.compile(rb"\b(?:phases|batch)\b|\A(?:\xff\xfe|\xfe\xff)")
_APPSPEC_TEXT = re.compile(rb"\bos\b|\A(?:\xff\xfe|\xfe\xff)")


@dataclass(frozen=True)
class CheckedFile:
    """A file with its problems. `unreadable` is the reason why the file could not be checked, else empty.

    `online` are the answers of AWS, if it was asked. `outcome` describes what AWS would do with a buildspec or an AppSpec, or what a file without a pipeline is.
    """

    name: str
    problems: tuple[Problem, ...] = ()
    lines: tuple[str, ...] = ()
    unreadable: str = ""
    line: int = 0
    column: int = 0
    outcome: str = ""
    online: tuple[Seen, ...] = ()

    @property
    def has_errors(self) -> bool:
        return any(problem.severity == "error" for problem in self.problems)


def check_files(
    paths: Iterable[Path],
    check: Check = check_runnable,
    region: str | None = None,
    kind: Kind | None = None,
    find_own: FindType = find_no_own,
) -> Iterator[CheckedFile]:
    """Check each file, and each definition, buildspec and AppSpec in and below each folder, sorted by name.

    Args:
        paths: files and folders. In folders, files that are neither a pipeline nor a buildspec nor an AppSpec are ignored.
        check: returns the problems of a declaration, beyond those of single fields.
        region: the AWS region for which templates are evaluated.
        kind: the kind of the files, and of the files to search for in folders. None: buildspecs and AppSpecs are recognized by name.
        find_own: finds the action types that job workers serve, apart from those beside a definition.
    """
    for path in paths:
        for found in _files_below(path, kind) if path.is_dir() else [path]:
            yield check_file(found, check, region, kind, find_own)
            if kind in (None, "pipeline"):
                yield from _checked_beside(found)


def check_file(
    path: Path,
    check: Check = check_runnable,
    region: str | None = None,
    kind: Kind | None = None,
    find_own: FindType = find_no_own,
) -> CheckedFile:
    """Check one file: a definition, a CloudFormation template, a buildspec or an AppSpec.

    The arguments are those of `check_files`.
    """
    outcome = ""
    try:
        document = read_file(path)
        if _is_buildspec(path, document, kind):
            return _checked_spec(document, *check_buildspec(document))
        if _is_appspec(path, document, kind):
            return _checked_spec(document, *check_appspec(document))
        is_template = _is_template(document)
        own = find_own if is_template else finder_with(read_beside(path).resources, find_own)
        found = (
            _of_template(document, check, region, own)
            if is_template
            else _of_definition(document, partial(check, find_own=own))
        )
        problems = sorted(found, key=lambda problem: (problem.line, problem.column))
        if is_template and not _contains_pipeline(document):
            outcome = f"this is {what_it_is(document.content)}"
    except UnreadableDefinition as error:
        return CheckedFile(str(path), unreadable=str(error), line=error.line or 0, column=error.column or 0)
    lines = tuple(document.lines) if problems else ()
    return CheckedFile(str(path), tuple(problems), lines, outcome=outcome)


def _checked_spec(document: Document, found: Iterable[Problem], outcome: str) -> CheckedFile:
    placed = (_placed(problem, document.place_of(problem.path)) for problem in found)
    problems = sorted(placed, key=lambda problem: (problem.line, problem.column))
    return CheckedFile(
        document.name, tuple(problems), tuple(document.lines) if problems else (), outcome=outcome
    )


def _checked_beside(definition: Path) -> Iterator[CheckedFile]:
    """The resources file of a definition, if its buildspecs have problems."""
    path = beside_path(definition)
    if not path.is_file():
        return
    try:
        problems, document = problems_beside(pipeline_in(read_file(definition)).wire, path)
    except UnreadableDefinition:
        return  # reported with the definition
    if problems:
        yield CheckedFile(str(path), tuple(problems), tuple(document.lines))


def read_runnable(path: Path, find_own: FindType = find_no_own) -> Runnable:
    """The definition in a file, checked to be runnable.

    Args:
        path: of the file.
        find_own: finds the action types that job workers serve, apart from those beside the definition.

    Raises:
        UnreadableDefinition: the file cannot be read, or contains no pipeline.
        InvalidDefinition: it breaks rules or is not supported; lists every error with its line.
    """
    written = pipeline_in(read_file(path))
    check = partial(check_runnable, find_own=finder_with(read_beside(path).resources, find_own))
    declaration, problems = declare_or_problems(written.wire, check)
    if declaration is not None:
        problems = check(declaration)
    problems = _with_needed(problems, written)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or declaration is None:
        placed = [_placed(problem, written.place_of(problem.path)) for problem in errors]
        raise InvalidDefinition(sorted(placed, key=lambda problem: problem.line), str(path))
    _check_beside(written.wire, beside_path(path))
    return Runnable(declaration, tuple(problems))


def _check_beside(wire: dict[str, Any], path: Path) -> None:
    """Check the buildspecs of the pipeline's projects. Raises `InvalidDefinition`."""
    if path.is_file():
        problems, _ = problems_beside(wire, path)
        if errors := [problem for problem in problems if problem.severity == "error"]:
            raise InvalidDefinition(errors, str(path))


def check_wire(wire: Any, check: Look = check_runnable) -> list[Problem]:
    """All problems of a pipeline: of its fields, between them, and what `check` finds."""
    declaration, problems = declare_or_problems(wire, check)
    return problems if declaration is None else check(declaration)


def _of_definition(document: Document, check: Look) -> Iterator[Problem]:
    written = pipeline_in(document)
    for problem in _with_needed(check_wire(written.wire, check), written):
        yield _placed(problem, written.place_of(problem.path))


def _with_needed(problems: list[Problem], written: WrittenPipeline) -> list[Problem]:
    """The problems, with an error for each needed value of an imported definition that is unknown."""
    definition = Path(written.document.name)
    if not beside_path(definition).is_file():
        return problems
    beside = read_beside(definition)
    needed = needed_values(written.wire, beside)
    unknown = list(problems_of_needed(needed, definition, beside))
    # The message about an unknown value, or about an action that cannot run, explains the others.
    explained = {path for value in beside.missing.values() for path in value.paths}
    names = ["${" + name + "}" for name in beside.missing]
    kept = [
        problem
        for problem in problems
        if problem.path not in explained and not any(name in problem.message for name in names)
    ]
    return [*kept, *unknown]


def _of_template(
    document: Document, check: Check, region: str | None, find_own: FindType
) -> Iterator[Problem]:
    """The problems of a template's pipelines, except for missing values."""
    from prefect_codepipeline.deployments.cloudformation.pipelines import import_document

    imported = import_document(document, {"AWS::Region": region} if region else {})
    for problem in imported.problems:
        if problem.path:
            yield _placed(problem, document.place_of(problem.path))
    projects: dict[str, tuple[Mapping[str, Any], ImportedPipeline]] = {}
    for pipeline in imported.pipelines:
        own = finder_with(pipeline.resources, find_own)
        for problem in pipeline.problems(partial(check, find_own=own)):
            yield _placed(problem, pipeline.place_of(problem.path))
        projects |= {name: (each, pipeline) for name, each in pipeline.resources.items()}
    for logical_id, (resource, pipeline) in projects.items():
        base = f"Resources.{logical_id}.Properties"
        yield from problems_of_project(resource, base, document, pipeline.missing)


def _placed(problem: Problem, place: Place) -> Problem:
    # A problem of the template itself has no validation rule.
    rule = problem.rule or "template"
    return replace(problem, line=place.line, column=place.column, rule=rule)


def _files_below(folder: Path, kind: Kind | None) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _NOT_ENTERED or path.is_symlink():
            continue
        if path.is_dir():
            yield from _files_below(path, kind)
        elif path.suffix.lower() in _ENDINGS and _is_wanted(path, kind):
            yield path


def _is_wanted(path: Path, kind: Kind | None) -> bool:
    as_buildspec = kind in (None, "buildspec") and has_buildspec_name(path)
    as_appspec = kind in (None, "appspec") and has_appspec_name(path)
    expected = _TEXTS[kind or "pipeline"]
    try:
        with path.open("rb") as file:
            start = file.read(MAX_BYTES + 1)
    except OSError:
        return True  # reported as unreadable later
    if len(start) > MAX_BYTES or not (as_buildspec or as_appspec or expected.search(start)):
        return False
    try:
        document = read_file(path)
    except UnreadableDefinition:
        return kind in (None, "pipeline") or as_buildspec or as_appspec
    if (as_buildspec and not is_something_else(document)) or (
        as_appspec and not is_other_than_appspec(document)
    ):
        return True
    return _LOOKS_LIKE[kind or "pipeline"](document)


def _is_buildspec(path: Path, document: Document, kind: Kind | None) -> bool:
    if kind:
        return kind == "buildspec"
    return has_buildspec_name(path) and not is_something_else(document)


def _is_appspec(path: Path, document: Document, kind: Kind | None) -> bool:
    if kind:
        return kind == "appspec"
    return has_appspec_name(path) and not is_other_than_appspec(document)


def is_definition(path: Path) -> bool:
    """Whether a file that was checked is the definition of a pipeline."""
    document = read_file(path)
    return not _is_template(document) and _contains_pipeline(document)


def _is_template(document: Document) -> bool:
    return isinstance(document.content, dict) and "Resources" in document.content


def _contains_pipeline(document: Document) -> bool:
    content: Any = document.content
    if not isinstance(content, dict):
        return False
    if isinstance(resources := content.get("Resources"), dict):
        return any(
            isinstance(resource, dict) and resource.get("Type") == "AWS::CodePipeline::Pipeline"
            for resource in resources.values()
        )
    pipeline = content.get("pipeline", content)
    return (
        isinstance(pipeline, dict) and "stages" in pipeline and len({"roleArn", "name"} & pipeline.keys()) > 0
    )


_TEXTS = {"pipeline": _PIPELINE_TEXT, "buildspec": _BUILDSPEC_TEXT, "appspec": _APPSPEC_TEXT}
_LOOKS_LIKE: dict[str, Callable[[Document], bool]] = {
    "pipeline": _contains_pipeline,
    "buildspec": looks_like_buildspec,
    "appspec": looks_like_appspec,
}
