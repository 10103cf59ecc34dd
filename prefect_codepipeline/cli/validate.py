"""`codepipeline validate`: what is wrong with definitions, before anything is deployed."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from prefect_codepipeline.cli.session import console, print_json
from prefect_codepipeline.errors import InvalidDefinition, UnreadableDefinition


def validate(*files: Path, json: bool = False) -> int:
    """Check pipeline definitions (JSON or YAML) without a server. Exits with 1 for errors, 2 for unreadable files.

    Parameters
    ----------
    files:
        Definitions, as `aws codepipeline get-pipeline` prints them or bare.
    json:
        Print the problems as JSON.
    """
    from prefect_codepipeline.deployments.definition_file import read_definition
    from prefect_codepipeline.deployments.runnable import check_runnable

    code = 0
    report: list[dict[str, object]] = []
    for file in files:
        try:
            problems = check_runnable(read_definition(file))
        except InvalidDefinition as error:
            problems = error.problems
        except UnreadableDefinition as error:
            report.append({"file": str(file), "unreadable": str(error)})
            code = 2
            continue
        errors = [problem for problem in problems if problem.severity == "error"]
        code = max(code, 1 if errors else 0)
        report.append({"file": str(file), "problems": problems})
    if json:
        print_json([_as_json(entry) for entry in report])
    else:
        for entry in report:
            _print(entry)
    return code


def _as_json(entry: dict[str, object]) -> dict[str, object]:
    problems = entry.get("problems")
    if not isinstance(problems, list):
        return entry
    return {"file": entry["file"], "problems": [vars(problem) for problem in problems]}


def _print(entry: dict[str, object]) -> None:
    if "unreadable" in entry:
        console.print(Text(str(entry["unreadable"]), "red"))
        return
    problems = entry["problems"]
    assert isinstance(problems, list)
    if not problems:
        console.print(Text(f"{entry['file']}: no problems", "green"))
    for problem in problems:
        style = "red" if problem.severity == "error" else "yellow"
        console.print(Text.assemble(f"{entry['file']}: ", (f"{problem.severity}: ", style), str(problem)))
