"""The reports of a build: test cases and coverage, their totals, a one-line summary and the rows of a table.

https://docs.aws.amazon.com/codebuild/latest/userguide/test-reporting.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prefect_codepipeline.model.printable import without_controls

Status = Literal["Succeeded", "Failed", "Error", "Skipped", "Unknown"]
ReportStatus = Literal["SUCCEEDED", "FAILED", "INCOMPLETE"]
Row = dict[str, str | int | float | None]

TEST_FORMATS = ("CUCUMBERJSON", "JUNITXML", "NUNITXML", "NUNIT3XML", "TESTNGXML", "VISUALSTUDIOTRX")
COVERAGE_FORMATS = ("CLOVERXML", "COBERTURAXML", "JACOCOXML", "SIMPLECOV")
# CodeBuild keeps this many of each report, failed ones first.
MAX_CASES = 500
MAX_FILES = 500
MAX_MESSAGE = 1000
MAX_NAME = 200
_MAX_FAILED_ROWS = 200
_MAX_SLOWEST_ROWS = 10
_MAX_FILE_ROWS = 100
_MAX_NAMES = 3
_SHORT_NAME = 60
_SHORT_MESSAGE = 300
# Failures come last, because the names of the failed tests follow them.
_WORDS: Mapping[str, tuple[Status, ...]] = {
    "passed": ("Succeeded",),
    "skipped": ("Skipped",),
    "unknown": ("Unknown",),
    "failed": ("Failed", "Error"),
}
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|#x1B\[[0-9;]*m")
# Databases refuse lone surrogates, and NUL, which is a control character.
_UNSTORABLE = re.compile(r"[\r\ud800-\udfff]")


@dataclass(frozen=True)
class TestCase:
    """One test as CodeBuild displays it; `place` is `file:line` if the report or the stack trace contains it."""

    name: str
    suite: str = ""
    status: Status = "Succeeded"
    seconds: float | None = None
    message: str = ""
    place: str = ""

    @property
    def bad(self) -> bool:
        """Whether the test failed or could not run."""
        return self.status in ("Failed", "Error")


@dataclass(frozen=True)
class TestReport:
    """The tests of one report group: `counts` covers all tests, `cases` has the `MAX_CASES` most relevant ones."""

    group: str
    format: str
    counts: Mapping[Status, int] = field(default_factory=dict)
    seconds: float = 0.0
    cases: tuple[TestCase, ...] = ()

    @property
    def status(self) -> ReportStatus:
        """The status of the report, as AWS names it."""
        if not sum(self.counts.values()):
            return "INCOMPLETE"
        return "FAILED" if self.counts.get("Failed") or self.counts.get("Error") else "SUCCEEDED"


@dataclass(frozen=True)
class Covered:
    """The number of lines or branches that the tests covered, and the number they missed."""

    covered: int = 0
    missed: int = 0

    @property
    def percent(self) -> float | None:
        """0 to 100; None if there was nothing to cover."""
        total = self.covered + self.missed
        return 100 * self.covered / total if total else None

    def __add__(self, other: Covered) -> Covered:
        return Covered(self.covered + other.covered, self.missed + other.missed)


@dataclass(frozen=True)
class FileCoverage:
    """The coverage of one source file."""

    path: str
    lines: Covered = Covered()
    branches: Covered = Covered()


@dataclass(frozen=True)
class CoverageReport:
    """The coverage of one report group: the sums cover all files, `files` has the `MAX_FILES` least covered ones.

    `stated_percent` is the line coverage from a report file that contains only a percentage.
    """

    group: str
    format: str
    lines: Covered = Covered()
    branches: Covered = Covered()
    files: tuple[FileCoverage, ...] = ()
    stated_percent: float | None = None

    @property
    def line_percent(self) -> float | None:
        return self.stated_percent if self.lines.percent is None else self.lines.percent

    @property
    def status(self) -> ReportStatus:
        """The status of the report, as AWS names it."""
        return "INCOMPLETE" if self.line_percent is None and self.branches.percent is None else "SUCCEEDED"


Report = TestReport | CoverageReport


def clean(text: str, limit: int) -> str:
    """The output text of a tool without colours and unstorable characters, at most `limit` characters."""
    if len(text) <= limit and text.isprintable():
        return text.strip()  # the usual case
    text = _UNSTORABLE.sub("", without_controls(_TERMINAL.sub("", text[: 4 * limit]), "")).strip()
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def summarize_tests(group: str, format: str, cases: Iterable[TestCase]) -> TestReport:
    """A report of these cases. Memory stays bounded: only a small multiple of `MAX_CASES` is held at a time."""
    counts: Counter[Status] = Counter()
    seconds = 0.0
    kept: list[TestCase] = []
    for case in cases:
        counts[case.status] += 1
        seconds += case.seconds or 0.0
        kept.append(case)
        if len(kept) > 4 * MAX_CASES:
            kept = _most_relevant(kept)
    return TestReport(group, format, dict(counts), seconds, tuple(_most_relevant(kept)))


def summarize_coverage(group: str, format: str, files: Iterable[FileCoverage]) -> CoverageReport:
    """A report of the coverage of these files, with memory bounded as in `summarize_tests`."""
    lines, branches = Covered(), Covered()
    kept: list[FileCoverage] = []
    for file in files:
        lines, branches = lines + file.lines, branches + file.branches
        kept.append(file)
        if len(kept) > 4 * MAX_FILES:
            kept = _least_covered(kept)
    return CoverageReport(group, format, lines, branches, tuple(_least_covered(kept)))


def merge_tests(group: str, format: str, reports: Sequence[TestReport]) -> TestReport:
    """The contents of several report files as one report."""
    counts: Counter[Status] = Counter()
    kept: list[TestCase] = []
    for report in reports:
        counts.update(report.counts)
        kept = _most_relevant([*kept, *report.cases])
    return TestReport(group, format, dict(counts), sum(report.seconds for report in reports), tuple(kept))


def merge_coverage(group: str, format: str, reports: Sequence[CoverageReport]) -> CoverageReport:
    """The contents of several report files as one report; a stated percentage is used only without line counts."""
    lines, branches = Covered(), Covered()
    files: list[FileCoverage] = []
    stated = [report.stated_percent for report in reports if report.stated_percent is not None]
    for report in reports:
        lines, branches = lines + report.lines, branches + report.branches
        files = _least_covered([*files, *report.files])
    return CoverageReport(group, format, lines, branches, tuple(files), stated[-1] if stated else None)


def one_line(reports: Sequence[Report]) -> str:
    """All reports of a build in one line: `412 passed, 2 failed: test_login, test_logout; line coverage 83.1 %`."""
    tests = [report for report in reports if isinstance(report, TestReport)]
    coverage = [report for report in reports if isinstance(report, CoverageReport)]
    return "; ".join(filter(None, [_tests_line(tests), _coverage_line(coverage)]))


def table(report: Report) -> list[Row]:
    """The table rows of a report, the totals first."""
    return _test_rows(report) if isinstance(report, TestReport) else _coverage_rows(report)


def _most_relevant(cases: Sequence[TestCase]) -> list[TestCase]:
    """The failed cases in their order, then the slowest ones."""
    return sorted(cases, key=lambda case: (0, 0.0) if case.bad else (1, -(case.seconds or 0.0)))[:MAX_CASES]


def _least_covered(files: Sequence[FileCoverage]) -> list[FileCoverage]:
    return sorted(files, key=lambda file: (-file.lines.missed, -file.branches.missed, file.path))[:MAX_FILES]


def _tests_line(reports: Sequence[TestReport]) -> str:
    if not reports:
        return ""
    counts: Counter[Status] = Counter()
    for report in reports:
        counts.update(report.counts)
    if not counts.total():
        return "no tests"
    failed = [clean(case.name, _SHORT_NAME) for report in reports for case in report.cases if case.bad]
    more = " …" if counts["Failed"] + counts["Error"] > _MAX_NAMES else ""
    names = f": {', '.join(failed[:_MAX_NAMES])}{more}" if failed else ""
    return f"{_format_counts(counts)}{names}".replace("\n", " ")


def _format_counts(counts: Mapping[Status, int]) -> str:
    sums = {word: sum(counts.get(status, 0) for status in statuses) for word, statuses in _WORDS.items()}
    return ", ".join(f"{number} {word}" for word, number in sums.items() if number or word == "passed")


def _coverage_line(reports: Sequence[CoverageReport]) -> str:
    if not reports:
        return ""
    merged = merge_coverage("", "", reports)
    known = {"line": merged.line_percent, "branch": merged.branches.percent}
    parts = [f"{what} coverage {_percent(percent)}" for what, percent in known.items() if percent is not None]
    return ", ".join(parts) or "no coverage measured"


def _percent(percent: float | None) -> str:
    # 99.96 must not be rounded to 100: at least one line was missed.
    if percent is None:
        return "-"
    return "99.9 %" if 99.9 < percent < 100 else f"{percent:.1f} %"


def _test_rows(report: TestReport) -> list[Row]:
    total = sum(report.counts.values())
    failed = [case for case in report.cases if case.bad]
    all_failed = report.counts.get("Failed", 0) + report.counts.get("Error", 0)
    timed = [case for case in report.cases if case.seconds]
    slowest = sorted(timed, key=lambda case: -(case.seconds or 0.0))[:_MAX_SLOWEST_ROWS]
    rows = [
        _test_row("total", f"{total} tests", report.status, report.seconds, "", _format_counts(report.counts))
    ]
    rows += [_case_row("failed", case) for case in failed[:_MAX_FAILED_ROWS]]
    if all_failed > _MAX_FAILED_ROWS:
        rows.append(_test_row("failed", f"… and {all_failed - _MAX_FAILED_ROWS} more", "", None, "", ""))
    return rows + [_case_row("slowest", case) for case in slowest]


def _case_row(kind: str, case: TestCase) -> Row:
    name = f"{case.suite} > {case.name}" if case.suite not in ("", case.name) else case.name
    message = clean(case.message, _SHORT_MESSAGE) if kind == "failed" else ""
    return _test_row(kind, name, case.status, case.seconds, case.place, message)


def _test_row(kind: str, name: str, result: str, seconds: float | None, place: str, message: str) -> Row:
    time = None if seconds is None else round(seconds, 3)
    return {
        "row": kind, "test": name, "result": result, "seconds": time, "place": place, "message": message
    }  # fmt: skip


def _coverage_rows(report: CoverageReport) -> list[Row]:
    rows = [_file_row("total", report.lines, report.branches)]
    if report.lines.percent is None:
        rows[0]["lines"] = _percent(report.line_percent)
    rows += [_file_row(file.path, file.lines, file.branches) for file in report.files[:_MAX_FILE_ROWS]]
    return rows


def _file_row(path: str, lines: Covered, branches: Covered) -> Row:
    return {
        "file": path,
        "lines": _percent(lines.percent),
        "missed lines": lines.missed,
        "branches": _percent(branches.percent),
        "missed branches": branches.missed,
    }
