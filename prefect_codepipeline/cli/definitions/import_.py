"""`codepipeline import`: convert pipelines of CloudFormation, the CDK and AWS to definitions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_codepipeline.cli.definitions.import_values import deployed_stack, proposed_commands, with_answers
from prefect_codepipeline.cli.output import Style, print_line
from prefect_codepipeline.cli.session import pairs
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
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
    if sys.stdin.isatty() and str(file) != "-":
        given = with_answers(documents, given, deployed)
    found = [import_document(document, given, deployed) for document in documents]
    names = [pipeline.name for imported in found for pipeline in imported.pipelines]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CodePipelineError(
            f"{file}: two pipelines are named {twice!r}; import their templates one at a time"
        )
    failed = [_write(imported, out, force, {"parameters": sorted(given), **options}) for imported in found]
    return 1 if any(failed) or not names else 0


def _write(imported: Imported, out: Path, force: bool, origin: Mapping[str, Any]) -> bool:
    """Write the pipelines of a document, and print what they are and what they lack. Returns whether AWS would reject one."""
    from prefect_codepipeline.deployments.cloudformation.writing import write_imported
    from prefect_codepipeline.deployments.files.definition import what_it_is

    name = imported.document.name
    if not imported.pipelines:
        print_line((f"{name}: this is {what_it_is(imported.document.content)}; nothing is written", "yellow"))
    failed = _print_problems(imported.problems, name, imported.document.place_of)
    for pipeline in imported.pipelines:
        _print_summary(pipeline, write_imported(pipeline, out, force, origin))
        failed |= _print_problems(_problems_of(pipeline), name, pipeline.place_of)
        _print_missing(pipeline)
    for sentence, command in proposed_commands(imported, out, origin).items():
        print_line(f"{sentence}: ", (command, "bold"))
    return failed


def _problems_of(pipeline: ImportedPipeline) -> list[Problem]:
    """What AWS would reject in the definition, except for values that are still missing."""
    from prefect_codepipeline.model.validation import validate

    # A masked secret is valid: AWS stores its value.
    return pipeline.problems(lambda declaration: validate(declaration, stored=declaration))


def _print_problems(problems: Iterable[Problem], name: str, place_of: Callable[[str], Place]) -> bool:
    failed = False
    for problem in problems:
        failed |= problem.severity == "error"
        place = place_of(problem.path)
        print_line(
            (f"{name}:{place.line}:{place.column}: ", "bold"),
            (f"{problem.severity}: ", _COLOURS[problem.severity]),
            str(problem).replace("\n", " "),
        )
    return failed


def _print_summary(pipeline: ImportedPipeline, files: list[Path]) -> None:
    stages = pipeline.wire.get("stages")
    stages = stages if isinstance(stages, list) else []
    actions = sum(len(stage.get("actions") or []) for stage in stages if isinstance(stage, dict))
    kinds = sorted(str(resource.get("Type")) for resource in pipeline.resources.values())
    written = " and ".join(str(path) for path in files)
    counted = f"{_plural(len(stages), 'stage')}, {_plural(actions, 'action')}"
    print_line((f"{pipeline.name}: {counted} -> {written}", "green"))
    if pipeline.settings and not any(path.name.endswith(".settings.yaml") for path in files):
        print_line(
            ("  the settings file is kept; its template would set: ", "dim"), json.dumps(pipeline.settings)
        )
    for kind in sorted(set(kinds)):
        count = kinds.count(kind)
        print_line(f"  with {kind}" + (f" ({count} of them)" if count > 1 else ""))


def _print_missing(pipeline: ImportedPipeline) -> None:
    from prefect_codepipeline.deployments.checking.needed import needed_values
    from prefect_codepipeline.deployments.checking.places import place_in_words

    needed = needed_values(pipeline.wire, pipeline.beside)
    if pipeline.placeholders:
        paths = ", ".join(pipeline.placeholders)
        print_line((f"  placeholders for values that are not used here: {paths}", "dim"))
    if needed:
        print_line((f"  missing values, and what needs them ({len(needed)}):", "yellow"))
    for value in needed:
        what = f"  ({value.what})" if value.what else ""
        more = f" and {len(value.paths) - 1} more" if len(value.paths) > 1 else ""
        print_line(f"    {value.name}  for {place_in_words(pipeline.wire, value.paths[0])}{more}{what}")
    listed = {value.name for value in needed}
    others = {
        name
        for name, missing in pipeline.missing.items()
        if name not in listed and any(path.startswith("resources.") for path in missing.paths)
    }
    if others:
        print_line((f"  and {len(others)} more for other resources, listed in the resources file", "dim"))


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
