"""What the commands of an action see, and what they do not."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from prefect_codepipeline.actions.commands.environment import (
    build_environment,
    codebuild_variables,
    parse_secret_reference,
    resolve_secret,
)
from prefect_codepipeline.actions.commands.masking import parts_of_secret
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, EnvironmentVariable
from prefect_codepipeline.model.record.spans import traceparent


@pytest.fixture
def make_context(tmp_path):
    def make(inputs=("Source",), **action):
        (tmp_path / "scratch").mkdir()
        declared = {
            "name": "Build",
            "actionTypeId": {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"},
            **action,
        }
        return ActionContext(
            pipeline_name="release",
            pipeline_execution_id="e1",
            stage_name="Build",
            action=ActionDeclaration.model_validate(declared),
            action_execution_id="0b1c",
            scratch=tmp_path / "scratch",
            deadline=time.monotonic() + 30,
            input_artifacts=tuple(InputTree(name, tmp_path / name, revision_id="4f2a") for name in inputs),
        )

    return make


@pytest.fixture
def worker(monkeypatch):
    """The worker's own environment, which has everything in it that commands must not see."""
    monkeypatch.setattr("os.environ", environment := {})
    environment.update(
        PREFECT_API_KEY="pnu_secret",
        PREFECT_API_AUTH_STRING="ana:secret",
        PREFECT_CLIENT_CUSTOM_HEADERS='{"Authorization": "Bearer secret"}',
        PREFECT_API_SSL_CERT_FILE="/worker/ca.pem",
        PREFECT_API_URL="http://127.0.0.1:4200/api",
        SLACK_TOKEN="xoxb-secret",
        AWS_SECRET_ACCESS_KEY="secret",
        PATH="/worker/bin",
        HOME="/home/worker",
        PYTHONPATH="/worker",
        LANG="C.UTF-8",
        LC_TIME="de_DE",
        TZ="Europe/Berlin",
        https_proxy="http://me:p%40ssword@proxy:3128",
    )
    return environment


def test_of_the_worker_only_locale_time_zone_and_proxies_are_seen(worker, make_context, tmp_path):
    environment = build_environment(make_context()).variables

    others = {name: value for name, value in environment.items() if not name.startswith("CODEBUILD_")}
    assert others == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path / "scratch/home"),
        "TMPDIR": str(tmp_path / "scratch/tmpdir"),
        "LANG": "C.UTF-8",
        "LC_TIME": "de_DE",
        "TZ": "Europe/Berlin",
        "https_proxy": "http://me:p%40ssword@proxy:3128",
    }
    assert (tmp_path / "scratch/home").is_dir()
    assert (tmp_path / "scratch/tmpdir").is_dir()


def test_commands_get_their_place_in_the_trace_where_there_are_traces(worker, make_context, monkeypatch):
    execution_id = "0d1fa0a6-0b0f-4b5a-9d1c-6f1f3f0f5a11"
    context = replace(make_context(), pipeline_execution_id=execution_id)
    assert "TRACEPARENT" not in codebuild_variables(context)

    monkeypatch.setitem(worker, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")

    variables = codebuild_variables(context)
    assert variables["TRACEPARENT"] == traceparent(execution_id, "0b1c")
    assert variables["TRACEPARENT"].startswith("00-0d1fa0a60b0f4b5a9d1c6f1f3f0f5a11-")
    assert not [name for name in build_environment(context).variables if name.startswith("OTEL_")]


def test_codebuild_variables_say_what_is_known_and_nothing_else(worker, make_context, tmp_path):
    before = int(time.time() * 1000)

    environment = build_environment(
        make_context(("Source", "Test-Data", "Lib"), region="eu-west-1")
    ).variables

    known = {name: value for name, value in environment.items() if name.startswith(("CODEBUILD_", "AWS_"))}
    assert before <= int(known.pop("CODEBUILD_START_TIME")) <= time.time() * 1000
    assert known == {
        "CODEBUILD_BUILD_ID": "release:0b1c",
        "CODEBUILD_BUILD_SUCCEEDING": "1",
        "CODEBUILD_INITIATOR": "codepipeline/release",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": "4f2a",
        "CODEBUILD_SRC_DIR": str(tmp_path / "Source"),
        "CODEBUILD_SRC_DIR_Test-Data": str(tmp_path / "Test-Data"),
        "CODEBUILD_SRC_DIR_Test_Data": str(tmp_path / "Test-Data"),
        "CODEBUILD_SRC_DIR_Lib": str(tmp_path / "Lib"),
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-1",
    }


def test_a_container_has_its_image_s_path_and_a_copy_of_the_certificates(worker, make_context, tmp_path):
    (tmp_path / "ca.pem").write_text("certificates")
    worker.update(SSL_CERT_FILE=str(tmp_path / "ca.pem"), SSL_CERT_DIR=str(tmp_path))

    environment = build_environment(make_context(), image="alpine:3").variables

    assert "PATH" not in environment
    assert "SSL_CERT_DIR" not in environment
    assert environment["CODEBUILD_BUILD_IMAGE"] == "alpine:3"
    assert environment["SSL_CERT_FILE"] == str(tmp_path / "scratch/certificates/SSL_CERT_FILE.pem")
    assert (tmp_path / "scratch/certificates/SSL_CERT_FILE.pem").read_text() == "certificates"


def test_the_definition_s_variables_win(worker, make_context):
    context = make_context(
        environmentVariables=[
            {"name": "COLOUR", "value": "blue"},
            {"name": "PATH", "value": "/opt/bin", "type": "PLAINTEXT"},
        ]
    )

    environment = build_environment(context).variables

    assert (environment["COLOUR"], environment["PATH"]) == ("blue", "/opt/bin")


def test_reserved_names_are_refused(make_context):
    context = make_context(environmentVariables=[{"name": "CODEBUILD_BUILD_ID", "value": "mine"}])

    with pytest.raises(ActionFailed, match=r"'CODEBUILD_BUILD_ID'.*reserved") as refused:
        build_environment(context)

    assert refused.value.code == "ConfigurationError"


def test_a_proxy_s_password_is_secret(worker, make_context):
    assert {"p%40ssword", "p@ssword"} <= set(build_environment(make_context()).secrets)


@pytest.mark.parametrize(
    ("text", "reference", "blocks"),
    [
        ("db", ("db", "", "", ""), ["db"]),
        ("Prod/DB_Password", ("Prod/DB_Password", "", "", ""), ["prod-db-password"]),
        ("db:user", ("db", "user", "", ""), ["db"]),
        ("db:user:AWSCURRENT:", ("db", "user", "AWSCURRENT", ""), ["db"]),
        (
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:Prod/DB-a1B2c3:user::",
            ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:Prod/DB-a1B2c3", "user", "", ""),
            ["prod-db-a1b2c3", "prod-db"],
        ),
    ],
)
def test_secret_references(text, reference, blocks):
    assert tuple(parse_secret_reference(text)) == reference
    assert parse_secret_reference(text).block_names == blocks


@pytest.mark.parametrize(
    ("secret", "parts"),
    [
        ("s3cret", {"s3cret"}),
        ("ab", {"ab"}),
        ("-----BEGIN-----\nAAAA\n\nif\n", {"-----BEGIN-----\nAAAA\n\nif\n", "-----BEGIN-----", "AAAA"}),
        (
            '{"user": "admin", "keys": ["k-one", 17]}',
            {'{"user": "admin", "keys": ["k-one", 17]}', "admin", "k-one"},
        ),
    ],
)
def test_every_telling_part_of_a_secret_is_masked(secret, parts):
    assert set(parts_of_secret(secret)) == parts


def secret_variable(value):
    return EnvironmentVariable(name="TOKEN", value=value, type="SECRETS_MANAGER")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (":key", "'TOKEN': ':key' is not of the form"),
        ("a:b:c:d:e", "is not of the form"),
        ("db:user:AWSPREVIOUS", "requests a version"),
        ("db:user::0a1b", "requests a version"),
    ],
)
def test_references_that_cannot_be_followed_are_refused(value, message):
    with pytest.raises(ActionFailed, match=message) as refused:
        resolve_secret(secret_variable(value))

    assert refused.value.code == "ConfigurationError"


@pytest.fixture(scope="module")
def secret_blocks(prefect_server):
    from prefect.blocks.system import Secret

    Secret(value="0123").save("number-like", overwrite=True)
    Secret(value='{"user": "admin", "port": 5432}').save("prod-db", overwrite=True)
    Secret(value={"user": "structured"}).save("structured", overwrite=True)


@pytest.mark.live
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("number-like", "0123"),
        ("prod-db", '{"user": "admin", "port": 5432}'),
        ("Prod/DB:user", "admin"),
        ("Prod/DB:port", "5432"),
        ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-a1B2c3:user", "admin"),
        ("structured:user", "structured"),
        ("structured", '{"user": "structured"}'),
    ],
)
def test_a_secret_comes_from_the_block_of_its_name(secret_blocks, value, expected):
    assert resolve_secret(secret_variable(value)) == expected


@pytest.mark.live
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("My/Missing", r"there is no Secret block 'my-missing'; .*`codepipeline secret add my-missing`"),
        ("prod-db:password", "not a JSON object with the key 'password'"),
        ("number-like:user", "not a JSON object with the key 'user'"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(secret_blocks, value, message):
    with pytest.raises(ActionFailed, match=message) as missing:
        resolve_secret(secret_variable(value))

    assert missing.value.code == "ConfigurationError"
    assert "admin" not in str(missing.value)
