"""The time to check real templates, compared with `cfn-lint` on the same files, and which of the two refuses which file.

    python benchmarks/importing.py [FOLDER] [--cfn-lint COMMAND]

FOLDER has templates in `cfn` and definitions in `json`. It defaults to the environment variable CODEPIPELINE_CORPUS, or else to
the selection in tests/data. `checked` is the time to read, import and validate all files in this process, after its start;
`codepipeline validate` is the time of the whole command. If cfn-lint refuses a pipeline of a file, this project must refuse the
file too; otherwise the exit code is 1. cfn-lint is not a dependency of the project: install it in a separate environment, with
`uv tool install cfn-lint` or pip, and name it with --cfn-lint if it is not on the PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prefect_codepipeline.deployments.checking.files import CheckedFile, check_file

DATA = Path(__file__).parent.parent / "tests" / "data"
GOAL = 5.0  # seconds for about 70 files


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=os.environ.get("CODEPIPELINE_CORPUS"))
    parser.add_argument("--cfn-lint", default=shutil.which("cfn-lint"))
    arguments = parser.parse_args()
    templates, others = files(Path(arguments.folder) if arguments.folder else None)
    print(f"{len(templates)} templates, {len(others)} definitions")
    start = time.perf_counter()
    checked = {path: check_file(path) for path in (*templates, *others)}
    took = time.perf_counter() - start
    print(f"{'checked':28}{took:7.2f} s   (goal: below {GOAL:.0f} s)")
    print(f"{'codepipeline validate':28}{seconds(*command(templates + others)):7.2f} s")
    if not arguments.cfn_lint:
        print("cfn-lint is not on the PATH: not compared")
        sys.exit(took > GOAL)
    found = lint(arguments.cfn_lint, templates)
    sys.exit(compare(checked, found) or took > GOAL)


def files(folder: Path | None) -> tuple[list[Path], list[Path]]:
    places = (folder / "cfn", folder / "json") if folder else (DATA / "templates", DATA / "pipelines")
    templates, others = (
        [path for path in sorted(place.iterdir()) if path.suffix != ".md"] for place in places
    )
    return templates, others


def command(paths: list[Path]) -> list[str]:
    run = "from prefect_codepipeline.cli import main; main()"
    return [sys.executable, "-c", run, "validate", *map(str, paths)]


def seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run(arguments, stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def lint(cfn_lint: str, templates: list[Path]) -> list[dict[str, Any]]:
    """The findings of cfn-lint in all templates, from one process for all, like `codepipeline validate`."""
    start = time.perf_counter()
    done = subprocess.run(
        [cfn_lint, "--regions", "us-east-1", "--format", "json", *map(str, templates)],
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{'cfn-lint':28}{time.perf_counter() - start:7.2f} s")
    return list(json.loads(done.stdout))


def compare(checked: dict[Path, CheckedFile], found: list[dict[str, Any]]) -> bool:
    """Print the files whose pipelines cfn-lint refuses, with its rules; return whether one of them is not refused here."""
    refused: dict[Path, set[str]] = {}
    for each in found:
        if each["Level"] == "Error" and is_of_pipeline(each, checked):
            refused.setdefault(Path(each["Filename"]), set()).add(each["Rule"]["Id"])
    missed = [path for path in refused if not checked[path].has_errors]
    for path, rules in refused.items():
        print(
            f"  {'NOT REFUSED HERE' if path in missed else 'refused by both'}: {path.name} ({', '.join(sorted(rules))})"
        )
    return bool(missed)


def is_of_pipeline(each: dict[str, Any], checked: dict[Path, CheckedFile]) -> bool:
    """Whether a finding is about a property of a pipeline. CloudFormation accepts a resource's `Description`, cfn-lint does not."""
    path = each["Location"].get("Path") or []
    if len(path) < 3 or path[0] != "Resources" or path[2] != "Properties":
        return False
    return resource_type(Path(each["Filename"]), str(path[1])) == "AWS::CodePipeline::Pipeline"


def resource_type(template: Path, logical_id: str) -> str:
    from prefect_codepipeline.deployments.files.definition import read_file

    return str(read_file(template).content["Resources"][logical_id]["Type"])


if __name__ == "__main__":
    main()
