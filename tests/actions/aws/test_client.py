"""What is not AWS, and what AWS refuses, is recognized in one place for all services."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from faulty_endpoint import Fault, html, json_refusal

from prefect_codepipeline.actions.aws import client
from prefect_codepipeline.actions.aws.client import Account, translated
from prefect_codepipeline.actions.codebuild.build.buildspec_files import read_buildspec
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings

PAGE = b"<!DOCTYPE html><html><p>Hello</html>"


@pytest.mark.parametrize(
    ("method", "ask"),
    [
        ("POST", lambda account: account.client("stepfunctions").list_state_machines()),
        ("POST", lambda account: account.client("cloudformation").describe_stacks()),
        ("GET", lambda account: account.client("lambda").list_functions()),
        ("PUT", lambda account: account.client("s3").put_object(Bucket="b", Key="k", Body=b"")),
        ("GET", lambda account: account.client("s3").get_object(Bucket="b", Key="k")),
        ("HEAD", lambda account: account.client("s3").head_object(Bucket="b", Key="k")),
        ("HEAD", lambda account: account.client("s3").head_bucket(Bucket="b")),
    ],
    ids=["json", "query", "rest-json", "no output", "stream", "only headers", "nothing"],
)
def test_a_web_page_is_no_answer_of_aws(aws_endpoint, method, ask):
    aws_endpoint.faults = [Fault(method, ".", html, times=9)]

    with pytest.raises(ActionFailed) as failed, translated("looking"):
        ask(Account())

    assert str(failed.value) == (
        f"looking: what answered is not AWS; correct the endpoint_url: {aws_endpoint.url} answered with a web page"
    )
    assert failed.value.code == "ConfigurationError"
    assert len(aws_endpoint.requests) == 1


@pytest.mark.parametrize("status", [302, 403])
@pytest.mark.parametrize("service", ["stepfunctions", "cloudformation", "lambda"])
def test_a_web_page_that_refuses_is_not_shown(aws_endpoint, service, status):
    aws_endpoint.faults = [Fault(method, ".", lambda: (status, {}, PAGE)) for method in ("GET", "POST")]

    with pytest.raises(ActionFailed) as failed, translated("looking"):
        ask_any(Account().client(service))

    assert str(failed.value).endswith(f"{aws_endpoint.url} answered with a web page and status {status}")
    assert failed.value.code == "ConfigurationError"


@pytest.mark.parametrize("body", [b"{}", b"OK", b"[]", b'"OK"', b"null", b'{"ok": true}', b""])
@pytest.mark.parametrize("service", ["stepfunctions", "lambda", "cloudformation", "s3"])
def test_an_answer_without_what_aws_lists_is_none_of_aws(aws_endpoint, service, body):
    aws_endpoint.faults = [
        Fault(method, ".", lambda: (200, {}, body), times=9) for method in ("GET", "POST", "PUT")
    ]

    with (
        pytest.raises(
            ActionFailed, match="looking: what answered is not AWS; correct the endpoint_url"
        ) as failed,
        translated("looking"),
    ):
        ask_any(Account().client(service))

    assert failed.value.code == "ConfigurationError"
    assert len(aws_endpoint.requests) == 1


def test_any_web_page_for_an_upload_is_no_outage(aws_endpoint):
    pages = [
        b"\xef\xbb\xbf<!DOCTYPE html>\n<html><br></html>",
        b"<!-- x --><HTML><br>",
        b"<?xml version='1.0'?>\n<html/>",
    ]
    for page in pages:
        aws_endpoint.faults.append(Fault("PUT", ".", lambda page=page: (200, {}, page)))
    aws_endpoint.faults.append(Fault("PUT", ".", lambda: (200, {"Content-Type": "text/html"}, b"<p>Hello")))

    for _ in range(len(pages) + 1):
        with pytest.raises(ActionFailed, match=r"answered with a web page$"), translated("uploading"):
            ask_any(Account().client("s3"))

    assert len(aws_endpoint.requests) == len(pages) + 1


def ask_any(made: Any) -> None:
    ask = {
        "stepfunctions": lambda: made.describe_execution(
            executionArn="arn:aws:states:eu-west-1:1:execution:m:e"
        ),
        "lambda": lambda: made.get_alias(FunctionName="f", Name="live"),
        "cloudformation": lambda: made.create_stack(StackName="s"),
        "s3": lambda: made.put_object(Bucket="b", Key="k", Body=b"x" * (1 << 20)),
    }
    ask[made.meta.service_model.service_name]()


@pytest.mark.parametrize("service", ["cloudformation", "s3", "lambda"])
def test_a_region_that_is_none_is_no_outage(monkeypatch, service):
    monkeypatch.setattr(client, "ATTEMPTS", 0)
    with (
        pytest.raises(
            ActionFailed, match=r"looking: boto3 knows no region 'eu-west-99'.*correct the region"
        ) as failed,
        translated("looking"),
    ):
        ask_any(Account(region="eu-west-99").client(service))

    assert failed.value.code == "ConfigurationError"


def test_a_region_that_is_one_may_be_away():
    away = EndpointConnectionError(endpoint_url="https://lambda.eu-west-1.amazonaws.com/")
    with pytest.raises(ActionFailed, match="looking: AWS did not answer") as failed, translated("looking"):
        raise away
    assert failed.value.code == "SystemUnavailable"


def test_a_web_page_in_a_bucket_is_an_object(aws_endpoint, make_bucket: Callable[..., str]):
    bucket, s3 = make_bucket(), Account().client("s3")
    s3.head_bucket(Bucket=bucket)

    s3.put_object(Bucket=bucket, Key="index.html", Body=PAGE, ContentType="text/html")

    assert s3.head_object(Bucket=bucket, Key="index.html")["ContentType"] == "text/html"
    assert s3.get_object(Bucket=bucket, Key="index.html")["Body"].read() == PAGE


def test_a_buildspec_in_s3_is_read_with_the_account_of_the_action(
    aws, moto_url, make_bucket, make_aws_context, monkeypatch, tmp_path
):
    bucket = make_bucket()
    text = b"version: 0.2\nphases: {build: {commands: [make]}}"
    aws("s3").put_object(Bucket=bucket, Key="ci/buildspec.yml", Body=text)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    settings = ActionSettings(aws=AwsSettings(endpoint_urls={"s3": moto_url}))
    context = make_aws_context("Build/CodeBuild", settings=settings)

    spec = read_buildspec(f"arn:aws:s3:::{bucket}/ci/buildspec.yml", tmp_path, context)

    assert [list(phase.commands) for phase in spec.phases] == [["make"]]


@pytest.mark.parametrize(
    "code", ["SignatureDoesNotMatch", "InvalidSignatureException", "RequestTimeTooSkewed"]
)
def test_a_wrong_clock_is_one_sentence_without_the_token(aws_endpoint, code: str):
    lines = [
        "Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z.",
        "The Canonical String for this request should have been 'POST",
        "x-amz-security-token:planted-token'",
    ]
    aws_endpoint.faults = [Fault("POST", ".", json_refusal(403, code, "\\n".join(lines)))]

    with pytest.raises(ActionFailed) as failed, translated("looking"):
        Account().client("stepfunctions").list_state_machines()

    assert "clock of the worker" in str(failed.value)
    assert f"AWS refused: An error occurred ({code})" in str(failed.value)
    assert "\n" not in str(failed.value)
    assert failed.value.code == "PermissionError"
    error: Any = failed.value
    assert "planted-token" not in "".join(traceback.format_exception(error))
