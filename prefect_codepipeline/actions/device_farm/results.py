"""The results of a run in Device Farm: numbers, a row for each device, and why it failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_codepipeline.actions.device_farm.runs import Farm

_BAD = ("FAILED", "ERRORED", "STOPPED")
_COUNTED = ("passed", "failed", "errored", "warned", "skipped", "stopped")
_FILES = {"LOG": "logs", "FILE": "files", "SCREENSHOT": "screenshots"}


def counts_of(result: Mapping[str, Any]) -> str:
    """The numbers of tests, such as `10 tests: 8 passed, 2 failed`."""
    counters = result.get("counters") or {}
    numbers = ", ".join(f"{counters[name]} {name}" for name in _COUNTED if counters.get(name))
    return f"{counters.get('total', 0)} tests" + (f": {numbers}" if numbers else "")


def rows_of(jobs: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The rows of a table, one for each device."""
    return [
        {
            "device": _device(job),
            "result": str(job.get("result", "")),
            "tests": counts_of(job),
            "message": str(job.get("message") or ""),
        }
        for job in jobs
    ]


def files_of(farm: Farm, run: str) -> str:
    """How many files of each kind the run has left."""
    found = {
        name: len(farm.listed("list_artifacts", "artifacts", run, type=kind)) for kind, name in _FILES.items()
    }
    return ", ".join(f"{number} {name}" for name, number in found.items())


def cause_of(farm: Farm, run: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> str:
    """Why the run did not succeed: the first test that failed and its device, or what is known."""
    job = _first_bad(jobs)
    if job is None:
        return _reason(run)
    suite = _first_bad(farm.listed("list_suites", "suites", str(job["arn"])))
    test = _first_bad(farm.listed("list_tests", "tests", str(suite["arn"]))) if suite else None
    place = f" on device {_device(job)!r}"
    if suite and test:
        return f"; first{place}: test {test.get('name')!r} of {suite.get('name')!r}{_reason(test)}"
    return f"; first{place}{_reason(suite or job)}"


def _first_bad(found: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((each for each in found if each.get("result") in _BAD), None)


def _reason(result: Mapping[str, Any]) -> str:
    said = result.get("message") or result.get("resultCode")
    return f": {said}" if said else ""


def _device(job: Mapping[str, Any]) -> str:
    device = job.get("device") or {}
    return " ".join(filter(None, (device.get("name") or job.get("name"), device.get("os"))))
