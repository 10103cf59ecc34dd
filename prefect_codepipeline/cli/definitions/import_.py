"""`codepipeline import`: convert pipelines of CloudFormation, the CDK and AWS to definitions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_codepipeline.cli.definitions.import_values import deployed_stack, proposed_commands, with_answers
from prefect_codepipeline.cli.output import Style, counted, print_json, print_line
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import pairs
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.checking.needed import NeededValue
    from prefect_codepipeline.deployments.cloudformation.pipelines import Imported, ImportedPipeline
    from prefect_codepipeline.documents.document import Place
    from prefect_codepipeline.model.validation import Problem

_COLOURS: dict[str, Style] = {"error": "red", "warning": "yellow"}


def import_pipelines(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    *,
    parameter: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006
    stack: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    out: Path = Path(),
    force: bool = False,
    json: AsJson = False,
) -> int:
    """Convert the pipelines of a template to definitions. Exits with 1 if AWS would reject the result.

    Parameters
    ----------
    file:
        A CloudFormation template, `aws codepipeline get-pipeline` output, a cdk.out folder, or - for standard input.
    parameter:
        NAME=VALUE of a template parameter, or of a value that the import reports as missing; may be repeated.
    stack:
        The stack in AWS that the template has made: its names, parameters and exports are read, and nothing is changed.
    region:
        The region of that stack; by default that of the profile.
    profile:
        A profile in ~/.aws whose account has that stack.
    out:
        The folder in which NAME.json and NAME.resources.yaml are written.
    force:
        Replace existing files.
    """
    from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
    from prefect_codepipeline.deployments.cloudformation.sources import documents_at

    given = pairs(parameter, "--parameter")
    documents = documents_at(file)
    where = {"stack": stack, "region": region, "profile": profile}
    options = {name: value for name, value in where.items() if value}
    deployed = deployed_stack(options, documents)
    if sys.stdin.isatty() and str(file) != "-" and not json:
        given = with_answers(documents, given, deployed)
    found = [import_document(document, given, deployed) for document in documents]
    names = [pipeline.name for imported in found for pipeline in imported.pipelines]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CodePipelineError(
            f"{file}: two pipelines are named {twice!r}; import their templates one at a time"
        )
    origin = {"parameters": sorted(given), **options}
    read = []
    for imported in found:
        read.append(_Read.of(imported, out, force, origin))
        if not json:
            read[-1].print()
    if json:
        print_json([each.as_json() for each in read])
    return 1 if any(each.has_errors for each in read) or not names else 0


@dataclass(frozen=True)
class _Written:
    """A pipeline of a document, with the files that were written for it."""

    pipeline: ImportedPipeline
    files: list[Path]
    problems: list[Problem]

    @classmethod
    def of(
        cls,
        pipeline: ImportedPipeline,
        out: Path,
        force: bool,
        origin: Mapping[str, Any],
    ) -> _Written:
        from prefect_codepipeline.deployments.cloudformation.writing import write_imported
        from prefect_codepipeline.model.validation import validate

        files = write_imported(pipeline, out, force, origin)
        # What AWS would reject, except for values that are still missing. A masked secret is valid: AWS stores it.
        problems = pipeline.problems(lambda declaration: validate(declaration, stored=declaration))
        placed = [_placed(problem, pipeline.place_of(problem.path)) for problem in problems]
        return cls(pipeline, files, placed)

    @property
    def needed(self) -> list[NeededValue]:
        """The unknown values that actions need."""
        from prefect_codepipeline.deployments.checking.needed import needed_values

        return needed_values(self.pipeline.wire, self.pipeline.beside)

    @property
    def others(self) -> list[str]:
        """The names of the unknown values that only other resources have."""
        needed = {value.name for value in self.needed}
        return [
            name
            for name, missing in self.pipeline.missing.items()
            if name not in needed and any(path.startswith("resources.") for path in missing.paths)
        ]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.pipeline.name,
            "files": [str(path) for path in self.files],
            "problems": [vars(problem) for problem in self.problems],
            "placeholders": list(self.pipeline.placeholders),
            "missing": [vars(value) for value in self.needed],
            "missingForOtherResources": self.others,
        }


@dataclass(frozen=True)
class _Read:
    """A document, with its pipelines. `outcome` says what it is if it has none."""

    name: str
    outcome: str
    problems: list[Problem]
    pipelines: list[_Written]
    commands: dict[str, str]  # by what each is for

    @classmethod
    def of(cls, imported: Imported, out: Path, force: bool, origin: Mapping[str, Any]) -> _Read:
        from prefect_codepipeline.deployments.files.definition import what_it_is

        document = imported.document
        what = what_it_is(document.content)
        return cls(
            document.name,
            "" if imported.pipelines else f"this is {what}; nothing is written",
            [_placed(problem, document.place_of(problem.path)) for problem in imported.problems],
            [_Written.of(pipeline, out, force, origin) for pipeline in imported.pipelines],
            proposed_commands(imported, out, origin),
        )

    @property
    def has_errors(self) -> bool:
        lists = [self.problems, *(each.problems for each in self.pipelines)]
        return any(problem.severity == "error" for problems in lists for problem in problems)

    def as_json(self) -> dict[str, Any]:
        """The keys are those of `codepipeline validate --format json`, and the pipelines."""
        entry = {"file": self.name, "problems": [vars(problem) for problem in self.problems]}
        entry |= {"outcome": self.outcome} if self.outcome else {}
        return {**entry, "pipelines": [each.as_json() for each in self.pipelines], "commands": self.commands}

    def print(self) -> None:
        if self.outcome:
            print_line((f"{self.name}: {self.outcome}", "yellow"))
        _print_problems(self.problems, self.name)
        for each in self.pipelines:
            _print_summary(each.pipeline, each.files)
            _print_problems(each.problems, self.name)
            _print_missing(each)
        for sentence, command in self.commands.items():
            print_line(f"{sentence}: ", (command, "bold"))


def _placed(problem: Problem, place: Place) -> Problem:
    return replace(problem, line=place.line, column=place.column)


def _print_problems(problems: Iterable[Problem], name: str) -> None:
    for problem in problems:
        print_line(
            (f"{name}:{problem.line}:{problem.column}: ", "bold"),
            (f"{problem.severity}: ", _COLOURS[problem.severity]),
            str(problem).replace("\n", " "),
        )


def _print_summary(pipeline: ImportedPipeline, files: list[Path]) -> None:
    stages = pipeline.wire.get("stages")
    stages = stages if isinstance(stages, list) else []
    actions = sum(len(stage.get("actions") or []) for stage in stages if isinstance(stage, dict))
    kinds = sorted(str(resource.get("Type")) for resource in pipeline.resources.values())
    written = " and ".join(str(path) for path in files)
    size = f"{counted(len(stages), 'stage')}, {counted(actions, 'action')}"
    print_line((f"{pipeline.name}: {size} -> {written}", "green"))
    if pipeline.settings and not any(path.name.endswith(".settings.yaml") for path in files):
        print_line(("  the settings file is kept; its template would set: ", "dim"), dumps(pipeline.settings))
    for kind in sorted(set(kinds)):
        count = kinds.count(kind)
        print_line(f"  with {kind}" + (f" ({count} of them)" if count > 1 else ""))


def _print_missing(written: _Written) -> None:
    from prefect_codepipeline.deployments.checking.places import place_in_words

    needed = written.needed
    if written.pipeline.placeholders:
        paths = ", ".join(written.pipeline.placeholders)
        print_line((f"  placeholders for values that are not used here: {paths}", "dim"))
    if needed:
        print_line((f"  missing values, and what needs them ({len(needed)}):", "yellow"))
    for value in needed:
        what = f"  ({value.what})" if value.what else ""
        more = f" and {len(value.paths) - 1} more" if len(value.paths) > 1 else ""
        print_line(
            f"    {value.name}  for {place_in_words(written.pipeline.wire, value.paths[0])}{more}{what}"
        )
    if others := written.others:
        print_line((f"  and {len(others)} more for other resources, listed in the resources file", "dim"))
