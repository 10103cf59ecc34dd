"""Parameters and secrets of a build: in AWS (moto's server over HTTP), in Prefect, in the worker's environment."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prefect_codepipeline.actions.codebuild.build.secrets import (
    SecretSource,
    WantedSecret,
    environment_name,
    resolve_secrets,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.aws_settings import AwsSettings

AWS = SecretSource("aws", region="us-east-1")
PREFECT = SecretSource("prefect")
ENVIRONMENT = SecretSource("environment")


def parameter(reference: str, variable: str = "V") -> WantedSecret:
    return WantedSecret(variable, "PARAMETER_STORE", reference)


def secret(reference: str, variable: str = "V") -> WantedSecret:
    return WantedSecret(variable, "SECRETS_MANAGER", reference)


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    return lambda service: boto3.client(service, region_name="us-east-1")


def test_parameters_of_aws_are_read_in_batches_and_decrypted(aws):
    ssm = aws("ssm")
    for number in range(23):
        ssm.put_parameter(
            Name=f"/shop/{number}", Value=f"value {number}", Type="SecureString", Overwrite=True
        )
    arn = ssm.get_parameter(Name="/shop/7")["Parameter"]["ARN"]
    ssm.put_parameter(Name="/shop/7", Value="newer", Type="SecureString", Overwrite=True)

    wanted = [parameter(f"/shop/{number}", f"V{number}") for number in range(23)]
    wanted += [parameter("/shop/3", "AGAIN"), parameter("/shop/7:1", "FIRST"), parameter(arn, "BY_ARN")]

    values = resolve_secrets(wanted, AWS)

    expected = {f"V{number}": f"value {number}" for number in range(23)}
    assert values == expected | {"V7": "newer", "AGAIN": "value 3", "FIRST": "value 7", "BY_ARN": "newer"}


def test_the_endpoint_the_region_and_the_profile_of_the_settings_count(aws, moto_url, monkeypatch, tmp_path):
    aws("ssm").put_parameter(Name="/settings/a", Value="1", Type="String", Overwrite=True)
    aws("secretsmanager").create_secret(Name="settings/b", SecretString="2")
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "keys").write_text("[shop]\naws_access_key_id=testing\naws_secret_access_key=testing\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    settings = AwsSettings(endpoint_url=moto_url, region="us-east-1", profile="shop")
    wanted = [parameter("/settings/a", "A"), secret("settings/b", "B")]

    assert resolve_secrets(wanted, SecretSource("aws", settings=settings)) == {"A": "1", "B": "2"}
    with pytest.raises(ActionFailed, match=r"profile \(nobody\) could not be found"):
        resolve_secrets(wanted, SecretSource("aws", profile="nobody", settings=settings))


def test_secrets_of_aws_are_read_whole_by_key_by_stage_and_by_version(aws):
    client = aws("secretsmanager")
    value = json.dumps({"user": "ada", "port": 5432, "nested": {"a": 1}})
    first = client.create_secret(Name="prod/db", SecretString=value)
    client.put_secret_value(SecretId="prod/db", SecretString='{"user": "eve"}')
    client.create_secret(Name="key", SecretBinary=b"text")

    references = {
        "WHOLE": "prod/db",
        "USER": "prod/db:user",
        "BY_ARN": f"{first['ARN']}:user",
        "BEFORE": "prod/db:user:AWSPREVIOUS",
        "OF_VERSION": f"prod/db:port::{first['VersionId']}",
        "NESTED": f"prod/db:nested::{first['VersionId']}",
        "BINARY": "key",
    }

    assert resolve_secrets([secret(value, name) for name, value in references.items()], AWS) == {
        "WHOLE": '{"user": "eve"}',
        "USER": "eve",
        "BY_ARN": "eve",
        "BEFORE": "ada",
        "OF_VERSION": "5432",
        "NESTED": '{"a": 1}',
        "BINARY": "text",
    }


@pytest.mark.parametrize(
    ("wanted", "message", "code"),
    [
        (
            parameter("/nowhere"),
            "environment variable 'V': parameter '/nowhere': Parameter Store in us-east-1 has no such parameter; create",
            "ConfigurationError",
        ),
        (
            secret("nowhere"),
            "environment variable 'V': secret 'nowhere': AWS refused: .*ResourceNotFoundException",
            "ConfigurationError",
        ),
        (secret("plain:key"), "it is not a JSON object with the key 'key'; correct", "ConfigurationError"),
        (
            secret("plain::A:B"),
            "both a version stage and a version id; CodeBuild accepts only one",
            "ConfigurationError",
        ),
        (secret("bytes"), "it holds binary data", "ConfigurationError"),
        (secret("a:b:c:d:e"), "variable 'V': 'a:b:c:d:e' is not of the form", "ConfigurationError"),
    ],
)
def test_what_aws_does_not_have_is_reported(aws, wanted, message, code):
    client = aws("secretsmanager")
    for name, value in {"plain": {"SecretString": "text"}, "bytes": {"SecretBinary": b"\xff\x00"}}.items():
        if not client.list_secrets(Filters=[{"Key": "name", "Values": [name]}])["SecretList"]:
            client.create_secret(Name=name, **value)

    with pytest.raises(ActionFailed, match=message) as failed:
        resolve_secrets([wanted], AWS)
    assert failed.value.code == code


def test_an_aws_that_does_not_answer_and_a_profile_that_is_not_there(aws, monkeypatch):
    with pytest.raises(ActionFailed, match=r"variable 'V': parameter '/a': .*\(nobody\) could not be found"):
        resolve_secrets([parameter("/a")], SecretSource("aws", "us-east-1", profile="nobody"))

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ActionFailed, match="AWS did not answer") as failed:
        resolve_secrets([secret("a")], AWS)
    assert failed.value.code == "SystemUnavailable"


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (parameter("/prod/db-url"), "CODEBUILD_PARAMETER_PROD_DB_URL"),
        (parameter("plain.Name"), "CODEBUILD_PARAMETER_PLAIN_NAME"),
        (secret("prod/db:user"), "CODEBUILD_SECRET_PROD_DB"),
        (
            secret("arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-a1B2c3:user"),
            "CODEBUILD_SECRET_PROD_DB",
        ),
    ],
)
def test_the_environment_has_a_name_for_each(wanted, name):
    assert environment_name(wanted) == name


def test_the_worker_s_environment_serves(monkeypatch):
    monkeypatch.setenv("CODEBUILD_PARAMETER_PROD_URL", "postgres://")
    monkeypatch.setenv("CODEBUILD_SECRET_PROD_DB", '{"user": "ada", "port": 5432}')

    wanted = [
        parameter("/prod/url", "URL"),
        secret("prod/db:port", "PORT"),
        secret("prod/db:user:AWSCURRENT", "U"),
    ]

    assert resolve_secrets(wanted, ENVIRONMENT) == {"URL": "postgres://", "PORT": "5432", "U": "ada"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            parameter("/x"),
            "parameter '/x': CODEBUILD_PARAMETER_X is not set; set .* in the worker's environment",
        ),
        (parameter("/x:3"), "parameter '/x:3' requests a version"),
        (
            secret("prod/db:nobody"),
            "not a JSON object with the key 'nobody'; set CODEBUILD_SECRET_PROD_DB in",
        ),
        (secret("prod/db::AWSPREVIOUS"), "requests a version"),
    ],
)
def test_what_the_environment_does_not_have_is_reported(monkeypatch, wanted, message):
    monkeypatch.setenv("CODEBUILD_SECRET_PROD_DB", '{"user": "ada"}')

    with pytest.raises(ActionFailed, match=message) as failed:
        resolve_secrets([wanted], ENVIRONMENT)
    assert failed.value.code == "ConfigurationError"


@pytest.mark.live
def test_blocks_and_variables_of_prefect_serve(prefect_server):
    from prefect.blocks.system import Secret
    from prefect.variables import Variable

    Secret(value={"user": "ada"}).save("prod-db", overwrite=True)
    Secret(value="hunter2").save("prod-key", overwrite=True)
    Variable.set("prod_stage", "blue", overwrite=True)
    Variable.set("prod-limits", {"cpus": 2}, overwrite=True)

    wanted = [
        secret("prod/db:user", "USER"),
        parameter("/prod/key", "KEY"),
        parameter("/prod/stage", "STAGE"),
        parameter("/prod/limits", "LIMITS"),
    ]

    assert resolve_secrets(wanted, PREFECT) == {
        "USER": "ada",
        "KEY": "hunter2",
        "STAGE": "blue",
        "LIMITS": '{"cpus": 2}',
    }


@pytest.mark.live
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            parameter("/no/where"),
            "neither a Secret block 'no-where' nor a Variable 'no_where'; create it with",
        ),
        (parameter("/prod/key:2"), "requests a version"),
        (secret("no/where"), "there is no Secret block 'no-where'; create it"),
    ],
)
def test_what_prefect_does_not_have_is_reported(prefect_server, wanted, message):
    with pytest.raises(ActionFailed, match=message) as failed:
        resolve_secrets([wanted], PREFECT)
    assert failed.value.code == "ConfigurationError"
