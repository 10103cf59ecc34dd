"""The alarms of a deployment group: moto's CloudWatch, a real service on loopback, and real commands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.actions.deploying.traffic import alarms as module
from prefect_codepipeline.actions.deploying.traffic.alarms import alarm_of
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.model.codedeploy.group import Alarms

SECRET = "hunter2-hunter2"


@pytest.fixture
def context(make_aws_context: Callable[..., ActionContext]) -> ActionContext:
    return make_aws_context("Deploy/CodeDeploy")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.02)


def look(context: ActionContext, **alarms: Any) -> str | None:
    found = Alarms.model_validate(alarms)
    return asyncio.run(alarm_of(found, context, lambda text: text.replace(SECRET, "***")))


class Service:
    """Answers each request with the next of its statuses, and with the last one again; None is no answer."""

    def __init__(self) -> None:
        self.statuses: list[int | None] = [200]
        self.logins: list[str | None] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.logins.append(self.headers.get("authorization"))
                statuses = service.statuses
                status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/health"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    started = Service()
    yield started
    started.stop()


@pytest.fixture
def cloudwatch(aws_endpoint: Any, aws: Callable[[str], Any]) -> Iterator[Any]:
    client = aws("cloudwatch")
    for name in ("Errors", "Slow"):
        client.put_metric_alarm(
            AlarmName=name, MetricName="5xx", Namespace="Shop", Statistic="Sum", Period=60, Threshold=1,
            EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
    yield client
    client.delete_alarms(AlarmNames=["Errors", "Slow"])


def test_alarms_of_cloudwatch(context: ActionContext, cloudwatch: Any) -> None:
    assert look(context, cloudwatch=["Errors", "Slow"]) is None  # INSUFFICIENT_DATA is no alarm

    cloudwatch.set_alarm_state(AlarmName="Slow", StateValue="ALARM", StateReason="9 of 9 points")
    assert look(context, cloudwatch=["Errors", "Slow"]) == "alarm 'Slow' is in state ALARM: 9 of 9 points"
    assert look(context, cloudwatch=["Errors"]) is None


def test_an_alarm_that_does_not_exist_or_cannot_be_read_counts(
    context: ActionContext, cloudwatch: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    missing = "there is no CloudWatch alarm 'Nothing' in region us-east-1; correct the alarms of the deployment group"
    assert (
        look(context, cloudwatch=["Nothing"])
        == f"{missing}; without ignore_poll_failure that counts as an alarm"
    )
    assert look(context, cloudwatch=["Nothing"], ignore_poll_failure=True) is None
    assert f"Not counted as an alarm, because of ignore_poll_failure: {missing}" in caplog.text


@pytest.mark.parametrize(
    ("statuses", "is_alarm"),
    [
        ([200], False),
        ([204], False),
        ([300], True),
        ([404], True),
        ([503], True),
        ([None, None, 200], False),
        ([None, 500], True),
    ],
)
def test_a_url_must_answer_with_a_status_of_success(
    context: ActionContext, service: Service, statuses: list[int | None], is_alarm: bool
) -> None:
    service.statuses = list(statuses)

    said = look(context, urls=[service.url])

    assert said == (
        f"GET {service.url} responded with {statuses[-1]}, not with 200-299" if is_alarm else None
    )


def test_a_url_that_does_not_answer(context: ActionContext, service: Service) -> None:
    service.statuses = [None]

    said = look(context, urls=[service.url]) or ""
    assert said.startswith(f"GET {service.url} got no response in 3 attempts: ")
    assert said.endswith("; without ignore_poll_failure that counts as an alarm")
    assert look(context, urls=[service.url], ignore_poll_failure=True) is None


def test_the_login_in_a_url_is_used_and_not_shown(context: ActionContext, service: Service) -> None:
    service.statuses = [500]
    url = service.url.replace("//", "//watch:geheim@") + "?token=geheim"

    said = look(context, urls=[url])

    assert said == f"GET {service.url}?... responded with 500, not with 200-299"
    assert service.logins == ["Basic d2F0Y2g6Z2VoZWlt"]


def test_commands_must_succeed(context: ActionContext) -> None:
    assert look(context, commands=[["true"], ["sh", "-c", "echo fine"]]) is None
    assert look(context, commands=[["true"], ["sh", "-c", f"echo rate 17 {SECRET}; exit 2"]]) == (
        "command \"sh -c 'echo rate 17 ***; exit 2'\" on the worker exited with 2; its last output: rate 17 ***"
    )


def test_a_command_that_does_not_run_or_does_not_end_cannot_be_read(
    context: ActionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND_SECONDS", 0.5)
    for command, why in (
        ("no-such-program", "could not be started: No such file or directory"),
        ("sleep 60", "did not end within 0.5 seconds and was ended"),
    ):
        assert look(context, commands=[command.split()]) == (
            f"command {command!r} on the worker {why}; without ignore_poll_failure that counts as an alarm"
        )
        assert look(context, commands=[command.split()], ignore_poll_failure=True) is None


def test_all_alarms_are_looked_at_and_each_that_is_on_is_named(
    context: ActionContext, service: Service
) -> None:
    service.statuses = [500]

    said = look(context, urls=[service.url], commands=[["false"]])

    assert said == (
        f"GET {service.url} responded with 500, not with 200-299; command 'false' on the worker exited with 1"
    )


def test_a_look_that_is_cancelled_ends_its_commands(context: ActionContext, tmp_path: Path) -> None:
    file = tmp_path / "alarm.pid"
    alarms = Alarms.model_validate({"commands": [["sh", "-c", f"echo $$ >{file}; exec sleep 100"]]})

    async def cancel() -> None:
        watching = asyncio.create_task(alarm_of(alarms, context, str))
        while not (file.exists() and file.read_text().strip()):
            await asyncio.sleep(0.02)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    asyncio.run(cancel())

    assert not Path(f"/proc/{int(file.read_text())}").exists()
