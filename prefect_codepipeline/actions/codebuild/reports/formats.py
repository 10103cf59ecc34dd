"""The readers of report files, by AWS's names of the formats.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.reports
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from prefect_codepipeline.actions.codebuild.reports.coverage import clover, cobertura, jacoco, simplecov
from prefect_codepipeline.actions.codebuild.reports.reading import UnfitFileError, UnreadableReportError
from prefect_codepipeline.actions.codebuild.reports.test_cases import (
    cucumber,
    junit,
    nunit,
    nunit3,
    testng,
    trx,
)
from prefect_codepipeline.model.buildspec.reports import (
    CoverageReport,
    FileCoverage,
    Report,
    TestCase,
    summarize_coverage,
    summarize_tests,
)

__all__ = ["UnfitFileError", "UnreadableReportError", "read_report"]

TEST_READERS: Mapping[str, Callable[[Path], Iterator[TestCase]]] = MappingProxyType(
    {
        "CUCUMBERJSON": cucumber,
        "JUNITXML": junit,
        "NUNITXML": nunit,
        "NUNIT3XML": nunit3,
        "TESTNGXML": testng,
        "VISUALSTUDIOTRX": trx,
    }
)
COVERAGE_READERS: Mapping[str, Callable[[Path], Iterator[FileCoverage]]] = MappingProxyType(
    {"CLOVERXML": clover, "COBERTURAXML": cobertura, "JACOCOXML": jacoco}
)


def read_report(group: str, format: str, path: Path) -> Report:
    """Read one report file; `format` is in upper case.

    Raises:
        UnreadableReportError: the file is not a report of that format, or the format does not exist.
    """
    if format in TEST_READERS:
        return summarize_tests(group, format, TEST_READERS[format](path))
    if format in COVERAGE_READERS:
        return summarize_coverage(group, format, COVERAGE_READERS[format](path))
    if format == "SIMPLECOV":
        found = simplecov(path)
        if isinstance(found, float):
            return CoverageReport(group, format, stated_percent=found)
        return summarize_coverage(group, format, found)
    raise UnreadableReportError(f"has a format that does not exist: {format!r}")
