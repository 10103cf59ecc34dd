"""Which account, region and endpoint an action uses: asked of a server that sees keys and regions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer, RefusalError, in_turn
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import remote_work
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.registry import ActionContext, get_provider
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionOverride, ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.stored.settings import StoredSettings

ROLE = "arn:aws:iam::222233334444:role/deploy"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AwsServer]:
    """The server, for a worker with keys of its own and a profile."""
    server = AwsServer()
    server.answers["DescribeStacks"] = lambda _: {"Stacks": []}
    (tmp_path / "credentials").write_text(
        "[prod]\naws_access_key_id=PRODKEY\naws_secret_access_key=x\nregion=ap-south-1\n"
    )
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "WORKERKEY",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


@pytest.fixture
def context_of(tmp_path: Path) -> Callable[..., ActionContext]:
    def make(settings: AwsSettings, **action: Any) -> ActionContext:
        kind = {"category": "Deploy", "owner": "AWS", "provider": "CloudFormation", "version": "1"}
        return ActionContext(
            pipeline_name="shop",
            pipeline_execution_id="e1",
            stage_name="Prod",
            action=ActionDeclaration.model_validate({"name": "Stack", "actionTypeId": kind, **action}),
            action_execution_id="a1",
            scratch=tmp_path,
            deadline=time.monotonic() + 60,
            settings=ActionSettings(aws=settings),
        )

    return make


def ask(context: ActionContext) -> Any:
    client = client_of(context, "cloudformation")
    with translated("looking"):
        return client.describe_stacks()


@pytest.mark.parametrize(
    ("settings", "action", "key", "region"),
    [
        ({"region": "eu-west-1"}, {}, "WORKERKEY", "eu-west-1"),
        ({"region": "eu-west-1"}, {"region": "us-west-2"}, "WORKERKEY", "us-west-2"),
        ({"profile": "prod"}, {}, "PRODKEY", "ap-south-1"),
        ({"profile": "prod", "region": "eu-west-1"}, {}, "PRODKEY", "eu-west-1"),
        ({"region": "eu-west-1"}, {"roleArn": ROLE}, "WORKERKEY", "eu-west-1"),
    ],
)
def test_the_profile_and_the_region_of_the_settings_count(aws, context_of, settings, action, key, region):
    ask(context_of(AwsSettings(**settings), **action))

    assert (aws.keys, aws.regions) == ([key], [region])


def test_an_endpoint_of_a_service_precedes_that_of_all(aws, context_of):
    nowhere = "http://127.0.0.1:9"
    settings = AwsSettings(
        region="eu-west-1", endpoint_url=nowhere, endpoint_urls={"cloudformation": aws.url}
    )

    ask(context_of(settings))

    assert aws.regions == ["eu-west-1"]
    with pytest.raises(ActionFailed, match="AWS did not answer"):
        ask(context_of(AwsSettings(region="eu-west-1", endpoint_url=nowhere)))


def test_the_role_of_an_action_is_assumed_and_its_credentials_are_renewed(aws, context_of):
    minutes = iter([5, 60])  # the first ones are about to expire

    def assume(_: dict[str, Any]) -> dict[str, Any]:
        expires = datetime.now(timezone.utc) + timedelta(minutes=next(minutes))
        number = len(aws.asked("AssumeRole"))
        keys = {"AccessKeyId": f"ROLE{number}", "SecretAccessKey": "s", "SessionToken": "t"}
        return {"Credentials": {**keys, "Expiration": expires}}

    aws.answers["AssumeRole"] = assume
    settings = AwsSettings(region="eu-west-1", assume_action_role=True)
    client = client_of(context_of(settings, roleArn=ROLE), "cloudformation")

    client.describe_stacks()
    client.describe_stacks()
    client.describe_stacks()

    assert aws.keys == ["WORKERKEY", "ROLE1", "WORKERKEY", "ROLE2", "ROLE2"]
    assert aws.asked("AssumeRole")[0] == {"RoleArn": ROLE, "RoleSessionName": "codepipeline-a1"}


def test_an_action_that_waits_asks_with_a_new_session_of_its_role_when_the_old_one_has_expired(
    aws, context_of, monkeypatch
):
    """Each session is about to expire, and accepted for one look only: as if hours had passed between the looks."""
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.01)
    machine = "arn:aws:states:eu-west-1:222233334444:stateMachine:shop"
    execution = f"{machine.replace('stateMachine', 'execution')}:a1"
    now = datetime.now(timezone.utc)
    used: set[str] = set()

    def assume(_: dict[str, Any]) -> dict[str, Any]:
        key = f"ROLE{len(aws.asked('AssumeRole'))}"
        keys = {"AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t"}
        return {"Credentials": {**keys, "Expiration": now + timedelta(minutes=5)}}

    def describe(_: dict[str, Any]) -> dict[str, Any]:
        if aws.keys[-1] in used:
            raise RefusalError("ExpiredTokenException", "the token has expired")
        used.add(aws.keys[-1])
        status = "SUCCEEDED" if len(used) == 3 else "RUNNING"
        return {"executionArn": execution, "stateMachineArn": machine, "status": status, "startDate": now}

    aws.answers |= {
        "AssumeRole": assume,
        "DescribeStateMachine": lambda _: {"stateMachineArn": machine, "type": "STANDARD"},
        "StartExecution": lambda _: {"executionArn": execution, "startDate": now},
        "DescribeExecution": describe,
    }
    kind = {"category": "Invoke", "owner": "AWS", "provider": "StepFunctions", "version": "1"}
    context = context_of(AwsSettings(assume_action_role=True), actionTypeId=kind, roleArn=ROLE)
    provider = get_provider(context.action.action_type_id)
    configuration = provider.configuration.model_validate({"StateMachineArn": machine})

    result = call_to_its_end(provider.run, configuration, context)

    assert result.external_execution_id == execution
    assert len(aws.asked("StartExecution")) == 1
    assert len(used) == 3


@pytest.mark.parametrize(
    ("settings", "message", "code"),
    [
        ({"profile": "nobody"}, r"profile \(nobody\) could not be found", "ConfigurationError"),
        ({}, "no AWS region is set; set 'region' on the action or in the settings", "ConfigurationError"),
        (
            {"assume_action_role": True, "region": "eu-west-1"},
            "AccessDenied.*not authorized to perform: sts:AssumeRole",
            "PermissionError",
        ),
    ],
)
def test_what_is_wrong_with_the_account_is_said(aws, context_of, settings, message, code):
    with pytest.raises(ActionFailed, match=message) as failed:
        ask(context_of(AwsSettings(**settings), roleArn=ROLE))
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("refused", "code", "advice"),
    [
        ("ExpiredToken", "PermissionError", "renew the credentials of the worker"),
        ("RequestTimeTooSkewed", "PermissionError", "correct the clock of the worker"),
        ("OptInRequired", "PermissionError", "enable the region in the account"),
        ("RequestLimitExceeded", "SystemUnavailable", ""),
        ("ValidationError", "ConfigurationError", ""),
    ],
)
def test_a_refusal_says_what_to_do(aws, context_of, refused, code, advice):
    aws.answers["DescribeStacks"] = in_turn([RefusalError(refused, "because")])

    with pytest.raises(ActionFailed, match=f"looking: AWS refused: .*because.*{advice}") as failed:
        ask(context_of(AwsSettings(region="eu-west-1")))
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (200, "what answered is not AWS; correct the endpoint_url", "ConfigurationError"),
        (502, "AWS refused: .*502", "SystemUnavailable"),  # a proxy's page
    ],
)
def test_what_is_not_aws_is_recognized(aws, context_of, status, message, code):
    aws.page = status, b"<!DOCTYPE html>\n<html><p>Welcome to nginx!</html>"

    with pytest.raises(ActionFailed, match=message) as failed:
        ask(context_of(AwsSettings(region="eu-west-1")))
    assert failed.value.code == code


def test_what_an_override_sets_replaces_only_that():
    settings = StoredSettings.model_validate(
        {
            "defaults": {
                "aws": {
                    "profile": "dev",
                    "region": "eu-west-1",
                    "assume_action_role": True,
                    "endpoint_urls": {"s3": "http://minio:9000"},
                    "location": "s3://a/b",
                    "locations": {"us-east-1": "s3://b"},
                }
            },
            "overrides": {
                "Prod": {
                    "aws": {"credentials": "prod", "endpoint_urls": {"ecr": "http://registry"}},
                    "cpus": 1,
                },
                "Prod/Stack": {"aws": {"region": "us-east-1", "assume_action_role": False}},
            },
        }
    )
    stored = StoredSettings.model_validate(settings.model_dump())  # as a block keeps them

    aws = stored.for_action("Prod", "Stack").aws
    assert (aws.profile, aws.credentials, aws.region) == (None, "prod", "us-east-1")
    assert aws.assume_action_role is False
    assert aws.endpoint_urls == {"s3": "http://minio:9000", "ecr": "http://registry"}
    assert [aws.location_in(region) for region in ("us-east-1", "eu-west-1", None)] == [
        "s3://b",
        "s3://a/b",
        "s3://a/b",
    ]
    assert stored.for_action("Test", "Stack").aws.profile == "dev"
    assert stored.for_action("Prod", "Stack").cpus == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "a", "credentials": "b"},
        {"endpoint_url": "minio:9000"},
        {"location": "my-bucket/prefix"},
        {"regions": "eu-west-1"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValidationError):
        ActionOverride(aws=wrong)


@pytest.mark.live
def test_a_block_of_prefect_aws_is_read_without_prefect_aws(prefect_server, aws, context_of):
    from aws_credentials import save_credentials

    save_credentials("prod", "BLOCKKEY", aws.url, "eu-north-1")

    ask(context_of(AwsSettings(credentials="prod")))

    assert (aws.keys, aws.regions) == (["BLOCKKEY"], ["eu-north-1"])
    with pytest.raises(ActionFailed, match="there is no AwsCredentials block 'staging'; create it with"):
        ask(context_of(AwsSettings(credentials="staging")))
