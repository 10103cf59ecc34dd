"""Readers of test reports: one function for each format, which yields the test cases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.codebuild.reports.reading import (
    Node,
    UnreadableReportError,
    nodes,
    read_json,
)
from prefect_codepipeline.model.buildspec.reports import MAX_MESSAGE, MAX_NAME, Status, TestCase, clean

# `app.py:12`, `LoginTest.java:42`, `login.test.js:8:3`, `Login.cs:line 12`; but not `db.example.com:5432`.
_SOURCES = (
    "py|pyx|java|kts?|scala|groovy|clj|go|[cm]?[jt]sx?|vue|cs|fs|vb|rb|php|c|cc|cpp|cxx|h|hpp|mm?|swift|rs|dart"
    "|exs?|erl|lua|pl|t|sh|bats|jl|[rR]|feature|robot"
)
_PLACE = re.compile(rf"(\.(?:{_SOURCES})):(?:line )?(\d{{1,7}})\b")
_PYTHON_PLACE = re.compile(r'File "([^"]{1,200})", line (\d{1,7})\b')
_PATH = re.compile(r"[\w@./\\+-]{1,200}$")
# More text is read than is displayed: it is masked before it is cut, because half a secret would not be masked.
_READ = 4
# Frames of a stack trace that are not the user's own code.
_FRAMEWORK = re.compile(
    r"node_modules|site-packages|/unittest/|org\.junit|org\.testng|org\.opentest4j|jdk\.internal|java\.base|sun\.reflect"
    r"|java\.lang\.reflect|org\.assertj|org\.hamcrest|node:internal|internal/|NUnit\.|Xunit\.|Microsoft\."
)


def junit(path: Path) -> Iterator[TestCase]:
    """JUnit XML, which has several variants: Surefire, Gradle, pytest, jest-junit, go-junit-report, googletest."""
    for node in nodes(path, ("testsuites", "testsuite"), ("testcase",)):
        status, problem = _junit_status(node)
        suite = node.get("classname", "class")
        above = node.above("testsuite")
        yield _case(
            name=node.get("name"),
            suite=suite or (above.get("name") if above else ""),
            status=status,
            seconds=_seconds(node.get("time")),
            message=_message_of(problem.get("message"), problem.text) if problem else "",
            trace=problem.text if problem and status in ("Failed", "Error") else "",
            # Without the line: pytest counts lines from 0, others from 1. The stack trace has the line of the failure.
            place=node.get("file"),
        )


def _junit_status(node: Node) -> tuple[Status, Node | None]:
    named: tuple[tuple[str, Status], ...] = (
        ("failure", "Failed"),
        ("error", "Error"),
        ("skipped", "Skipped"),
    )
    for name, status in named:
        if problem := node.child(name):
            return status, problem
    # googletest marks a disabled test in an attribute.
    word = node.get("status").lower()
    return ("Skipped", None) if word in ("notrun", "disabled", "skipped", "ignored") else ("Succeeded", None)


def nunit(path: Path) -> Iterator[TestCase]:
    """NUnit 2's `test-results`."""
    outcomes: dict[str, Status] = {
        "success": "Succeeded", "failure": "Failed", "error": "Error", "invalid": "Error", "notrunnable": "Error",
        "cancelled": "Error", "ignored": "Skipped", "skipped": "Skipped", "inconclusive": "Unknown",
    }  # fmt: skip
    for node in nodes(path, ("test-results",), ("test-case",)):
        # Versions before 2.5 have no `result`.
        word = node.get("result").lower() or {"true": "success", "false": "failure"}.get(
            node.get("success").lower(), "ignored" if node.get("executed").lower() == "false" else ""
        )
        yield _nunit_case(node, outcomes.get(word, "Unknown"), _seconds(node.get("time")), "")


def nunit3(path: Path) -> Iterator[TestCase]:
    """NUnit 3's `test-run`."""
    outcomes: dict[str, Status] = {
        "passed": "Succeeded", "warning": "Succeeded", "failed": "Failed", "skipped": "Skipped",
    }  # fmt: skip
    for node in nodes(path, ("test-run",), ("test-case",)):
        status = outcomes.get(node.get("result").lower(), "Unknown")
        if status == "Failed" and node.get("label").lower() in ("error", "invalid", "cancelled"):
            status = "Error"
        yield _nunit_case(node, status, _seconds(node.get("duration", "time")), node.get("classname"))


def _nunit_case(node: Node, status: Status, seconds: float | None, suite: str) -> TestCase:
    trace = node.text_of("failure", "stack-trace")
    message = node.text_of("failure", "message") or node.text_of("reason", "message")
    name = node.get("name", "fullname")
    if not suite:  # NUnit 2 has only one full name; its arguments may contain dots too
        suite, _, name = _split_name(name)
    return _case(name, suite, status, seconds, message, trace)


def _split_name(name: str) -> tuple[str, str, str]:
    head, bracket, arguments = name.partition("(")
    suite, dot, last = head.rpartition(".")
    return suite, dot, f"{last}{bracket}{arguments}"


def testng(path: Path) -> Iterator[TestCase]:
    """TestNG's `testng-results`; a configuration method counts only when it failed."""
    outcomes: dict[str, Status] = {"pass": "Succeeded", "fail": "Failed", "skip": "Skipped"}
    for node in nodes(path, ("testng-results",), ("test-method",)):
        status = outcomes.get(node.get("status").lower(), "Unknown")
        if node.get("is-config").lower() == "true" and status != "Failed":
            continue
        above = node.above("class")
        seconds = _seconds(node.get("duration-ms"))
        exception = node.child("exception")
        message = node.text_of("exception", "message") or (exception.get("class") if exception else "")
        trace = node.text_of("exception", "full-stacktrace") or node.text_of("exception", "short-stacktrace")
        yield _case(
            node.get("name"),
            above.get("name") if above else "",
            status,
            None if seconds is None else seconds / 1000,
            message,
            trace,
        )


def trx(path: Path) -> Iterator[TestCase]:
    """Visual Studio's `TestRun`, as `dotnet test --logger trx` writes it."""
    outcomes: dict[str, Status] = {
        "passed": "Succeeded", "passedbutrunaborted": "Succeeded", "warning": "Succeeded", "completed": "Succeeded",
        "failed": "Failed", "error": "Error", "timeout": "Error", "aborted": "Error", "notrunnable": "Error",
        "disconnected": "Error", "notexecuted": "Skipped", "pending": "Skipped",
    }  # fmt: skip
    classes = _trx_classes(path)
    kinds = ("UnitTestResult", "TestResult", "GenericTestResult")
    for node in nodes(path, ("TestRun",), kinds):
        if node.child("InnerResults"):  # the rows of a data-driven test are separate results
            continue
        suite = classes.get(node.get("testId"), "")
        yield _case(
            node.get("testName").removeprefix(f"{suite}.") if suite else node.get("testName"),
            suite,
            outcomes.get(node.get("outcome").lower(), "Unknown"),
            _clock(node.get("duration")),
            node.text_of("Output", "ErrorInfo", "Message"),
            node.text_of("Output", "ErrorInfo", "StackTrace"),
        )


def _trx_classes(path: Path) -> dict[str, str]:
    """The class of each test by its id; classes come after the results in the file."""
    found: dict[str, str] = {}
    for node in nodes(path, ("TestRun",), ("UnitTest",)):
        if method := node.child("TestMethod"):
            # The assembly may follow: `Shop.Tests.CartTests, Shop.Tests, Version=…`.
            found[node.get("id")] = method.get("className").partition(",")[0]
    return found


def cucumber(path: Path) -> Iterator[TestCase]:
    """Cucumber's JSON: each scenario is a case."""
    features = read_json(path)
    if not isinstance(features, list):
        raise UnreadableReportError("is JSON, but not a list of Cucumber features")
    for feature in features:
        if not isinstance(feature, dict) or not isinstance(feature.get("elements", []), list):
            raise UnreadableReportError("is JSON, but not a list of Cucumber features")
        background: list[dict[str, Any]] = []
        for element in _dicts(feature.get("elements")):
            steps = [step for part in ("before", "steps", "after") for step in _dicts(element.get(part))]
            if element.get("type") == "background":
                background = steps
                continue
            yield _scenario(feature, element, [*background, *steps])
            background = []


def _scenario(feature: dict[str, Any], element: dict[str, Any], steps: list[dict[str, Any]]) -> TestCase:
    results = [step["result"] if isinstance(step.get("result"), dict) else {} for step in steps]
    words = [_string(result.get("status")).lower() for result in results]
    status = _scenario_status(words)
    bad = next((at for at, word in enumerate(words) if word in ("failed", "undefined", "ambiguous")), None)
    message, trace = "", ""
    if bad is not None:
        step = f"{_string(steps[bad].get('keyword'))}{_string(steps[bad].get('name'))}".strip()
        trace = _string(results[bad].get("error_message"))
        message = f"{step or 'a hook'}: {trace or words[bad]}"
    durations = [result["duration"] for result in results if isinstance(result.get("duration"), (int, float))]
    return _case(
        _string(element.get("name")),
        _string(feature.get("name")),
        status,
        _finite(sum(min(max(duration, 0), 10**15) for duration in durations) / 1e9) if durations else None,
        message,
        trace,
        _file_line(_string(feature.get("uri")), _string(element.get("line"))),
    )


def _scenario_status(words: list[str]) -> Status:
    """The status of a scenario. An undefined step fails it, as in Cucumber; a pending step skips it."""
    order: tuple[tuple[tuple[str, ...], Status], ...] = (
        (("failed", "undefined", "ambiguous"), "Failed"),
        (("pending", "skipped", "disabled"), "Skipped"),
    )
    for group, status in order:
        if any(word in group for word in words):
            return status
    return "Succeeded" if all(word == "passed" for word in words) else "Unknown"


def _case(
    name: str,
    suite: str,
    status: Status,
    seconds: float | None,
    message: str = "",
    trace: str = "",
    place: str = "",
) -> TestCase:
    bad = status in ("Failed", "Error")
    return TestCase(
        clean(name, _READ * MAX_NAME).replace("\n", " ") or "(no name)",
        clean(suite, _READ * MAX_NAME).replace("\n", " "),
        status,
        seconds,
        "" if status == "Succeeded" else clean(message, _READ * MAX_MESSAGE),
        clean((_place(trace) if bad else "") or place, MAX_NAME),
    )


def _message_of(message: str, text: str) -> str:
    """The message or, without one, the first lines of the text; go-junit-report's message is always `Failed`."""
    return (message if message != "Failed" else "") or "\n".join(text.strip().splitlines()[:5])


def _place(trace: str) -> str:
    """The first place in a stack trace that is in the user's own code, not in a framework."""
    found = ""
    for line in trace[:20_000].splitlines()[:200]:
        place = _place_in(line[:1000])
        if place and not _FRAMEWORK.search(line[:1000]):
            return place
        found = found or place
    return found


def _place_in(line: str) -> str:
    if match := _PYTHON_PLACE.search(line):
        return f"{match[1]}:{match[2]}"
    match = _PLACE.search(line)
    # In two steps: one pattern for both would need time that grows with the square of the line's length.
    path = _PATH.search(line[max(0, match.start() - 200) : match.start()]) if match else None
    return f"{path[0]}{match[1]}:{match[2]}" if match and path else ""


def _file_line(file: str, line: str) -> str:
    return f"{file}:{line}" if file and line.isdecimal() else file


def _seconds(text: str) -> float | None:
    """Seconds as tools write them: `0.012`, `1,234.5`, or `0,012` in locales with a decimal comma."""
    if "," in text:
        text = text.replace(",", "") if "." in text else text.replace(",", ".")
    try:
        return _finite(float(text))
    except ValueError:
        return None


def _clock(text: str) -> float | None:
    """`00:00:01.5000000` or `1.02:00:00`, in seconds."""
    match = re.fullmatch(r"(?:(\d{1,5})\.)?(\d{1,3}):(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)", text)
    if not match:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _finite(value: float) -> float | None:
    return value if 0 <= value < 1e9 else None  # a NaN is neither


def _string(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) else ""


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
