"""Runs in Device Farm: answers from a server by AWS's model, and uploads to a server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import (
    ActionContext,
    ActionResult,
    Earlier,
    WorkGoesOn,
    get_provider,
)
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.tasks.providers.build.device_farm_test import (
    DeviceFarmConfiguration,
    run_on_devices,
)

PROJECT = "arn:aws:devicefarm:us-west-2:111122223333:project:P1"
RUN = "arn:aws:devicefarm:us-west-2:111122223333:run:P1/R1"
PAGE = "https://us-west-2.console.aws.amazon.com/devicefarm/home?region=us-west-2#/mobile/projects/P1/runs/R1"
UPLOAD = "arn:aws:devicefarm:us-west-2:111122223333:upload:P1/"
JOB = "arn:aws:devicefarm:us-west-2:111122223333:job:P1/"
POOL = "arn:aws:devicefarm:us-west-2::devicepool:top"
GIVEN = {
    "AppType": "Android",
    "ProjectId": "P1",
    "App": "build/app.apk",
    "AppiumVersion": "1.9.1",
    "DevicePoolArn": POOL,
    "TestType": "APPIUM_PYTHON",
    "Test": "tests.zip",
}


class Uploads:
    """Receives files; `statuses` are answered first, then 200."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        uploads = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                uploads.received.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(uploads.statuses.pop(0) if uploads.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def run(status: str = "COMPLETED", result: str = "PASSED", **more: Any) -> dict[str, Any]:
    counters = {"total": 3, "passed": 3, "failed": 0}
    return {"run": {"arn": RUN, "status": status, "result": result, "counters": counters, **more}}


def job(result: str, device: str, **more: Any) -> dict[str, Any]:
    named = {"name": device, "os": "14"}
    return {
        "arn": f"{JOB}{device}",
        "result": result,
        "device": named,
        "counters": {"total": 3, "passed": 3},
        **more,
    }


@pytest.fixture
def uploads() -> Iterator[Uploads]:
    uploads = Uploads()
    yield uploads
    uploads.stop()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, uploads: Uploads) -> Iterator[AwsServer]:
    """Device Farm, in which everything succeeds."""
    server = AwsServer()
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "KEY",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(client, "ATTEMPTS", 1)

    def create(request: dict[str, Any]) -> dict[str, Any]:
        name = request["name"]
        return {"upload": {"arn": f"{UPLOAD}{name}", "url": f"{uploads.url}/{name}?X-Amz-Signature=planted"}}

    server.answers |= {
        "ListProjects": lambda _: {"projects": [{"arn": f"{PROJECT}0", "name": "old"}, {"arn": PROJECT, "name": "shop"}]},
        "CreateUpload": create,
        "GetUpload": lambda request: {"upload": {"arn": request["arn"], "status": "SUCCEEDED"}},
        "ScheduleRun": lambda _: run("SCHEDULING", "PENDING"),
        "GetRun": lambda _: run(),
        "ListRuns": lambda _: {"runs": []},
        "ListJobs": lambda _: {"jobs": [job("PASSED", "Pixel"), job("PASSED", "Galaxy")]},
        "ListArtifacts": lambda request: {"artifacts": [{"name": "log"}] if request["type"] == "LOG" else []},
        "StopRun": lambda _: run("STOPPING"),
    }  # fmt: skip
    yield server
    server.stop()


@pytest.fixture
def make_context(make_aws_context: Any, tmp_path: Path) -> Callable[..., ActionContext]:
    tree = InputTree("App", tmp_path / "App")
    (tree.directory / "build").mkdir(parents=True)
    (tree.directory / "build" / "app.apk").write_bytes(b"the app" * 1000)
    (tree.directory / "tests.zip").write_bytes(b"the tests")
    return lambda **fields: make_aws_context("Test/DeviceFarm", **{"input_artifacts": (tree,), **fields})


def farm(context: ActionContext, **more: str | None) -> ActionResult:
    given = {name: value for name, value in {**GIVEN, **more}.items() if value is not None}
    return call_to_its_end(run_on_devices, DeviceFarmConfiguration.model_validate(given), context)


def test_files_go_up_and_the_run_is_followed_to_its_end(aws, uploads, make_context, caplog):
    caplog.set_level("INFO")
    aws.answers["GetUpload"] = in_turn(
        [{"upload": {"status": status}} for status in ("INITIALIZED", "PROCESSING", "SUCCEEDED")]
    )
    aws.answers["GetRun"] = in_turn(
        [run("RUNNING", "PENDING", totalJobs=4, completedJobs=1), run(totalJobs=4, completedJobs=4)]
    )
    told: list[dict[str, Any]] = []
    kept: dict[str, str] = {}
    context = make_context(
        report_progress=lambda **progress: told.append(progress), keep=lambda *_, **state: kept.update(state)
    )

    result = farm(context)

    name = context.action_execution_id
    assert result.summary == f"run '{name}' of project 'P1' 3 tests: 3 passed: PASSED"
    assert (result.external_execution_id, result.external_execution_url) == (RUN, PAGE)
    assert [(path.partition("?")[0], body[:9]) for path, _, body in uploads.received] == [
        ("/app.apk", b"the appth"),
        ("/tests.zip", b"the tests"),
    ]
    assert {headers["content-type"] for _, headers, _ in uploads.received} == {"application/octet-stream"}
    assert [request["type"] for request in aws.asked("CreateUpload")] == [
        "ANDROID_APP",
        "APPIUM_PYTHON_TEST_PACKAGE",
    ]
    (asked,) = aws.asked("ScheduleRun")
    assert asked["name"] == name
    assert (asked["projectArn"], asked["appArn"], asked["devicePoolArn"]) == (
        PROJECT,
        f"{UPLOAD}app.apk",
        POOL,
    )
    assert asked["test"]["testPackageArn"] == f"{UPLOAD}tests.zip"
    assert ("RUNNING: 1 of 4 devices, 3 tests: 3 passed", 25) in [
        (each["summary"], each["percent"]) for each in told
    ]
    assert kept["run"] == RUN
    assert set(aws.regions) == {"us-west-2"}
    assert "Pixel 14 PASSED 3 tests: 3 passed" in caplog.text
    assert "The files of the run: 1 logs, 0 files, 0 screenshots" in caplog.text
    assert "planted" not in caplog.text
    assert "planted" not in str(kept)
    # A look in mid-wait is one request.
    assert len(aws.asked("GetRun")) == 2
    assert len(aws.asked("ListProjects")) == 1
    assert aws.asked("ListRuns") == []


def test_every_setting_of_the_devices_is_passed_on(aws, make_context):
    farm(
        make_context(), TestType="BUILTIN_FUZZ", Test=None, FuzzEventCount="50", FuzzEventThrottle="10", FuzzRandomizerSeed="7",
        RecordAppPerformanceData="false", RecordVideo="true", RadioWifiEnabled="true", RadioGpsEnabled="false",
        CustomHostMachineArtifacts="$WORKING_DIRECTORY/out", CustomDeviceArtifacts="/sdcard/out", UnmeteredDevicesOnly="true",
        JobTimeoutMinutes="9", Latitude="47.5", Longitude="-122",
    )  # fmt: skip

    (asked,) = aws.asked("ScheduleRun")
    assert asked["test"] == {
        "type": "BUILTIN_FUZZ",
        "parameters": {
            "event_count": "50",
            "throttle": "10",
            "seed": "7",
            "app_performance_monitoring": "false",
        },
    }
    assert asked["configuration"] == {
        "radios": {"wifi": True, "gps": False},
        "customerArtifactPaths": {
            "deviceHostPaths": ["$WORKING_DIRECTORY/out"],
            "androidPaths": ["/sdcard/out"],
        },
        "location": {"latitude": 47.5, "longitude": -122.0},
        "billingMethod": "UNMETERED",
    }
    assert asked["executionConfiguration"] == {"jobTimeoutMinutes": 9, "videoCapture": True}


def test_a_web_application_is_not_uploaded(aws, make_context):
    farm(make_context(), AppType="Web", TestType="APPIUM_WEB_PYTHON")

    assert [request["name"] for request in aws.asked("CreateUpload")] == ["tests.zip"]
    assert "appArn" not in aws.asked("ScheduleRun")[0]


@pytest.mark.parametrize("result", ["FAILED", "ERRORED", "STOPPED", "SKIPPED"])
def test_any_other_result_fails_with_the_first_test_and_its_device(aws, make_context, result):
    counters = {"total": 3, "passed": 1, "failed": 2}
    aws.answers |= {
        "GetRun": lambda _: run(result=result, counters=counters),
        "ListJobs": lambda _: {"jobs": [job("PASSED", "Pixel"), job("FAILED", "Galaxy")]},
        "ListSuites": lambda _: {"suites": [{"arn": f"{JOB}s0", "result": "PASSED"}, {"arn": f"{JOB}s1", "name": "cart", "result": "FAILED"}]},
        "ListTests": lambda _: {"tests": [{"name": "pays", "result": "ERRORED", "message": "no button"}]},
    }  # fmt: skip

    with pytest.raises(ActionFailed) as failed:
        farm(make_context(action_execution_id="a1"))

    assert str(failed.value) == (
        f"run 'a1' of project 'P1' 3 tests: 1 passed, 2 failed, and ended with {result}; first on device 'Galaxy 14': "
        "test 'pays' of 'cart': no button"
    )
    assert failed.value.code == "JobFailed"
    assert (failed.value.external_execution_id, failed.value.external_execution_url) == (RUN, PAGE)


def test_warnings_are_a_success_and_a_run_without_devices_says_why_it_failed(aws, make_context):
    aws.answers["GetRun"] = lambda _: run(result="WARNED")
    assert "WARNED" in farm(make_context()).summary

    aws.answers |= {
        "GetRun": lambda _: run(result="ERRORED", resultCode="PARSING_FAILED"),
        "ListJobs": in_turn([RefusalError("LimitExceededException", "not now")]),
    }
    with pytest.raises(ActionFailed, match="ended with ERRORED: PARSING_FAILED"):
        farm(make_context())


@pytest.mark.parametrize("died", ["before keep", "after keep", "after the end"])
def test_another_process_follows_the_same_run(aws, make_context, died):
    runs: list[dict[str, Any]] = []

    def schedule(request: dict[str, Any]) -> dict[str, Any]:
        runs.append({"arn": RUN, "name": request["name"]})
        return run("SCHEDULING", "PENDING")

    aws.answers |= {
        "ScheduleRun": schedule,
        "GetRun": in_turn([run("RUNNING", "PENDING"), run("RUNNING", "PENDING"), run()]),
        "ListRuns": lambda _: {"runs": [{"arn": "arn:other", "name": "other"}, *runs]},
    }
    kept: dict[str, str] = {}
    first = make_context()

    def keep(*_: str, **state: str) -> None:
        if "run" in state and died == "before keep":
            first.cancellation.leave()
            raise ActionInterrupted("the worker died")
        kept.update(state)
        if "run" in state and died == "after keep":
            first.cancellation.leave()

    if died == "after the end":
        farm(replace(first, keep=keep))
        del kept["run"]  # and what it kept is lost, which is the harder case
    else:
        with pytest.raises(ActionInterrupted):
            farm(replace(first, keep=keep))
    assert aws.asked("StopRun") == []

    earlier = Earlier(datetime.now(timezone.utc), kept.get("run"), state=kept)
    second = make_context(earlier=earlier, action_execution_id=first.action_execution_id, input_artifacts=())
    assert get_provider(second.action.action_type_id).may_restart(None, second)
    result = farm(second)

    assert result.external_execution_id == RUN
    assert len(aws.asked("ScheduleRun")) == 1
    assert len(aws.asked("CreateUpload")) == 2


def test_a_start_whose_answer_is_lost_starts_once(aws, make_context, monkeypatch):
    runs: list[dict[str, Any]] = []

    def schedule(request: dict[str, Any]) -> dict[str, Any]:
        runs.append({"arn": RUN, "name": request["name"]})
        raise DroppedError

    aws.answers |= {"ScheduleRun": schedule, "ListRuns": lambda _: {"runs": list(runs)}}
    monkeypatch.setattr(client, "ATTEMPTS", 2)  # of all other requests

    assert farm(make_context()).external_execution_id == RUN
    assert len(aws.asked("ScheduleRun")) == 1


def test_throttling_an_outage_and_a_broken_upload_are_borne(aws, uploads, make_context, caplog):
    throttled = RefusalError("ThrottlingException", "slow down")
    away = RefusalError("ServiceUnavailable", "later", 503)
    aws.answers |= {
        "ListProjects": in_turn([away, away, {"projects": [{"arn": PROJECT}]}]),
        "GetUpload": in_turn([throttled, throttled, {"upload": {"status": "SUCCEEDED"}}]),
        "GetRun": in_turn([DroppedError(), DroppedError(), away, away, run()]),
    }
    uploads.statuses = [503]

    assert "PASSED" in farm(make_context()).summary
    assert "the upload was answered with 503" in caplog.text
    assert len(aws.asked("ScheduleRun")) == 1


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [({}, ActionAbandoned, "the run in Device Farm was stopped"), ({"seconds": 0.7}, ActionFailed, "ran out of time")],
)  # fmt: skip
def test_an_abandoned_run_and_one_that_takes_too_long_are_stopped(aws, make_context, fields, error, message):
    aws.answers["GetRun"] = lambda _: run("RUNNING", "PENDING")
    context = make_context(**fields)

    def keep(*_: str, **state: str) -> None:
        if "run" in state and not fields:
            context.cancellation.cancel()

    with pytest.raises(error, match=message):
        farm(replace(context, keep=keep))
    assert aws.asked("StopRun") == [{"arn": RUN}]


def test_a_run_that_cannot_be_stopped_is_said_to_run(aws, make_context):
    aws.answers |= {
        "GetRun": lambda _: run("RUNNING", "PENDING"),
        "StopRun": in_turn([RefusalError("ServiceAccountException", "no")]),
    }
    with pytest.raises(
        ActionFailed, match=r"may still run: .*stop it at https://us-west-2.console"
    ) as failed:
        farm(make_context(seconds=0.7))
    assert failed.value.code == "Timeout"


def test_an_action_abandoned_during_the_upload_starts_nothing(aws, make_context):
    aws.answers["GetUpload"] = lambda _: {"upload": {"status": "PROCESSING"}}
    context = make_context()
    configuration = DeviceFarmConfiguration.model_validate(GIVEN)
    with pytest.raises(WorkGoesOn):
        run_on_devices(configuration, context)
    context.cancellation.cancel()

    with pytest.raises(ActionAbandoned):
        farm(context)
    assert aws.asked("ScheduleRun") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"App": "none.apk"}, "App: input artifact 'App' has no file 'none.apk'"),
        ({"App": "../x"}, "App: input artifact 'App' has no file '../x'"),
        ({"Test": None}, "TestType APPIUM_PYTHON needs in Test the path of the tests"),
        ({"TestType": "CALABASH"}, "TestType CALABASH has ended in Device Farm; it offers BUILTIN_FUZZ"),
        ({"Latitude": "1"}, "Latitude and Longitude belong together"),
        ({"ProjectId": "P2"}, r"no project 'P2' of Device Farm in region us-west-2; .*there are: P10 \(old\), P1 \(shop\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_the_run(aws, make_context, change, message):
    with pytest.raises(ActionFailed, match=message) as failed:
        farm(make_context(), **change)

    assert failed.value.code == "ConfigurationError"
    assert aws.asked("ScheduleRun") == []


def test_a_file_that_device_farm_does_not_accept(aws, uploads, make_context):
    refused = {"status": "FAILED", "message": "no valid APK"}
    aws.answers["GetUpload"] = lambda _: {"upload": refused}
    with pytest.raises(ActionFailed, match=r"Device Farm does not accept 'build/app.apk': no valid APK"):
        farm(make_context())

    uploads.statuses = [403]
    with pytest.raises(ActionFailed, match="the upload was answered with 403") as failed:
        farm(make_context())
    assert "planted" not in str(failed.value)


@pytest.mark.parametrize(
    ("refused", "code"),
    [("AccessDeniedException", "PermissionError"), ("ExpiredTokenException", "PermissionError"), ("ArgumentException", "ConfigurationError")],
)  # fmt: skip
def test_what_device_farm_refuses(aws, make_context, refused, code):
    aws.answers["ScheduleRun"] = in_turn([RefusalError(refused, "because")])

    with pytest.raises(
        ActionFailed, match=r"starting run 'a1' in project 'P1' in region us-west-2: AWS refused: .*because"
    ) as failed:
        farm(make_context(action_execution_id="a1"))
    assert failed.value.code == code


@pytest.mark.parametrize(
    "change", [{"AppType": "Windows"}, {"TestType": "MONKEY"}, {"FuzzEventCount": "10001"}, {"Y": "1"}]
)
def test_rejects_configuration(change):
    with pytest.raises(ValidationError):
        DeviceFarmConfiguration.model_validate({**GIVEN, **change})
