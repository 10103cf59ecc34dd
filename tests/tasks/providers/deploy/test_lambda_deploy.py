"""Deploy/AWS/Lambda/1, against moto's Lambda and CloudWatch over HTTP."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from faulty_endpoint import Fault, html, json_refusal
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, lambda_alias, remote_work
from prefect_codepipeline.actions.aws.lambda_alias import parse_strategy
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.deploy import lambda_deploy
from prefect_codepipeline.tasks.providers.deploy.lambda_deploy import (
    LambdaDeployConfiguration,
    deploy_to_lambda,
)

LINEAR = "Linear40PercentEvery1Minute"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(lambda_deploy, "_LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 1)


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A minute passes with each look at the alias."""
    clock = Clock()
    monkeypatch.setattr(lambda_alias, "datetime", clock)
    return clock


class Clock:
    """`datetime`, whose `now` moves on by a minute each time."""

    fromisoformat = datetime.fromisoformat

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, 9, tzinfo=timezone.utc)

    def now(self, _: Any) -> datetime:
        self.at += timedelta(minutes=1)
        return self.at - timedelta(minutes=1)


def zipped(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", text)
    return buffer.getvalue()


class Function:
    """A function with version 1, to which the alias `live` leads."""

    def __init__(self, aws: Any) -> None:
        self.functions, self.cloudwatch = aws("lambda"), aws("cloudwatch")
        self.name = f"f-{uuid4().hex[:8]}"
        trust = {"Version": "2012-10-17", "Statement": []}
        role = aws("iam").create_role(RoleName=self.name, AssumeRolePolicyDocument=json.dumps(trust))
        self.functions.create_function(
            FunctionName=self.name,
            Runtime="python3.12",
            Handler="app.handler",
            Role=role["Role"]["Arn"],
            Code={"ZipFile": zipped("one")},
            Publish=True,
        )
        self.functions.create_alias(FunctionName=self.name, Name="live", FunctionVersion="1")

    def alias(self) -> tuple[str, dict[str, float]]:
        answer = self.functions.get_alias(FunctionName=self.name, Name="live")
        return answer["FunctionVersion"], answer.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})

    def versions(self) -> list[str]:
        found = self.functions.list_versions_by_function(FunctionName=self.name)["Versions"]
        return [each["Version"] for each in found if each["Version"] != "$LATEST"]

    def make_alarm(self, state: str) -> str:
        name = f"alarm-{uuid4().hex[:8]}"
        self.cloudwatch.put_metric_alarm(
            AlarmName=name, MetricName="Errors", Namespace="AWS/Lambda", Period=60, EvaluationPeriods=1,
            Threshold=1, ComparisonOperator="GreaterThanThreshold", Statistic="Sum",
        )  # fmt: skip
        self.set_alarm(name, state)
        return name

    def set_alarm(self, name: str, state: str) -> None:
        self.cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="errors went up")


@pytest.fixture
def function(aws: Any) -> Function:
    return Function(aws)


@pytest.fixture
def make_context(make_aws_context: Any, tmp_path: Path) -> Callable[..., ActionContext]:
    times = [1e9]

    def make(code: str | None = "two", **fields: Any) -> ActionContext:
        if code is None:
            return make_aws_context("Deploy/Lambda", **fields)
        tree = InputTree("App", tmp_path / f"App-{uuid4().hex[:6]}")
        (tree.directory / "lib").mkdir(parents=True)
        (tree.directory / "app.py").write_text(code)
        (tree.directory / "lib" / "more.py").write_text(code)
        # Each process unpacks the artifact again, so its files have other times.
        times.append(times[-1] + 3600.0)
        for path in tree.directory.rglob("*"):
            os.utime(path, (times[-1], times[-1]))
        return make_aws_context("Deploy/Lambda", input_artifacts=(tree,), **fields)

    return make


@pytest.fixture
def deploy(function: Function, aws_endpoint: Any) -> Callable[..., ActionResult]:
    def deploy(context: ActionContext, **more: str) -> ActionResult:
        configuration = {"FunctionName": function.name, **more}
        return call_to_its_end(
            deploy_to_lambda, LambdaDeployConfiguration.model_validate(configuration), context
        )

    return deploy


def updates(aws_endpoint: Any) -> list[Any]:
    """The version and the weights of each update of the alias, in order."""
    bodies = [json.loads(each.body) for each in aws_endpoint.asked("PUT", "/aliases/")]
    return [(each["FunctionVersion"], each["RoutingConfig"]["AdditionalVersionWeights"]) for each in bodies]


def test_the_code_is_updated_published_and_the_alias_leads_to_it(function, deploy, make_context):
    kept: list[Any] = []
    context = make_context(keep=lambda *given, **state: kept.append((given, state)))

    result = deploy(context, FunctionAlias="live")

    assert function.versions() == ["1", "2"]
    assert function.alias() == ("2", {})
    assert result.output_variables == {"FunctionVersion": "2"}
    page = f"https://us-east-1.console.aws.amazon.com/lambda/home?region=us-east-1#/functions/{function.name}/versions/2"
    assert (result.external_execution_id, result.external_execution_url) == (f"{function.name}:2", page)
    assert [list(state) for _, state in kept] == [["before"], ["code"], ["version"], ["stepped"]]
    assert result.summary == f"function '{function.name}' has version 2, alias 'live' leads to it"


def test_without_an_alias_a_version_is_published(function, deploy, make_context):
    assert deploy(make_context()).output_variables == {"FunctionVersion": "2"}
    assert function.alias() == ("1", {})


def test_a_published_version_is_deployed_without_an_artifact(function, deploy, make_context, caplog):
    deploy(make_context())

    result = deploy(make_context(None), FunctionAlias="live", PublishedTargetVersion="2")

    assert result.output_variables == {"FunctionVersion": "2"}
    assert function.alias() == ("2", {})
    deploy(make_context("three"), FunctionAlias="live", PublishedTargetVersion="1")
    assert function.versions() == ["1", "2"]
    assert function.alias() == ("1", {})
    assert "the input artifact is not used" in caplog.text


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        ("Canary10Percent5Minutes", [("1", {"2": 0.1}), ("2", {})]),
        (LINEAR, [("1", {"2": 0.4}), ("1", {"2": 0.8}), ("2", {})]),
    ],
)
def test_the_alias_is_shifted_in_steps(
    function, deploy, make_context, aws_endpoint, minutes, strategy, weights
):
    told: list[str] = []
    context = make_context(report_progress=lambda summary, **_: told.append(summary))

    deploy(context, FunctionAlias="live", DeployStrategy=strategy)

    assert updates(aws_endpoint) == weights
    assert function.alias() == ("2", {})
    assert told[-1] == "100 percent of 'live' on version 2"


def test_an_alarm_between_two_steps_puts_the_alias_back(
    function, deploy, make_context, aws_endpoint, minutes
):
    alarm = function.make_alarm("OK")

    def look(**_: Any) -> None:
        if function.alias() == ("1", {"2": 0.4}):
            function.set_alarm(alarm, "ALARM")

    with pytest.raises(ActionFailed) as failed:
        deploy(
            make_context(report_progress=lambda *_, **__: look()),
            FunctionAlias="live", DeployStrategy=LINEAR, Alarms=f" {alarm} ,",
        )  # fmt: skip

    assert str(failed.value) == (
        f"alarm '{alarm}' is in state ALARM: errors went up; alias 'live' has version 1 again"
    )
    assert failed.value.external_execution_id == f"{function.name}:2"
    assert function.alias() == ("1", {})


def test_an_alarm_that_is_on_already_changes_nothing(function, deploy, make_context):
    alarm = function.make_alarm("ALARM")

    with pytest.raises(ActionFailed, match="is in state ALARM"):
        deploy(make_context(), FunctionAlias="live", Alarms=alarm)
    assert function.versions() == ["1"]
    with pytest.raises(
        ActionFailed, match="there is no CloudWatch alarm 'nothing' in region us-east-1; correct Alarms"
    ):
        deploy(make_context(), FunctionAlias="live", Alarms="nothing")


def test_an_abandoned_shift_puts_the_alias_back(function, deploy, make_context):
    context = make_context()

    def keep(*_: Any, **state: str) -> None:
        if "stepped" in state:
            threading.Timer(0.3, context.cancellation.cancel).start()

    with pytest.raises(ActionAbandoned, match="alias 'live' has version 1 again"):
        deploy(replace(context, keep=keep), FunctionAlias="live", DeployStrategy=LINEAR)
    assert function.alias() == ("1", {})


@pytest.mark.parametrize("died", ["before", "code", "version", "stepped", "lost version"])
def test_another_process_continues_with_the_same_version(
    function, deploy, make_context, aws_endpoint, minutes, died
):
    kept: dict[str, str] = {}
    first = make_context()

    def keep(*_: Any, **state: str) -> None:
        if died != "lost version" or "version" not in state:
            kept.update(state)
        if died.removeprefix("lost ") in state:
            first.cancellation.leave()

    with pytest.raises(ActionInterrupted):
        deploy(replace(first, keep=keep), FunctionAlias="live", DeployStrategy=LINEAR)
    earlier = Earlier(datetime.now(timezone.utc), state=kept)

    deploy(make_context(earlier=earlier), FunctionAlias="live", DeployStrategy=LINEAR)

    assert function.alias() == ("2", {})
    assert function.versions() == ["1", "2"]
    uploaded = {each.body for each in aws_endpoint.asked("PUT", "/code")}
    assert len(uploaded) == 1


def test_a_step_is_not_repeated_by_another_process(function, deploy, make_context, aws_endpoint, minutes):
    deploy(make_context())
    function.functions.update_alias(
        FunctionName=function.name, Name="live", FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.4}},
    )  # fmt: skip
    stepped = minutes.at.isoformat()
    earlier = Earlier(minutes.at, state={"before": "1", "version": "2", "stepped": stepped})
    looked: list[str] = []

    context = make_context(earlier=earlier, report_progress=lambda summary, **_: looked.append(summary))
    deploy(context, FunctionAlias="live", DeployStrategy=LINEAR)

    assert updates(aws_endpoint) == [("1", {"2": 0.8}), ("2", {})]
    assert [each.partition(" ")[0] for each in looked] == ["40", "80", "100"]  # a minute later


def test_a_shift_of_another_user_is_left_alone(function, deploy, make_context, minutes):
    deploy(make_context())
    deploy(make_context("three"))

    def interfere(*_: Any, **__: Any) -> None:
        if function.alias() == ("1", {"2": 0.4}):
            function.functions.update_alias(FunctionName=function.name, Name="live", FunctionVersion="3")

    with pytest.raises(
        ActionFailed, match=r"was changed by another user: it has version 3 .* stays as it is"
    ):
        deploy(
            make_context(None, report_progress=interfere),
            FunctionAlias="live", PublishedTargetVersion="2", DeployStrategy=LINEAR,
        )  # fmt: skip
    assert function.alias()[0] == "3"


def test_large_code_goes_through_the_location(function, deploy, make_context, make_bucket, monkeypatch, aws):
    bucket = make_bucket()
    monkeypatch.setattr(lambda_deploy, "MAX_DIRECT_BYTES", 100)
    settings = ActionSettings(aws=AwsSettings(location=f"s3://{bucket}/code"))

    assert deploy(make_context(settings=settings)).output_variables == {"FunctionVersion": "2"}
    (key,) = [each["Key"] for each in aws("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert key.startswith("code/release/App/")
    with pytest.raises(ActionFailed, match="needs a place in S3"):
        deploy(make_context("three"))


def test_throttling_in_a_shift_is_borne(function, deploy, make_context, aws_endpoint, minutes, caplog):
    aws_endpoint.faults = [
        Fault("GET", "/aliases/", json_refusal(429, "TooManyRequestsException"), times=3, after=1),
        Fault("PUT", "/aliases/", json_refusal(412, "PreconditionFailedException", "changed")),
        Fault("PUT", "/aliases/", "drop", times=1),
    ]

    deploy(make_context(), FunctionAlias="live", DeployStrategy=LINEAR)

    assert function.alias() == ("2", {})
    assert "will retry" in caplog.text
    assert "alias 'live' was changed meanwhile" in caplog.text


def test_an_update_that_is_in_progress_is_waited_for(function, deploy, make_context, aws_endpoint):
    def in_progress() -> Any:
        body = {"FunctionName": function.name, "LastUpdateStatus": "InProgress", "State": "Active"}
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()

    aws_endpoint.faults = [Fault("GET", "/configuration", in_progress, times=2)]

    deploy(make_context())

    assert len(aws_endpoint.asked("GET", "/configuration")) == 4


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no subnet"}, "failed: no subnet"),
        ({"PackageType": "Image"}, "is made from an image"),
    ],
)
def test_a_function_that_cannot_be_updated(function, deploy, make_context, aws_endpoint, body, message):
    answer = json.dumps({"FunctionName": function.name, **body}).encode()
    aws_endpoint.faults = [Fault("GET", "/configuration", lambda: (200, {}, answer), times=9)]

    with pytest.raises(ActionFailed, match=message):
        deploy(make_context())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"FunctionName": "nothing"},
            "there is no function 'nothing' in region us-east-1; correct FunctionName",
        ),
        ({"FunctionAlias": "gone"}, "has no alias 'gone' in region us-east-1; create it"),
        ({"FunctionAlias": "latest"}, "leads to $LATEST; give it a published version"),
        ({"DeployStrategy": LINEAR}, "DeployStrategy needs FunctionAlias"),
        ({"PublishedTargetVersion": "1"}, "PublishedTargetVersion needs FunctionAlias"),
        ({"PublishedTargetVersion": "9", "FunctionAlias": "live"}, "there is no version '9' of function"),
        (
            {"FunctionAlias": "live", "Alarms": ",".join("abcdefghijk")},
            "Alarms has 11 names; the limit is 10",
        ),
        ({"FunctionAlias": "live", "DeployStrategy": "Canary10Percent4320Minutes"}, "the limit is two days"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_changes(function, deploy, make_context, change, message):
    function.functions.create_alias(FunctionName=function.name, Name="latest", FunctionVersion="$LATEST")

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(), **change)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert function.versions() == ["1"]


def test_without_an_artifact_and_without_a_version(deploy, make_context):
    with pytest.raises(ActionFailed, match="neither an input artifact nor PublishedTargetVersion"):
        deploy(make_context(None), FunctionAlias="live")


@pytest.mark.parametrize(
    ("fault", "message", "code"),
    [
        (json_refusal(403, "AccessDeniedException", "no"), "AWS refused", "PermissionError"),
        (json_refusal(400, "ExpiredTokenException"), "renew the credentials", "PermissionError"),
        (html, "not AWS|does not answer as Lambda does", "ConfigurationError"),
    ],
)
def test_what_lambda_refuses(deploy, make_context, aws_endpoint, fault, message, code):
    aws_endpoint.faults = [Fault("GET", "/aliases/", fault, times=9)]

    with pytest.raises(ActionFailed, match=message) as failed:
        deploy(make_context(), FunctionAlias="live")
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("text", "percents", "minutes"),
    [
        ("AllAtOnce", (100,), 0),
        ("Canary25Percent2880Minutes", (25, 100), 2880),
        ("Linear10PercentEvery1Minute", (10, 20, 30, 40, 50, 60, 70, 80, 90, 100), 1),
        ("Linear33PercentEvery10Minutes", (33, 66, 99, 100), 10),
        ("Linear50PercentEvery2880Minutes", (50, 100), 2880),
    ],
)
def test_strategies(text, percents, minutes):
    strategy = parse_strategy(text)

    assert (strategy.percents, strategy.minutes) == (percents, minutes)
    assert [strategy.next_percent(each) for each in (0, *percents[:-1])] == list(percents)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Canary10Percent5Hours", "is not AllAtOnce"),
        ("Canary100Percent5Minutes", "must have 1 to 99 percent"),
        ("Linear0PercentEvery1Minute", "must have 1 to 99 percent"),
        ("Linear1PercentEvery30Minutes", "waits for 2,970 minutes; the limit is two days, 2,880 minutes"),
    ],
)
def test_strategies_that_cannot_be(text, message):
    with pytest.raises(ActionFailed, match=message):
        parse_strategy(text)


@pytest.mark.parametrize(
    ("change", "message"), [({"FunctionName": ""}, "at least 1 character"), ({"X": "1"}, "Extra inputs")]
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        LambdaDeployConfiguration.model_validate({"FunctionName": "f", **change})
