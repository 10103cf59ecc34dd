"""What is not AWS, and what AWS refuses, is recognized in one place for all services."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
from faulty_endpoint import Fault, html, json_refusal

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
