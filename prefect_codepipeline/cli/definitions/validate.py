"""`codepipeline validate`: check definitions before they are deployed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_codepipeline.cli.output import Style, counted, print_json, print_line
from prefect_codepipeline.cli.session import find_own_type
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.checking.files import CheckedFile
    from prefect_codepipeline.model.validation import Problem

Format = Literal["text", "json", "sarif", "github"]
Kind = Literal["pipeline", "buildspec", "appspec"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|\'(?:[^\']|\'\')*\'?|[^\s:,{}\[\]]+')
_WIDTH = 160
_STATUS: dict[str, Style] = {"there": "green", "missing": "red", "not allowed": "red", "not known": "yellow"}


def validate(
    *files: Path,
    format: Format = "text",
    region: str | None = None,
    only_aws: Annotated[bool, Parameter(negative=())] = False,
    kind: Kind | None = None,
    online: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Check pipeline definitions, buildspecs and AppSpecs without a server.

    Only for action types of your own it asks the server, if there is one. Exits with 1 on errors, 2 if a file cannot be read.

    Parameters
    ----------
    files:
        Pipeline definitions in JSON or YAML, CloudFormation templates, buildspecs, AppSpecs, and folders of these.
    format:
        The output: text for people, JSON for programs, SARIF for code scanning, or annotations for a GitHub workflow.
    region:
        The AWS region of the pipelines, for the checks that depend on the region.
    only_aws:
        Check AWS's rules only, not whether this program can run the pipelines.
    kind:
        The kind of the files. By default, files with `buildspec` in their names are buildspecs, those named
        appspec.yml, appspec.yaml or appspec.json are AppSpecs, the others pipelines.
    online:
        Look up in AWS, read only, whether what the definitions name is there. What is missing is an error.
    """
    from prefect_codepipeline.deployments.checking.files import check_files
    from prefect_codepipeline.deployments.checking.runnable import check_rules, check_runnable

    if not files:
        raise CodePipelineError("validate takes one or more files or folders")
    look = partial(check_rules if only_aws else check_runnable, region=region)
    checked = list(check_files(files, look, region, kind, find_own_type))
    if online:
        checked = _looked_up(checked)
    _WRITERS[format](checked)
    if any(file.unreadable for file in checked):
        return 2
    return 1 if any(file.has_errors for file in checked) else 0


def _looked_up(checked: list[CheckedFile]) -> list[CheckedFile]:
    from prefect_codepipeline.cli.session import connect
    from prefect_codepipeline.deployments.checking.online import with_lookups
    from prefect_codepipeline.prefect_api.client import without_starting_a_server

    with suppress(PrefectUnavailable):  # only blocks of credentials and of projects need a server
        connect()
    with without_starting_a_server():
        return [with_lookups(file) for file in checked]


# -- for people


def _write_text(checked: Sequence[CheckedFile]) -> None:
    for file in checked:
        if file.unreadable:
            print_line((file.unreadable.replace("\n", " "), "red"))
        elif not file.problems:
            print_line((f"{file.name}: no problems{file.outcome and '; '}{file.outcome}", "green"))
        for seen in file.online:
            print_line(
                (f"{file.name}: ", "bold"), f"{seen.action}: ", (str(seen), _STATUS[seen.answer.status])
            )
        for problem in file.problems:
            _write_problem(file, problem)
        if file.problems and file.outcome:
            print_line((f"{file.name}: ", "bold"), file.outcome)
    errors, warnings = _count(checked, "error"), _count(checked, "warning")
    if errors + warnings:
        print_line(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}")
    if not checked:
        print_line("no definitions found")


def _write_problem(file: CheckedFile, problem: Problem) -> None:
    place = f"{file.name}:{problem.line}:{problem.column}: "
    # Some of AWS's messages contain line breaks.
    message = str(problem).replace("\n", " ")
    label = f" [{problem.exception}: {problem.rule}]" if problem.severity == "error" else f" [{problem.rule}]"
    severity: tuple[str, Style] = (
        f"{problem.severity}: ",
        "red" if problem.severity == "error" else "yellow",
    )
    print_line((place, "bold"), severity, message, (label, "dim"))
    line = file.lines[problem.line - 1] if 0 < problem.line <= len(file.lines) else ""
    if line.strip():
        excerpt, marks = _with_caret(line, problem)
        print_line((excerpt, "dim"))
        print_line(marks)


def _with_caret(line: str, problem: Problem) -> tuple[str, str]:
    """The line, and the marks below the token at the problem's column. A long line is cut around the column."""
    column = problem.column - 1
    cut = max(0, column - _WIDTH // 2) if len(line) > _WIDTH else 0
    token = _TOKEN.match(line, column)
    length = min(len(token[0]) if token else 1, _WIDTH // 2)
    number = f"{problem.line:>6} | "
    # Tabs stay tabs, so that the marks are aligned with the token.
    space = re.sub(r"[^\t]", " ", line[cut:column])
    return f"{number}{line[cut : cut + _WIDTH]}", f"{' ' * 6} | {space}{'^' * length}"


def _count(checked: Sequence[CheckedFile], severity: str) -> int:
    return sum(problem.severity == severity for file in checked for problem in file.problems)


# -- for programs


def _write_json(checked: Sequence[CheckedFile]) -> None:
    print_json([_entry(file) for file in checked])


def _entry(file: CheckedFile) -> dict[str, Any]:
    if file.unreadable:
        return {"file": file.name, "unreadable": file.unreadable, "line": file.line, "column": file.column}
    entry: dict[str, Any] = {"file": file.name, "problems": [vars(problem) for problem in file.problems]}
    if file.online:
        entry["online"] = [
            {"action": each.action, "what": each.what, **vars(each.answer)} for each in file.online
        ]
    return {**entry, "outcome": file.outcome} if file.outcome else entry


def _write_sarif(checked: Sequence[CheckedFile]) -> None:
    from prefect_codepipeline import __version__
    from prefect_codepipeline.model.validation import RULES

    rules = [
        {
            "id": rule.name,
            "shortDescription": {"text": rule.demands},
            "defaultConfiguration": {"level": rule.severity},
        }
        for rule in RULES.values()
    ]
    driver = {"name": "codepipeline", "version": __version__, "rules": rules}
    results = [
        _result(file.name, name, level, message, line, column)
        for file in checked
        for name, level, message, line, column in _findings(file)
    ]
    print_json(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
        }
    )


def _findings(file: CheckedFile) -> list[tuple[str, str, str, int, int]]:
    """The name, level, message, line and column of each problem."""
    if file.unreadable:
        return [("unreadable", "error", file.unreadable, file.line, file.column)]
    return [(p.rule, p.severity, str(p), p.line, p.column) for p in file.problems]


def _result(file: str, name: str, level: str, message: str, line: int, column: int) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": Path(file).as_posix()}}
    if line:
        location["region"] = {"startLine": line, "startColumn": column}
    return {
        "ruleId": name,
        "level": level,
        "message": {"text": message},
        "locations": [{"physicalLocation": location}],
    }


def _write_github(checked: Sequence[CheckedFile]) -> None:
    """https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands."""
    for file in checked:
        for name, level, message, line, column in _findings(file):
            place = f"file={_escaped(file.name, ':,')},line={max(line, 1)},col={max(column, 1)},title={name}"
            sys.stdout.write(f"::{level} {place}::{_escaped(message)}\n")


def _escaped(text: str, more: str = "") -> str:
    return "".join(
        f"%{ord(character):02X}" if character in f"%\r\n{more}" else character for character in text
    )


_WRITERS = {"text": _write_text, "json": _write_json, "sarif": _write_sarif, "github": _write_github}
