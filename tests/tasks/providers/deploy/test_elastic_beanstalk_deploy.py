"""Deploy/AWS/ElasticBeanstalk/1 against written answers of Elastic Beanstalk, and moto's S3, over HTTP."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier, get_provider
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.deploy import elastic_beanstalk_deploy
from prefect_codepipeline.tasks.providers.deploy.elastic_beanstalk_deploy import (
    ElasticBeanstalkConfiguration,
    deploy_to_elastic_beanstalk,
)

ID = "11111111-2222-4333-8444-555555555555"
LABEL = f"codepipeline-{ID}"
ARN = "arn:aws:elasticbeanstalk:us-east-1:123456789012:environment/shop/shop-prod"
PAGE = "https://us-east-1.console.aws.amazon.com/elasticbeanstalk/home?region=us-east-1#/environment/dashboard?environmentId=e-1"
WHAT = "environment 'shop-prod' of application 'shop' in us-east-1"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 0)


def now(seconds: float = 0) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


class Beanstalk(AwsServer):
    """Elastic Beanstalk with environment `shop-prod`: an update starts, and a test gives its looks in order."""

    def __init__(self, bucket: str) -> None:
        super().__init__()
        self.versions: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.before = environment("Ready", VersionLabel="v1")
        self.looks = [environment("Ready")]
        self.events: list[dict[str, Any]] = []
        self.answers |= {
            "CreateStorageLocation": lambda _: {"S3Bucket": bucket},
            "CreateApplicationVersion": self.create,
            "DescribeApplicationVersions": lambda request: {
                "ApplicationVersions": [
                    {"VersionLabel": each["VersionLabel"]}
                    for each in self.versions
                    if each["VersionLabel"] in request["VersionLabels"]
                ]
            },
            "UpdateEnvironment": self.update,
            "DescribeEnvironments": self.describe,
            "DescribeEvents": lambda request: {
                "Events": [each for each in self.events if each["EventDate"] >= _aware(request["StartTime"])]
            },
            "AbortEnvironmentUpdate": lambda _: {},
        }

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        self.versions.append(request)
        return {"ApplicationVersion": {"VersionLabel": request["VersionLabel"]}}

    def update(self, request: dict[str, Any]) -> dict[str, Any]:
        self.updates.append(request)
        return environment("Updating")

    def describe(self, _: dict[str, Any]) -> dict[str, Any]:
        if not self.updates:
            return {"Environments": [self.before]}
        return {"Environments": [self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]]}


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def environment(status: str, **more: Any) -> dict[str, Any]:
    return {
        "EnvironmentName": "shop-prod",
        "EnvironmentId": "e-1",
        "EnvironmentArn": ARN,
        "VersionLabel": LABEL,
        "Status": status,
        "Health": "Green",
        **more,
    }


def event(message: str, severity: str = "INFO", at: float = 0, **more: str) -> dict[str, Any]:
    return {"Message": message, "Severity": severity, "EventDate": now(at), **more}


@pytest.fixture
def beanstalk(make_bucket: Any, bucket: str) -> Iterator[Beanstalk]:
    server = Beanstalk(bucket)
    yield server
    server.stop()


@pytest.fixture
def bucket(make_bucket: Any) -> str:
    return str(make_bucket(versions=False))


@pytest.fixture
def make_context(make_aws_context: Any, beanstalk: Beanstalk, tmp_path: Path) -> Callable[..., ActionContext]:
    (tmp_path / "App" / "app").mkdir(parents=True)
    (tmp_path / "App" / "app" / "main.py").write_text("print(1)")
    (tmp_path / "App" / "Procfile").write_text("web: python app/main.py")
    given = {
        "input_artifacts": (InputTree("App", tmp_path / "App"),),
        "action_execution_id": ID,
        "settings": ActionSettings(aws=AwsSettings(endpoint_urls={"elasticbeanstalk": beanstalk.url})),
    }
    return lambda **fields: make_aws_context("Deploy/ElasticBeanstalk", **{**given, **fields})


def run(context: ActionContext) -> ActionResult:
    configuration = ElasticBeanstalkConfiguration.model_validate(
        {"ApplicationName": "shop", "EnvironmentName": "shop-prod"}
    )
    return call_to_its_end(deploy_to_elastic_beanstalk, configuration, context)


def test_the_bundle_becomes_a_version_and_the_environment_gets_it(
    aws, beanstalk, bucket, make_context, caplog
):
    caplog.set_level(logging.INFO, "aws-action")
    beanstalk.looks = [
        environment("Updating", Health="Grey"),
        environment("Updating", Health="Grey"),
        environment("Ready", Health="Yellow"),
    ]
    looks = iter(
        [
            [event("Environment update is starting.")],
            [],
            [event("Health is Severe.", "WARN", 1), event("Update completed.", at=2)],
        ]
    )
    answer = beanstalk.answers["DescribeEvents"]

    def more_each_time(request: dict[str, Any]) -> dict[str, Any]:
        beanstalk.events += next(looks, [])
        return {"Events": list(reversed(answer(request)["Events"]))}  # AWS's newest is first

    beanstalk.answers["DescribeEvents"] = more_each_time
    told: list[str] = []

    result = run(make_context(report_progress=lambda summary, **_: told.append(summary)))

    key = f"shop/{LABEL}.zip"
    assert beanstalk.versions == [
        {
            "ApplicationName": "shop",
            "VersionLabel": LABEL,
            "Description": "Pipeline release",
            "SourceBundle": {"S3Bucket": bucket, "S3Key": key},
            "AutoCreateApplication": False,
        }
    ]
    archive = aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert sorted(zipfile.ZipFile(io.BytesIO(archive)).namelist()) == ["Procfile", "app/", "app/main.py"]
    assert beanstalk.updates == [
        {"ApplicationName": "shop", "EnvironmentName": "shop-prod", "VersionLabel": LABEL}
    ]
    assert result.summary == f"{WHAT} has version '{LABEL}'; its health is Yellow"
    assert (result.external_execution_id, result.external_execution_url) == (LABEL, PAGE)
    assert told == [
        f"uploading the bundle to s3://{bucket}/{key}",
        "Updating, health Grey: Environment update is starting.",
        "Updating, health Grey: Environment update is starting.",
        "Ready, health Yellow: Update completed.",
    ]
    said = [record.message for record in caplog.records if record.name == "aws-action"]
    logged = [message for message in said if not message.startswith("Started")]
    assert logged == [
        "INFO Environment update is starting.",
        "WARN Health is Severe.",
        "INFO Update completed.",
    ]


def test_an_environment_that_was_put_back_has_its_first_error(beanstalk, make_context):
    beanstalk.looks = [environment("Updating"), environment("Ready", VersionLabel="v1")]
    beanstalk.events = [
        event("long ago", "ERROR", -9999),
        event("of another request", "ERROR", 1, RequestId="other"),
        event("[Instance: i-1] Command failed: exit code 1", "ERROR", 2),
        event("Failed to deploy application.", "ERROR", 3),
    ]

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert str(failed.value) == (
        f"the update of {WHAT} to version '{LABEL}' failed: [Instance: i-1] Command failed: exit code 1; the environment "
        "has version 'v1'"
    )
    assert failed.value.code == "JobFailed"
    assert (failed.value.external_execution_id, failed.value.external_execution_url) == (LABEL, PAGE)
    assert not beanstalk.asked("AbortEnvironmentUpdate")


@pytest.mark.parametrize("request_id", ["own", None])
def test_an_update_that_completed_with_errors_has_failed(beanstalk, make_context, request_id):
    error = event("Command failed on instance i-1", "ERROR", 1)
    beanstalk.events = [error]
    answer = beanstalk.answers["UpdateEnvironment"]
    own: list[str] = []
    context = make_context(keep=lambda *_, **state: own.append(state.get("request", "")))

    def update(request: dict[str, Any]) -> dict[str, Any]:
        return dict(answer(request))

    def events(_: dict[str, Any]) -> dict[str, Any]:
        request = next(filter(None, own))
        return {"Events": [{**error, "RequestId": request} if request_id else error]}

    beanstalk.answers |= {"UpdateEnvironment": update, "DescribeEvents": events}

    if request_id is None:  # it may be of something else
        assert run(context).external_execution_id == LABEL
        return
    with pytest.raises(
        ActionFailed, match="failed: it completed with errors: Command failed on instance i-1"
    ):
        run(context)


def test_an_answer_that_is_older_than_the_update_is_no_end(beanstalk, make_context, monkeypatch):
    beanstalk.looks = [environment("Ready", VersionLabel="v1"), environment("Ready")]

    assert run(make_context()).external_execution_id == LABEL

    monkeypatch.setattr(elastic_beanstalk_deploy, "_STALE", timedelta(0))
    beanstalk.looks = [environment("Ready", VersionLabel="v1")]
    with pytest.raises(ActionFailed, match=r"failed: the environment has version 'v1'$"):
        run(make_context())


def test_an_environment_that_is_terminated_meanwhile(beanstalk, make_context):
    beanstalk.looks = [environment("Updating"), environment("Terminating")]

    with pytest.raises(ActionFailed, match="was terminated in the meantime, not by this action"):
        run(make_context())


@pytest.mark.parametrize("kind", ["lost", "throttled", "away"])
@pytest.mark.parametrize(
    "operation", ["CreateApplicationVersion", "UpdateEnvironment", "DescribeEnvironments", "DescribeEvents"]
)
def test_a_lost_answer_throttling_and_silence_start_nothing_twice(
    beanstalk, make_context, monkeypatch, operation, kind
):
    monkeypatch.setattr(client, "ATTEMPTS", 3)  # boto3 would repeat a lost request by itself
    monkeypatch.setattr("time.sleep", lambda _: None)  # its pauses
    faults = {
        "lost": DroppedError(),
        "throttled": RefusalError("Throttling", "Rate exceeded"),
        "away": RefusalError("InternalFailure", "away", 500),
    }
    beanstalk.fail_once(operation, faults[kind], is_done=kind == "lost")

    assert run(make_context()).external_execution_id == LABEL
    assert (len(beanstalk.versions), len(beanstalk.updates)) == (1, 1)


@pytest.mark.parametrize("died", ["before the version is kept", "before keep", "after keep", "after the end"])
def test_another_process_follows_the_same_update(beanstalk, make_context, died):
    beanstalk.looks = [environment("Updating"), environment("Ready")]
    kept: dict[str, str] = {}
    first = make_context()

    def keep(_: str | None = None, __: str | None = None, **state: str) -> None:
        if died in ("after keep", "after the end") or (died == "before keep" and "version" in state):
            kept.update(state)
        if (died == "before the version is kept" and "version" in state) or (
            "update" in state and died != "after the end"
        ):
            first.cancellation.leave()

    first = make_context(keep=keep, cancellation=first.cancellation)
    if died == "after the end":
        run(first)
        kept.clear()  # and what it kept is lost, which is the harder case
    else:
        with pytest.raises(ActionInterrupted):
            run(first)
    assert not beanstalk.asked("AbortEnvironmentUpdate")

    second = make_context(
        earlier=Earlier(now(), kept.get("update"), state=kept), input_artifacts=()
    )  # are gone
    assert get_provider(second.action.action_type_id).may_restart(None, second)
    result = run(second)

    assert result.external_execution_id == LABEL
    assert (len(beanstalk.versions), len(beanstalk.updates)) == (1, 1)


def test_an_update_that_was_put_back_before_it_was_kept_is_not_started_again(beanstalk, make_context):
    beanstalk.updates = [{}]
    beanstalk.looks = [environment("Ready", VersionLabel="v1")]
    beanstalk.events = [event("Failed to deploy application.", "ERROR", 1, VersionLabel=LABEL)]

    with pytest.raises(ActionFailed, match="Failed to deploy application"):
        run(make_context(earlier=Earlier(now(), LABEL, state={"version": LABEL})))
    assert len(beanstalk.updates) == 1


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (environment("Updating", AbortableOperationInProgress=True), "is aborted, and Elastic Beanstalk puts the version"),
        (environment("Updating"), "is Updating, which Elastic Beanstalk cannot abort: it continues in AWS"),
        (environment("Updating", AbortableOperationInProgress=True, VersionLabel="v3"), "cannot abort: it continues"),
        (environment("Ready"), r"abandoned: its execution was cancelled$|was ended$"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("why", ["abandoned", "timeout"])
def test_an_abandoned_update_and_one_whose_time_is_up_are_aborted(beanstalk, make_context, why, state, said):
    beanstalk.updates = [{}]
    beanstalk.looks = [state]
    kept = {"version": LABEL, "update": LABEL}
    context = make_context(
        seconds=60 if why == "abandoned" else 0, earlier=Earlier(now(), LABEL, PAGE, kept), input_artifacts=()
    )
    if why == "abandoned":
        context.cancellation.cancel()

    with pytest.raises((ActionAbandoned, ActionFailed), match=said) as ended:
        run(context)

    assert isinstance(ended.value, ActionAbandoned) is (why == "abandoned")
    assert getattr(ended.value, "code", "Timeout") == "Timeout"
    aborted = [{"EnvironmentName": "shop-prod"}] if "is aborted" in said else []
    assert beanstalk.asked("AbortEnvironmentUpdate") == aborted


@pytest.mark.parametrize(
    ("before", "code", "message"),
    [
        (
            environment("Updating"),
            "JobFailed",
            f"{WHAT} is Updating, and takes an update only when it is Ready",
        ),
        (environment("Terminated"), "ConfigurationError", f"there is no {WHAT}; correct ApplicationName"),
    ],
)
def test_an_environment_that_takes_no_update_gets_no_version(beanstalk, make_context, before, code, message):
    beanstalk.before = before

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert message in str(failed.value)
    assert failed.value.code == code
    assert not beanstalk.versions


def test_a_bundle_that_is_too_large(beanstalk, make_context, monkeypatch):
    monkeypatch.setattr(elastic_beanstalk_deploy, "MOST_BYTES", 100)

    with pytest.raises(
        ActionFailed, match=r"input artifact 'App' has \d+ bytes .*; the limit of a bundle is 100"
    ):
        run(make_context())
    assert not beanstalk.versions


@pytest.mark.parametrize(
    ("operation", "answer", "code", "message"),
    [
        ("UpdateEnvironment", RefusalError("InvalidParameterValue", "Environment named shop-prod is in an invalid state "
         "for this operation. Must be Ready."), "JobFailed", "Must be Ready. Wait until its other update has ended"),
        ("UpdateEnvironment", RefusalError("InsufficientPrivilegesException", "no", 403), "PermissionError", f"updating {WHAT}"),
        ("CreateApplicationVersion", None, "PermissionError", f"creating version '{LABEL}' of application 'shop'"),
        ("CreateStorageLocation", None, "PermissionError", "looking up the storage bucket of Elastic Beanstalk"),
        ("DescribeEvents", RefusalError("ExpiredToken", "x"), "PermissionError", "renew the credentials"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_named(beanstalk, make_context, operation, answer, code, message):
    beanstalk.answers.pop(operation)
    if answer is not None:
        beanstalk.answers[operation] = in_turn([answer])

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert message in str(failed.value)
    assert failed.value.code == code
    assert "testing-secret" not in str(failed.value)


def test_an_endpoint_that_answers_html(beanstalk, make_context):
    beanstalk.page = (200, b"<html><body>Welcome</body></html>")

    with pytest.raises(ActionFailed, match="what answered is not AWS; correct the endpoint_url"):
        run(make_context())


@pytest.mark.parametrize(
    ("change", "message"), [({"EnvironmentName": ""}, "at least 1"), ({"X": "1"}, "Extra")]
)
def test_rejects_configuration(change, message):
    given = {"ApplicationName": "shop", "EnvironmentName": "shop-prod", **change}
    with pytest.raises(ValidationError, match=message):
        ElasticBeanstalkConfiguration.model_validate(given)
