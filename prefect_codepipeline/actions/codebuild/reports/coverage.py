"""Readers of coverage reports: one function for each format, which yields the coverage of source files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.codebuild.reports.reading import (
    Node,
    UnreadableReportError,
    nodes,
    read_json,
)
from prefect_codepipeline.model.buildspec.reports import MAX_NAME, Covered, FileCoverage, clean

# The largest plausible number of lines in a project; larger numbers in a file are cut to it.
_MOST = 10**9


def clover(path: Path) -> Iterator[FileCoverage]:
    """Clover's XML, also istanbul's and PHPUnit's: statements count as lines, conditionals as branches."""
    files = 0
    project: FileCoverage | None = None
    for node in nodes(path, ("coverage",), ("metrics",)):
        above = node.parent
        if above is None or above.name not in ("file", "project"):
            continue
        found = _file(
            above.get("path", "name"),
            _of_total(node.get("coveredstatements"), node.get("statements")),
            _of_total(node.get("coveredconditionals"), node.get("conditionals")),
        )
        if above.name == "file":
            files += 1
            yield found
        else:
            project = found
    if project and not files:
        yield project


def cobertura(path: Path) -> Iterator[FileCoverage]:
    """Cobertura's XML, also coverage.py's, coverlet's and gcovr's."""
    lines: dict[str, dict[int, bool]] = {}
    branches: dict[str, dict[int, Covered]] = {}
    for node in nodes(path, ("coverage",), ("line",)):
        # The lines of a method are repeated in its class.
        above = node.parent.parent if node.parent else None
        number = _number(node.get("number"))
        if above is None or above.name != "class" or number is None:
            continue
        file = above.get("filename", "name")
        # The inner classes of a file are separate classes with some of the same lines.
        seen = lines.setdefault(file, {})
        seen[number] = seen.get(number, False) or bool(_number(node.get("hits")))
        match = re.search(r"\((\d{1,9})/(\d{1,9})\)", node.get("condition-coverage"))
        if match:
            found = _of_total(match[1], match[2])
            known = branches.setdefault(file, {}).get(number, Covered())
            if found.covered >= known.covered:
                branches[file][number] = found
    for file, seen in lines.items():
        conditions = branches.get(file, {}).values()
        yield _file(file, _hit(seen.values()), sum(conditions, Covered()))


def jacoco(path: Path) -> Iterator[FileCoverage]:
    """JaCoCo's XML: the counters of its source files or, without any, those of the report."""
    current: Node | None = None
    found: dict[str, Covered] = {}
    whole: dict[str, Covered] = {}
    some = False
    for node in nodes(path, ("report",), ("counter",)):
        above = node.parent
        covered = Covered(_number(node.get("covered")) or 0, _number(node.get("missed")) or 0)
        if above is not None and above.name == "sourcefile":
            if current is not None and above is not current:
                yield _jacoco_file(current, found)
                found = {}
            current, some = above, True
            found[node.get("type")] = covered
        elif above is not None and above.name == "report":
            whole[node.get("type")] = covered
    if current is not None:
        yield _jacoco_file(current, found)
    if whole and not some:
        yield _file("(all)", whole.get("LINE", Covered()), whole.get("BRANCH", Covered()))


def _jacoco_file(node: Node, found: dict[str, Covered]) -> FileCoverage:
    package = node.parent.get("name") if node.parent else ""
    path = f"{package}/{node.get('name')}" if package else node.get("name")
    return _file(path, found.get("LINE", Covered()), found.get("BRANCH", Covered()))


def simplecov(path: Path) -> Iterator[FileCoverage] | float:
    """SimpleCov's `.resultset.json` or `coverage.json`; `.last_run.json` has only the percentage.

    Raises:
        UnreadableReportError: it is not one of these.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise UnreadableReportError("is JSON, but not in SimpleCov's format")
    result = document.get("result")
    if isinstance(result, dict):
        percent = result.get("line", result.get("covered_percent"))
        if isinstance(percent, (int, float)) and 0 <= percent <= 100:
            return float(percent)
    runs = [document] if "coverage" in document else list(document.values())
    coverages = [
        run["coverage"] for run in runs if isinstance(run, dict) and isinstance(run.get("coverage"), dict)
    ]
    if not coverages:
        raise UnreadableReportError("is JSON, but not in SimpleCov's format: nothing in it has `coverage`")
    return _simplecov_files(coverages)


def _simplecov_files(coverages: list[dict[str, Any]]) -> Iterator[FileCoverage]:
    """Several test commands of a project may run the same files: a line that one of them hits is covered."""
    lines: dict[str, dict[int, bool]] = {}
    branches: dict[str, dict[str, bool]] = {}
    for coverage in coverages:
        for file, about in coverage.items():
            hits = about.get("lines") if isinstance(about, dict) else about
            seen = lines.setdefault(file, {})
            for number, hit in enumerate(hits if isinstance(hits, list) else []):
                if isinstance(hit, int):  # null: not code; "ignored": excluded by a comment in the code
                    seen[number] = seen.get(number, False) or hit > 0
            taken = branches.setdefault(file, {})
            for key, hit in _simplecov_branches(about.get("branches") if isinstance(about, dict) else None):
                taken[key] = taken.get(key, False) or hit
    for file, seen in lines.items():
        yield _file(file, _hit(seen.values()), _hit(branches[file].values()))


def _simplecov_branches(branches: object) -> Iterator[tuple[str, bool]]:
    # `.resultset.json`: {condition: {branch: hits}}; `coverage.json`: [{type, start_line, …, coverage: hits}].
    if isinstance(branches, dict):
        for condition, arms in branches.items():
            for arm, hits in arms.items() if isinstance(arms, dict) else ():
                yield f"{condition} {arm}", isinstance(hits, int) and hits > 0
    elif isinstance(branches, list):
        for place, branch in enumerate(branches):
            if isinstance(branch, dict) and isinstance(hits := branch.get("coverage"), int):
                yield str(place), hits > 0


def _hit(seen: Iterable[bool]) -> Covered:
    marks = list(seen)
    return Covered(sum(marks), len(marks) - sum(marks))


def _of_total(covered: str, total: str) -> Covered:
    every = _number(total) or 0
    some = min(_number(covered) or 0, every)
    return Covered(some, every - some)


def _number(text: str) -> int | None:
    # Numbers of hits may be very large, or written as 1.0.
    match = re.match(r"\d+", text)
    return min(int(match[0][:12]), _MOST) if match else None


def _file(path: str, lines: Covered, branches: Covered) -> FileCoverage:
    return FileCoverage(clean(path, MAX_NAME).replace("\n", " ") or "(no name)", lines, branches)
