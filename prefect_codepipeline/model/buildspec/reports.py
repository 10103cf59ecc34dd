"""What the reports of a build say: test cases and coverage, their totals, the one line and the rows of a table.

https://docs.aws.amazon.com/codebuild/latest/userguide/test-reporting.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["Succeeded", "Failed", "Error", "Skipped", "Unknown"]
ReportStatus = Literal["SUCCEEDED", "FAILED", "INCOMPLETE"]
Row = dict[str, str | int | float | None]

TEST_FORMATS = ("CUCUMBERJSON", "JUNITXML", "NUNITXML", "NUNIT3XML", "TESTNGXML", "VISUALSTUDIOTRX")
COVERAGE_FORMATS = ("CLOVERXML", "COBERTURAXML", "JACOCOXML", "SIMPLECOV")
# CodeBuild keeps as many of a report; failed ones go first.
MAX_CASES = 500
MAX_FILES = 500
MAX_MESSAGE = 1000
MAX_NAME = 200
_SHOWN_FAILED = 200
_SHOWN_SLOWEST = 10
_SHOWN_FILES = 100
_NAMED_FAILED = 3
_SHORT_NAME = 60
_SHORT_MESSAGE = 300
# What went wrong comes last, so that names can follow.
_WORDS: Mapping[str, tuple[Status, ...]] = {
    "passed": ("Succeeded",),
    "skipped": ("Skipped",),
    "unknown": ("Unknown",),
    "failed": ("Failed", "Error"),
}
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|#x1B\[[0-9;]*m")
# A database refuses NUL and lone surrogates; nobody can read the others.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class TestCase:
    """One test as CodeBuild shows it; `place` is `file:line` where the report or the stack trace tells it."""

    name: str
    suite: str = ""
    status: Status = "Succeeded"
    seconds: float | None = None
    message: str = ""
    place: str = ""

    @property
    def bad(self) -> bool:
        """Whether somebody has to look at it."""
        return self.status in ("Failed", "Error")


@dataclass(frozen=True)
class TestReport:
    """The tests of one report group: `counts` are of all, `cases` are the `MAX_CASES` that matter most."""

    group: str
    format: str
    counts: Mapping[Status, int] = field(default_factory=dict)
    seconds: float = 0.0
    cases: tuple[TestCase, ...] = ()

    @property
    def status(self) -> ReportStatus:
        """The report's status in AWS's words."""
        if not sum(self.counts.values()):
            return "INCOMPLETE"
        return "FAILED" if self.counts.get("Failed") or self.counts.get("Error") else "SUCCEEDED"


@dataclass(frozen=True)
class Covered:
    """How many lines or branches the tests ran through, and how many not."""

    covered: int = 0
    missed: int = 0

    @property
    def percent(self) -> float | None:
        """0 to 100; None when there is nothing that could be covered."""
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
    """The coverage of one report group: the sums are of all files, `files` are the `MAX_FILES` that miss the most.

    `stated_percent` is the line coverage of a file that tells nothing else.
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
        """The report's status in AWS's words."""
        return "INCOMPLETE" if self.line_percent is None and self.branches.percent is None else "SUCCEEDED"


Report = TestReport | CoverageReport


def clean(text: str, limit: int) -> str:
    """Text that a tool wrote, without colours and what a database refuses, at most `limit` characters."""
    if len(text) <= limit and text.isprintable():
        return text.strip()  # nearly always
    text = _UNFIT.sub("", _TERMINAL.sub("", text[: 4 * limit])).strip()
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def summarize_tests(group: str, format: str, cases: Iterable[TestCase]) -> TestReport:
    """A report of these cases; however many there are, no more than some `MAX_CASES` are held."""
    counts: Counter[Status] = Counter()
    seconds = 0.0
    kept: list[TestCase] = []
    for case in cases:
        counts[case.status] += 1
        seconds += case.seconds or 0.0
        kept.append(case)
        if len(kept) > 4 * MAX_CASES:
            kept = _that_matter(kept)
    return TestReport(group, format, dict(counts), seconds, tuple(_that_matter(kept)))


def summarize_coverage(group: str, format: str, files: Iterable[FileCoverage]) -> CoverageReport:
    """A report of the coverage of these files, held as few at a time as the cases of tests are."""
    lines, branches = Covered(), Covered()
    kept: list[FileCoverage] = []
    for file in files:
        lines, branches = lines + file.lines, branches + file.branches
        kept.append(file)
        if len(kept) > 4 * MAX_FILES:
            kept = _that_miss_most(kept)
    return CoverageReport(group, format, lines, branches, tuple(_that_miss_most(kept)))


def merge_tests(group: str, format: str, reports: Sequence[TestReport]) -> TestReport:
    """What several files say, as one report."""
    counts: Counter[Status] = Counter()
    kept: list[TestCase] = []
    for report in reports:
        counts.update(report.counts)
        kept = _that_matter([*kept, *report.cases])
    return TestReport(group, format, dict(counts), sum(report.seconds for report in reports), tuple(kept))


def merge_coverage(group: str, format: str, reports: Sequence[CoverageReport]) -> CoverageReport:
    """What several files say, as one report; a stated percentage is used only where nothing was counted."""
    lines, branches = Covered(), Covered()
    files: list[FileCoverage] = []
    stated = [report.stated_percent for report in reports if report.stated_percent is not None]
    for report in reports:
        lines, branches = lines + report.lines, branches + report.branches
        files = _that_miss_most([*files, *report.files])
    return CoverageReport(group, format, lines, branches, tuple(files), stated[-1] if stated else None)


def one_line(reports: Sequence[Report]) -> str:
    """All reports of a build in a line: `412 passed, 2 failed: test_login, test_logout; line coverage 83.1 %`."""
    tests = [report for report in reports if isinstance(report, TestReport)]
    coverage = [report for report in reports if isinstance(report, CoverageReport)]
    return "; ".join(filter(None, [_tests_line(tests), _coverage_line(coverage)]))


def table(report: Report) -> list[Row]:
    """The rows of the table that shows a report, the totals first."""
    return _test_rows(report) if isinstance(report, TestReport) else _coverage_rows(report)


def _that_matter(cases: Sequence[TestCase]) -> list[TestCase]:
    """The failed ones in their order, then the slowest."""
    return sorted(cases, key=lambda case: (0, 0.0) if case.bad else (1, -(case.seconds or 0.0)))[:MAX_CASES]


def _that_miss_most(files: Sequence[FileCoverage]) -> list[FileCoverage]:
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
    more = " …" if counts["Failed"] + counts["Error"] > _NAMED_FAILED else ""
    names = f": {', '.join(failed[:_NAMED_FAILED])}{more}" if failed else ""
    return f"{_counted(counts)}{names}".replace("\n", " ")


def _counted(counts: Mapping[Status, int]) -> str:
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
    # 99.96 is not 100: the one line that is missed must not vanish.
    if percent is None:
        return "-"
    return "99.9 %" if 99.9 < percent < 100 else f"{percent:.1f} %"


def _test_rows(report: TestReport) -> list[Row]:
    total = sum(report.counts.values())
    failed = [case for case in report.cases if case.bad]
    all_failed = report.counts.get("Failed", 0) + report.counts.get("Error", 0)
    timed = [case for case in report.cases if case.seconds]
    slowest = sorted(timed, key=lambda case: -(case.seconds or 0.0))[:_SHOWN_SLOWEST]
    rows = [_test_row("total", f"{total} tests", report.status, report.seconds, "", _counted(report.counts))]
    rows += [_case_row("failed", case) for case in failed[:_SHOWN_FAILED]]
    if all_failed > _SHOWN_FAILED:
        rows.append(_test_row("failed", f"… and {all_failed - _SHOWN_FAILED} more", "", None, "", ""))
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
    rows += [_file_row(file.path, file.lines, file.branches) for file in report.files[:_SHOWN_FILES]]
    return rows


def _file_row(path: str, lines: Covered, branches: Covered) -> Row:
    return {
        "file": path,
        "lines": _percent(lines.percent),
        "missed lines": lines.missed,
        "branches": _percent(branches.percent),
        "missed branches": branches.missed,
    }
