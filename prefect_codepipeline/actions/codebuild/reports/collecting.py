"""Collect the reports that a build wrote. Nothing here needs Prefect.

https://docs.aws.amazon.com/codebuild/latest/userguide/test-reporting.html
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from prefect_codepipeline.actions.artifacts.globs import select_files
from prefect_codepipeline.actions.codebuild.reports.formats import (
    UnfitFileError,
    UnreadableReportError,
    read_report,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.parts import ReportGroup
from prefect_codepipeline.model.buildspec.reports import (
    MAX_MESSAGE,
    MAX_NAME,
    CoverageReport,
    Report,
    TestReport,
    clean,
    merge_coverage,
    merge_tests,
    one_line,
)

# Limits, so that a build ends in time; files beyond them are not read, and a warning says so.
MAX_FILES = 5000
MAX_SECONDS = 60.0
MAX_KEPT_BYTES = 500 << 20
_MAX_WARNINGS = 50


@dataclass(frozen=True)
class ReportFile:
    """A file of a report: its path, its name among the stored files (`<group>/<path>`), and its size in bytes."""

    path: Path
    name: str
    size: int = 0


@dataclass(frozen=True)
class CollectedReports:
    """All reports of a build. `warnings` are messages for the log; a problem with a report never fails the build."""

    reports: tuple[Report, ...] = ()
    warnings: tuple[str, ...] = ()
    files: tuple[ReportFile, ...] = ()

    @property
    def one_line(self) -> str:
        """For example `412 passed, 2 failed: test_login, test_logout; line coverage 83.1 %`; empty without reports."""
        return one_line(self.reports)


def collect_reports(
    groups: Sequence[ReportGroup], root: Path, mask: Callable[[str], str] = str
) -> CollectedReports:
    """Read the files of the `reports` of a buildspec below `root`, the source directory after the build.

    `mask` hides secrets in the texts of tests. A file that cannot be read becomes a warning, as in AWS.
    """
    root = root.resolve()
    deadline = time.monotonic() + MAX_SECONDS
    reports: list[Report] = []
    warnings: list[str] = []
    files: list[ReportFile] = []
    for group in groups:
        report, kept, problems = _read_group(group, root, deadline)
        reports += [_mask_report(report, mask)] if report else []
        warnings += [f"report group {group.name!r}: {problem}" for problem in problems]
        files += kept
    while files and sum(file.size for file in files) > MAX_KEPT_BYTES:
        largest = max(files, key=lambda file: file.size)
        files.remove(largest)
        warnings.append(
            f"{largest.name} is not stored: together the report files have more than {MAX_KEPT_BYTES >> 20} MiB"
        )
    return CollectedReports(tuple(reports), tuple(map(mask, _limit_warnings(warnings))), tuple(files))


def _read_group(
    group: ReportGroup, root: Path, deadline: float
) -> tuple[Report | None, list[ReportFile], list[str]]:
    """The group's report (None if no file could be read), the files to store, and the problems."""
    try:
        found = _find(group, root)
    except (ActionFailed, OSError, RecursionError) as error:
        return None, [], [_no_report_reason(error, group)]
    format = group.file_format.upper()
    reports: list[Report] = []
    kept: list[ReportFile] = []
    problems: list[str] = []
    for place, file in enumerate(found):
        if place >= MAX_FILES or time.monotonic() > deadline:
            problems.append(f"only {place} of its {len(found)} files were read; more would take too long")
            break
        name = file.path.relative_to(root)
        try:
            file = _resolve(file, root)
            reports.append(read_report(group.name, format, file.path))
            kept.append(file)
        except UnreadableReportError as error:
            problems.append(f"{name} {error}, so it is not read as {format}")
            if not isinstance(error, UnfitFileError):
                kept.append(file)
    return _merge(group.name, format, reports), kept, problems


def _find(group: ReportGroup, root: Path) -> list[ReportFile]:
    """The group's files, sorted.

    Raises:
        ActionFailed: a pattern or the base directory leads out of the tree, or nothing matches.
        OSError: the base directory cannot be read.
    """
    base = (root / (group.base_directory or ".")).resolve()
    if not base.is_relative_to(root):
        raise ActionFailed(
            f"base-directory {group.base_directory!r} is outside the source directory",
            code="ConfigurationError",
        )
    found: dict[str, ReportFile] = {}
    for path in select_files(base, group.files):
        name = PurePosixPath(path).name if group.discard_paths else path
        taken = 1
        while name in found:  # without their folders two files may have the same name
            taken += 1
            name = f"{taken}-{PurePosixPath(path).name}"
        found[name] = ReportFile(base / path, f"{path_part(group.name)}/{name}")
    return list(found.values())


def _resolve(file: ReportFile, root: Path) -> ReportFile:
    """The file with any links resolved."""
    try:
        path = file.path.resolve(strict=True)
        size = path.stat().st_size
    except (OSError, RuntimeError) as error:  # RuntimeError: circular links, before Python 3.13
        raise UnfitFileError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    if not path.is_relative_to(root):
        raise UnfitFileError("is a link that leads out of the source directory")
    return replace(file, path=path, size=size)


def _merge(group: str, format: str, reports: Sequence[Report]) -> Report | None:
    tests = [report for report in reports if isinstance(report, TestReport)]
    coverage = [report for report in reports if isinstance(report, CoverageReport)]
    if tests:
        return merge_tests(group, format, tests)
    return merge_coverage(group, format, coverage) if coverage else None


def _no_report_reason(error: Exception, group: ReportGroup) -> str:
    below = f" below {group.base_directory!r}" if group.base_directory else ""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return (
            f"base-directory {group.base_directory!r} does not exist after the build, so there is no report"
        )
    if isinstance(error, OSError):
        return f"its files cannot be searched: {error.filename}: {error.strerror}"
    if isinstance(error, ActionFailed) and error.code == "ConfigurationError":
        return str(error)
    if isinstance(error, ActionFailed):
        patterns = ", ".join(map(repr, group.files))
        return f"no file matches {patterns}{below}, so there is no report; compare with the files that the tests write"
    return f"its folders are nested too deeply{below}"


def _mask_report(report: Report, mask: Callable[[str], str]) -> Report:
    """Mask secrets before the texts are cut: half a secret would not be recognised."""
    if isinstance(report, CoverageReport):
        return report
    cases = [
        replace(
            case,
            name=clean(mask(case.name), MAX_NAME),
            suite=clean(mask(case.suite), MAX_NAME),
            message=clean(mask(case.message), MAX_MESSAGE),
        )
        for case in report.cases
    ]
    return replace(report, cases=tuple(cases))


def _limit_warnings(warnings: list[str]) -> list[str]:
    more = len(warnings) - _MAX_WARNINGS
    return warnings if more <= 0 else [*warnings[:_MAX_WARNINGS], f"reports: {more} more warnings like these"]


def path_part(name: str) -> str:
    """A name as one part of a path that is valid in a folder and in S3."""
    return re.sub(r"[^\w.@+=-]", "-", name)[:100].lstrip(".") or "-"
