"""Report files as tools write them, and as nobody should: what is read of each."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_codepipeline.actions.codebuild.reports.formats import (
    UnfitFileError,
    UnreadableReportError,
    read_report,
)
from prefect_codepipeline.model.buildspec import reports as build_reports

REPORTS = Path(__file__).parent.parent.parent.parent / "data/reports"
FORMATS = (*build_reports.TEST_FORMATS, *build_reports.COVERAGE_FORMATS)
MIB = 1 << 20


@pytest.mark.parametrize(
    ("format", "file", "line", "seconds", "worst"),
    [
        pytest.param(
            "JUNITXML", "pytest.xml", "2 passed, 1 skipped, 2 failed: test_rebate, test_saved", 0.007,
            ("test_cart", "test_rebate", "Failed", "AssertionError: rebate is taken twice", "test_cart.py:16"),
            id="pytest",
        ),
        pytest.param(
            "JUNITXML", "surefire.xml", "2 passed, 1 skipped, 2 failed: rebate, saved", 1204.133,
            ("com.example.shop.CartTest", "rebate", "Failed", "expected: <30> but was: <25>", "CartTest.java:31"),
            id="Maven Surefire: a thousands separator, JUnit's own frames first, a flaky test that passed",
        ),
        pytest.param(
            "JUNITXML", "surefire-3.2.xml", "2 passed, 1 skipped, 2 failed: tooMuch, rebate", 0.284,
            ("com.example.shop.CartTest", "tooMuch", "Error", "rebate", "Cart.java:6"),
            id="Maven Surefire as it ran: it broke outside of the test",
        ),
        pytest.param(
            "JUNITXML", "go-junit-report.xml", "2 passed, 1 skipped, 1 failed: TestRebate", 0.01,
            ("example.com/shop/cart", "TestRebate", "Failed",
             "cart_test.go:17: rebate is taken twice: got 25, want 30", "cart_test.go:17"),
            id="go-junit-report",
        ),
        pytest.param(
            "JUNITXML", "jest-junit.xml", "1 passed, 1 skipped, 1 failed: cart takes a rebate", 0.007,
            ("cart takes a rebate", "cart takes a rebate", "Failed",
             "Error: expect(received).toBe(expected) // Object.is equality", "/src/src/__tests__/cart.test.js:9"),
            id="jest-junit",
        ),
        pytest.param(
            "JUNITXML", "googletest.xml", "1 passed, 1 skipped, 1 failed: Rebate", 0.001,
            ("Cart", "Rebate", "Failed", "cart_test.cc:9", "cart_test.cc:9"),
            id="googletest: disabled by an attribute",
        ),
        pytest.param(
            "JUNITXML", "node-test.xml", "1 passed, 2 skipped, 2 failed: takes a rebate, throws", 0.003485,
            ("test", "takes a rebate", "Failed", "20 == 25", "/src/test/cart.test.js:5"),
            id="node --test: a case that is in no suite",
        ),
        pytest.param(
            "NUNITXML", "nunit2.xml", "1 passed, 1 skipped, 2 failed: Rebate, Saved", 0.036,
            ("Shop.Tests.CartTests", "Rebate", "Failed", "Expected: 30", "/src/Shop.Tests/CartTests.cs:21"),
            id="NUnit 2",
        ),
        pytest.param(
            "NUNIT3XML", "nunit3.xml", "1 passed, 1 skipped, 1 unknown, 2 failed: Rebate, Saved", 0.117,
            ("Shop.Tests.CartTests", "Rebate", "Failed", "Assert.That(total, Is.EqualTo(30))",
             "/src/Shop.Tests/CartTests.cs:21"),
            id="NUnit 3",
        ),
        pytest.param(
            "TESTNGXML", "testng-results.xml", "1 passed, 1 skipped, 1 failed: rebate", 0.262,
            ("com.example.shop.CartTest", "rebate", "Failed", "expected [30] but found [25]", "CartTest.java:27"),
            id="TestNG: configuration methods do not count",
        ),
        pytest.param(
            "VISUALSTUDIOTRX", "dotnet.trx", "2 passed, 1 skipped, 2 failed: Rebate, Rows (2)", 1.542,
            ("Shop.Tests.CartTests", "Rebate", "Failed", "Assert.Equal() Failure: Values differ",
             "/src/Shop.Tests/CartTests.cs:21"),
            id="dotnet test: a data-driven test counts by its rows",
        ),
        pytest.param(
            "CUCUMBERJSON", "cucumber-js.json", "1 passed, 1 skipped, 2 failed: Rebate, Pay", 1.503,
            ("Cart", "Rebate", "Failed", "Then I pay 30: AssertionError [ERR_ASSERTION]: 25 == 30",
             "/src/features/steps/cart.js:13"),
            id="cucumber-js: a step without code fails",
        ),
        pytest.param(
            "CUCUMBERJSON", "cucumber-jvm.json", "0 passed, 1 failed: Add", 0.04,
            ("Cart", "Add", "Failed", "Given a shop: java.net.ConnectException: Connection refused",
             "Steps.java:14"),
            id="cucumber-jvm: the background failed",
        ),
    ],
)  # fmt: skip
def test_tests(format, file, line, seconds, worst):
    report = read_report("unit", format, REPORTS / file)
    case = report.cases[0]

    assert build_reports.one_line([report]) == line
    assert report.seconds == pytest.approx(seconds)
    assert report.status == "FAILED"
    assert (case.suite, case.name, case.status, case.message.splitlines()[0], case.place) == worst


@pytest.mark.parametrize(
    ("format", "file", "line", "first", "files"),
    [
        pytest.param("CLOVERXML", "istanbul-clover.xml", "line coverage 75.0 %, branch coverage 75.0 %",
                     ("/src/src/cart.js", 5, 3), 2, id="istanbul"),
        pytest.param("CLOVERXML", "phpunit-clover.xml", "line coverage 75.0 %", ("/src/src/Cart.php", 3, 1), 1,
                     id="PHPUnit: files without packages, metrics of a class in them"),
        pytest.param("COBERTURAXML", "coverage-py.xml", "line coverage 75.0 %, branch coverage 75.0 %",
                     ("shop/cart.py", 6, 2), 1, id="coverage.py"),
        pytest.param("COBERTURAXML", "cobertura.xml", "line coverage 60.0 %, branch coverage 50.0 %",
                     ("com/example/shop/Cart.java", 3, 2), 1,
                     id="Cobertura: a document type; two classes of one file share a line"),
        pytest.param("JACOCOXML", "jacoco.xml", "line coverage 57.1 %, branch coverage 75.0 %",
                     ("com/example/shop/Price.java", 0, 2), 2, id="JaCoCo: a document type"),
        pytest.param("SIMPLECOV", "simplecov-resultset.json", "line coverage 83.3 %, branch coverage 50.0 %",
                     ("/src/lib/cart.rb", 3, 1), 2, id="SimpleCov: two commands ran through one file"),
        pytest.param("SIMPLECOV", "simplecov-old.json", "line coverage 66.7 %", ("/src/lib/cart.rb", 2, 1), 1,
                     id="SimpleCov before 0.18"),
        pytest.param("SIMPLECOV", "simplecov-coverage.json", "line coverage 50.0 %, branch coverage 50.0 %",
                     ("/src/lib/cart.rb", 1, 1), 1, id="SimpleCov's coverage.json"),
        pytest.param("SIMPLECOV", "simplecov-last-run.json", "line coverage 83.1 %", None, 0,
                     id="SimpleCov's last run: a percentage only"),
    ],
)  # fmt: skip
def test_coverage(format, file, line, first, files):
    report = read_report("coverage", format, REPORTS / file)

    assert build_reports.one_line([report]) == line
    assert len(report.files) == files
    if first:
        assert (report.files[0].path, report.files[0].lines.covered, report.files[0].lines.missed) == first


@pytest.mark.parametrize(
    ("text", "status", "place"),
    [
        pytest.param("  at com.example.ATest.t(ATest.java:9)", "Failed", "ATest.java:9", id="Java"),
        pytest.param('  File "/src/tests/test_a.py", line 7, in test_a', "Failed", "/src/tests/test_a.py:7",
                     id="Python"),
        pytest.param("no answer from db.example.com:5432 in 10:14:02.113", "Failed", "", id="no place, a server"),
        pytest.param("  at x (/src/node_modules/a/b.js:3:1)", "Failed", "/src/node_modules/a/b.js:3",
                     id="only a framework's"),
        pytest.param("./spec/cart_spec.rb:12:in `block'", "Failed", "./spec/cart_spec.rb:12", id="Ruby"),
    ],
)  # fmt: skip
def test_place_comes_from_the_stack_trace(tmp_path, text, status, place):
    file = tmp_path / "a.xml"
    file.write_text(
        f"<testsuite><testcase name='t'><failure><![CDATA[{text}]]></failure></testcase></testsuite>"
    )

    case = read_report("g", "JUNITXML", file).cases[0]

    assert (case.status, case.place) == (status, place)


@pytest.mark.parametrize(
    ("time_attribute", "seconds"),
    [("0.5", 0.5), ("1,234.5", 1234.5), ("0,012", 0.012), ("", None), ("nan", None), ("-1", None), ("1e999", None),
     ("soon", None)],
)  # fmt: skip
def test_times_as_tools_write_them(tmp_path, time_attribute, seconds):
    file = tmp_path / "a.xml"
    file.write_text(f"<testsuite><testcase name='t' time='{time_attribute}'/></testsuite>")

    assert read_report("g", "JUNITXML", file).cases[0].seconds == seconds


@pytest.mark.parametrize(
    ("encoding", "head"),
    [("utf-8", True), ("utf-8-sig", False), ("utf-16", True), ("iso-8859-1", True), ("windows-1252", True)],
)
def test_encodings(tmp_path, encoding, head):
    file = tmp_path / "a.xml"
    declared = f'<?xml version="1.0" encoding="{encoding}"?>' if head else ""
    file.write_bytes(f"{declared}<testsuite><testcase name='Größe'/></testsuite>".encode(encoding))

    assert read_report("g", "JUNITXML", file).cases[0].name == "Größe"


def test_a_file_of_no_tests_is_incomplete(tmp_path):
    (tmp_path / "a.xml").write_text("<testsuites/>")

    report = read_report("g", "JUNITXML", tmp_path / "a.xml")

    assert (report.status, build_reports.one_line([report])) == ("INCOMPLETE", "no tests")


LAUGHS = """<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<testsuite><testcase name="&c;"/></testsuite>"""


@pytest.mark.parametrize(
    ("format", "content", "reason"),
    [
        pytest.param("JUNITXML", "", "is empty", id="empty"),
        pytest.param("JUNITXML", "Tests passed.", "is not well-formed XML: syntax error: line 1", id="not XML"),
        pytest.param("JUNITXML", "<testsuite><testcase name='a'/>", "is not well-formed XML: no element found",
                     id="cut off"),
        pytest.param("JUNITXML", "<testsuite><testcase name='\x1b[1m'/>", "is not well-formed XML: not well-formed",
                     id="a control character"),
        pytest.param("JUNITXML", b"<testsuite name='\xff\xfe'/>", "is not well-formed XML", id="broken UTF-8"),
        pytest.param("JUNITXML", '<?xml version="1.0" encoding="klingon"?><testsuite/>', "is not",
                     id="an unknown encoding"),
        pytest.param("JUNITXML", "<coverage/>", "starts with <coverage>, not with <testsuites> or <testsuite>",
                     id="another format"),
        pytest.param("JUNITXML", LAUGHS, "declares entities", id="a billion laughs"),
        pytest.param("JUNITXML", '<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite>&x;</testsuite>',
                     "declares entities", id="an entity from a file"),
        pytest.param("JUNITXML", '<!DOCTYPE t SYSTEM "file:///etc/passwd"><testsuite>&x;</testsuite>',
                     "is not well-formed XML: undefined entity", id="a document type from a file is not fetched"),
        pytest.param("JUNITXML", "<testsuite>" * 300, "levels of them", id="deep XML"),
        pytest.param("CUCUMBERJSON", "[" * 100_000, "is nested too deeply", id="deep JSON"),
        pytest.param("CUCUMBERJSON", "[" + "[]," * 2_000_000 + "1]", "has more than 2,000,000 parts", id="wide JSON"),
        pytest.param("CUCUMBERJSON", "<xml/>", "is not JSON", id="not JSON"),
        pytest.param("CUCUMBERJSON", "{}", "not a list of Cucumber features", id="another JSON"),
        pytest.param("CUCUMBERJSON", "[" + "9" * 10_000 + "]", "is", id="a number of ten thousand digits"),
        pytest.param("CUCUMBERJSON", b"\xff[]", "is not JSON", id="JSON in broken UTF-8"),
        pytest.param("SIMPLECOV", "[]", "not in SimpleCov's format", id="not SimpleCov's"),
        pytest.param("SIMPLECOV", "{}", "nothing in it has `coverage`", id="nothing of SimpleCov"),
        pytest.param("TAP", "1..2", "has a format that does not exist: 'TAP'", id="no such format"),
    ],
)  # fmt: skip
def test_what_is_no_report_says_why(tmp_path, format, content, reason):
    file = tmp_path / "report"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(UnreadableReportError) as caught:
        read_report("g", format, file)

    assert reason in str(caught.value)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(200 * MIB)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(_fifo, "is not a regular file", id="a named pipe that nobody writes to"),
        pytest.param(Path.mkdir, "is not a regular file", id="a folder"),
        pytest.param(_huge, "has 200 MiB; the limit is", id="200 MB"),
        pytest.param(
            lambda path: path.symlink_to("nowhere"), "cannot be opened: No such file", id="a dead link"
        ),
    ],
)
@pytest.mark.parametrize("format", ["JUNITXML", "SIMPLECOV"])
def test_what_is_no_file_to_keep(tmp_path, format, make: Callable[[Path], None], reason):
    make(tmp_path / "report")

    with pytest.raises(UnfitFileError, match=reason):
        read_report("g", format, tmp_path / "report")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<testsuite><testcase><failure>" + b"x" * 30 * MIB, id="text"),
        pytest.param(b"<testsuite><testcase name='" + b"x" * 30 * MIB, id="an attribute"),
        pytest.param(b"<testsuite><!--" + b"x" * 30 * MIB, id="a comment"),
        pytest.param(b"<testsuite><testcase>" + b"<x>a</x>" * 200_000, id="a case of many parts"),
        pytest.param(b"<testsuite>" + b"<testcase name='a'>" * 150, id="cases in cases"),
        pytest.param(b"<testsuite>" + b"<testcase name='a'/>" * 20_000, id="many cases"),
        pytest.param(
            b"<testsuite>" + b"".join(b"<a%d b%d=''/>" % (n, n) for n in range(150_000)), id="many names"
        ),
    ],
)
def test_large_files_take_little_memory(tmp_path, content):
    file = tmp_path / "a.xml"
    file.write_bytes(content)
    tracemalloc.start()
    start = time.monotonic()

    with pytest.raises(UnreadableReportError):
        read_report("g", "JUNITXML", file)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * MIB
    assert time.monotonic() - start < 20


def test_of_many_cases_all_count_and_500_are_kept(tmp_path):
    file = tmp_path / "a.xml"
    cases = "".join(
        f"<testcase name='t{number}' time='{number}'>{'<failure/>' if number % 100 == 0 else ''}</testcase>"
        for number in range(5000)
    )
    file.write_text(f"<testsuite>{cases}</testsuite>")

    report = read_report("g", "JUNITXML", file)

    assert report.counts == {"Succeeded": 4950, "Failed": 50}
    assert len(report.cases) == 500
    assert [case.name for case in report.cases[:2]] == ["t0", "t100"]
    assert report.cases[50].name == "t4999"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["elements", "steps", "result", "status", "duration", "name", "line", "coverage", "lines",
                         "branches", "before", "type", "error_message", "uri", "keyword"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(format=st.sampled_from(["CUCUMBERJSON", "SIMPLECOV"]), value=JSON)
def test_whatever_json_it_is_it_is_read_or_refused(tmp_path, format, value):
    file = tmp_path / "report.json"
    file.write_text(json.dumps(value))

    try:
        report = read_report("g", format, file)
    except UnreadableReportError:
        return

    _can_be_shown(report)


FILES = sorted(path for path in REPORTS.iterdir() if path.name != "README.md")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(FILES)).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 30))
        content[place : place + length] = data.draw(
            st.binary(max_size=10)
            | st.sampled_from([b"", b"0", b"-9e99", b"''", b"<a>", b"/>", b"null", b"99999999999"])
        )
    file = tmp_path / "report"
    file.write_bytes(content)

    try:
        report = read_report("g", data.draw(st.sampled_from(FORMATS)), file)
    except UnreadableReportError:
        return

    _can_be_shown(report)


def _can_be_shown(report: build_reports.Report) -> None:
    shown = json.dumps(
        [build_reports.table(report), build_reports.one_line([report])], ensure_ascii=False, allow_nan=False
    )
    shown.encode()
    assert "\\u0000" not in shown
