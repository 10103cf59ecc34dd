"""What is shown of a build's tests and coverage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.model.buildspec import reports as build_reports
from prefect_codepipeline.model.buildspec.reports import CoverageReport, Covered, FileCoverage

STATUSES = ("Succeeded", "Failed", "Error", "Skipped", "Unknown")


def case(name="test_a", status="Succeeded", **fields):
    return build_reports.TestCase(name, status=status, **fields)


def of_tests(*cases, group="unit"):
    return build_reports.summarize_tests(group, "JUNITXML", cases)


def coverage(lines, branches=(0, 0)):
    file = FileCoverage("a.py", Covered(*lines), Covered(*branches))
    return build_reports.summarize_coverage("cov", "CLOVERXML", [file])


@pytest.mark.parametrize(
    ("reports", "line"),
    [
        pytest.param([], "", id="none"),
        pytest.param([of_tests(case())], "1 passed", id="all passed"),
        pytest.param([of_tests()], "no tests", id="no tests"),
        pytest.param([of_tests(case("a", "Failed"), case("b", "Error"), case(), case("c", "Skipped"))],
                     "1 passed, 1 skipped, 2 failed: a, b", id="an error is a failure"),
        pytest.param([of_tests(*(case(f"t{n}", "Failed") for n in range(5)))], "0 passed, 5 failed: t0, t1, t2 …",
                     id="the first three names"),
        pytest.param([of_tests(case("x" * 100 + "\nx", "Failed"))], f"0 passed, 1 failed: {'x' * 59}…",
                     id="a long name on two lines"),
        pytest.param([of_tests(case()), of_tests(case("b", "Failed"), group="e2e")], "1 passed, 1 failed: b",
                     id="two groups"),
        pytest.param([of_tests(case()), coverage((831, 169))], "1 passed; line coverage 83.1 %",
                     id="tests and coverage"),
        pytest.param([coverage((9999, 1), (0, 4))], "line coverage 99.9 %, branch coverage 0.0 %",
                     id="nearly all is not all"),
        pytest.param([coverage((0, 0))], "no coverage measured", id="no lines"),
        pytest.param([CoverageReport("c", "SIMPLECOV", stated_percent=83.12)], "line coverage 83.1 %",
                     id="a percentage only"),
    ],
)  # fmt: skip
def test_one_line(reports, line):
    assert build_reports.one_line(reports) == line


def test_the_table_shows_totals_then_what_failed_then_the_slowest():
    report = of_tests(
        case("test_fast", suite="cart", seconds=0.1),
        case("test_slow", suite="cart", seconds=9.0),
        case("test_sum", "Failed", suite="cart", seconds=0.2, message="25 is not 30", place="cart.py:7"),
    )

    assert build_reports.table(report) == [
        {"row": "total", "test": "3 tests", "result": "FAILED", "seconds": 9.3, "place": "",
         "message": "2 passed, 1 failed"},
        {"row": "failed", "test": "cart > test_sum", "result": "Failed", "seconds": 0.2, "place": "cart.py:7",
         "message": "25 is not 30"},
        {"row": "slowest", "test": "cart > test_slow", "result": "Succeeded", "seconds": 9.0, "place": "",
         "message": ""},
        {"row": "slowest", "test": "cart > test_sum", "result": "Failed", "seconds": 0.2, "place": "cart.py:7",
         "message": ""},
        {"row": "slowest", "test": "cart > test_fast", "result": "Succeeded", "seconds": 0.1, "place": "",
         "message": ""},
    ]  # fmt: skip


def test_the_table_of_a_thousand_failures_says_how_many_it_leaves_out():
    rows = build_reports.table(of_tests(*(case(f"t{n}", "Failed") for n in range(1000))))

    assert rows[201]["test"] == "… and 800 more"
    assert len(rows) == 202


def test_the_table_of_coverage_begins_with_the_files_that_miss_most():
    report = build_reports.summarize_coverage(
        "cov", "CLOVERXML",
        [FileCoverage("good.py", Covered(10, 0)), FileCoverage("bad.py", Covered(1, 9), Covered(1, 1))],
    )  # fmt: skip

    assert build_reports.table(report) == [
        {"file": "total", "lines": "55.0 %", "missed lines": 9, "branches": "50.0 %", "missed branches": 1},
        {"file": "bad.py", "lines": "10.0 %", "missed lines": 9, "branches": "50.0 %", "missed branches": 1},
        {"file": "good.py", "lines": "100.0 %", "missed lines": 0, "branches": "-", "missed branches": 0},
    ]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("a\nb", 10, "a\nb"),
        ("\x1b[31mred\x1b[0m", 10, "red"),
        ("#x1B[31mred#x1B[0m", 10, "red"),
        ("nul\x00 \ud800lone\r\n", 20, "nul lone"),
        ("abcdef", 5, "abcd…"),
        ("  ", 5, ""),
    ],
)
def test_text_of_tools_is_cleaned(text, limit, expected):
    assert build_reports.clean(text, limit) == expected


CASES = st.lists(
    st.builds(
        build_reports.TestCase,
        name=st.text(max_size=5),
        status=st.sampled_from(STATUSES),
        seconds=st.none() | st.floats(0, 1e6),
    ),
    max_size=40,
)


@given(st.lists(CASES, max_size=4))
def test_several_files_say_together_what_one_would(files):
    apart = [of_tests(*cases) for cases in files]
    merged = build_reports.merge_tests("unit", "JUNITXML", apart)
    whole = of_tests(*(case for cases in files for case in cases))

    assert merged.counts == whole.counts
    assert merged.cases == whole.cases
    assert merged.seconds == pytest.approx(whole.seconds)


@given(CASES)
def test_nothing_that_failed_is_left_out_of_the_table(cases):
    report = of_tests(*cases)
    failed = [row["test"] for row in build_reports.table(report) if row["row"] == "failed"]

    assert failed == [case.name for case in cases if case.status in ("Failed", "Error")]
    assert (report.status == "FAILED") == bool(failed)
